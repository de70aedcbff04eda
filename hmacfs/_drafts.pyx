"""The two steps of an upload that touch directories: a draft without a name, and its name.

Each is one call, so that the event loop may make it by itself: nothing else runs meanwhile, and what it has
waited for was the storage. Gets descriptors and paths, gives back descriptors.
"""

from libc.errno cimport EEXIST, ENOENT, errno

from hmacfs._core cimport Watch, beneath, checked, failed, start_watch, stop_watch


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdio.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static _Thread_local long long waited_so_far_ns;
    """
    long long waited_so_far_ns
    ctypedef unsigned int mode_t
    struct stat_t "stat":
        mode_t st_mode
    int fstat(int file, stat_t *found) nogil
    int fchmod(int file, mode_t mode) nogil
    int mkdirat(int dir_fd, const char *path, mode_t mode) nogil
    int linkat(int from_fd, const char *source, int to_fd, const char *target, int flags) nogil
    int close(int file) nogil
    int snprintf(char *text, size_t size, const char *words, ...) nogil
    enum:
        AT_EMPTY_PATH
        AT_SYMLINK_FOLLOW
        O_CLOEXEC
        O_DIRECTORY
        O_NOFOLLOW
        O_PATH
        O_RDONLY
        O_RDWR
        O_TMPFILE
        S_ISGID


cdef void add_up(Watch watch) noexcept nogil:
    """Add what this thread has waited since."""
    global waited_so_far_ns
    waited_so_far_ns += stop_watch(watch)


def waited_ns() -> int:
    """Return for how long the calling thread has waited in `begin_file` and `name_file` so far."""
    return waited_so_far_ns


cdef int open_strictly(int dir_fd, const char *path, int flags) noexcept nogil:
    """Open below `dir_fd` as `_core.open_beneath` does; give the descriptor or a negative errno."""
    cdef long fd = beneath(dir_fd, path, flags | O_CLOEXEC, 0)
    return <int>fd if fd >= 0 else -errno


cdef int set_mode(int file, mode_t mode) noexcept nogil:
    """Make the mode exact, whatever the umask; give 0 or a negative errno."""
    cdef stat_t found
    if fstat(file, &found) < 0:
        return -errno
    # An inherited set-group-id bit stays: it is how a web server's group gets to read.
    if found.st_mode & 0o777 != mode and fchmod(file, mode | (found.st_mode & S_ISGID)) < 0:
        return -errno
    return 0


cdef int begin(int root, const char *path, const char *home, mode_t mode) noexcept nogil:
    cdef int code
    cdef long fd
    if path != NULL:
        code = open_strictly(root, path, O_PATH | O_NOFOLLOW)
        if code >= 0:
            close(code)
            return -EEXIST
        if code != -ENOENT:
            return code
    # In the directory below which it will be named: a link cannot cross from one mount to another (link(2)).
    fd = beneath(root, home, O_TMPFILE | O_RDWR | O_CLOEXEC, mode)
    if fd < 0 and errno == ENOENT:  # it will be made, where `root` lies
        fd = beneath(root, b".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode)
    if fd < 0:
        return -errno
    code = set_mode(<int>fd, mode)
    if code < 0:
        close(<int>fd)
        return code
    return <int>fd


def begin_file(int root, bytes path, bytes home not None, int mode) -> int:
    """Open a file without a name in the directory `home` if nothing stands at `path` (None: not asked).

    Both are below `root`, in which the file is opened if there is no `home` yet. It vanishes when it is
    closed without having been named. Raises OSError, FileExistsError for one.
    """
    cdef const char *place = checked(home)
    cdef const char *name = NULL
    cdef Watch watch
    cdef int fd
    if path is not None:
        name = checked(path)
    with nogil:
        watch = start_watch()
        fd = begin(root, name, place, mode)
        add_up(watch)
    if fd < 0:
        raise failed(-fd)
    return fd


cdef int name_in(int parent, const char *name, int file) noexcept nogil:
    cdef char[32] source
    # The short way is for the process that opened the file, as of Linux 6.10; else it takes a capability.
    if linkat(file, b"", parent, name, AT_EMPTY_PATH) == 0:
        return 0
    if errno != ENOENT:
        return -errno
    snprintf(source, sizeof(source), b"/proc/self/fd/%d", file)
    # The descriptor is given only to have the flags looked at (linkat(2)).
    return 0 if linkat(parent, source, parent, name, AT_SYMLINK_FOLLOW) == 0 else -errno


cdef int name_below(int above, const char *directory, const char *name, int file, mode_t mode) noexcept nogil:
    cdef bint made = mkdirat(above, directory, mode) == 0
    cdef int code = 0
    cdef int parent
    if not made and errno != EEXIST:
        return -errno
    parent = open_strictly(above, directory, O_RDONLY | O_DIRECTORY)
    if parent < 0:
        return parent
    if made:
        code = set_mode(parent, mode)
    if code == 0:
        code = name_in(parent, name, file)
    close(parent)
    return code


def name_file(int file, int root, bytes above not None, bytes directory not None, bytes name not None,
              int mode) -> None:
    """Give `file`, which has no name, the `name` in `directory` in the existing path `above` below `root`.

    The directory is made with `mode` if it is missing: an upload's nearly always is. Raises OSError.
    """
    cdef const char *upper = checked(above)
    cdef const char *middle = checked(directory)
    cdef const char *last = checked(name)
    cdef Watch watch
    cdef int code
    with nogil:
        watch = start_watch()
        code = open_strictly(root, upper, O_PATH | O_DIRECTORY)
        if code >= 0:
            root = code
            code = name_below(root, middle, last, file, mode)
            close(root)
        add_up(watch)
    if code < 0:
        raise failed(-code)
