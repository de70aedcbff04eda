"""Mechanism: slabs, the receive step, the send loop, and two system calls that Python lacks.

Gets the owners of descriptors, and numbers; gives back numbers; no defaults, no configuration, no log. A
closed owner is refused, and what is in use is not closed meanwhile (`_descriptor`).
Loops run without the GIL and end with a `Step`: how far, and in a word why they stopped.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EINVAL, ENOSPC, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset, strerror, strlen
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec
from posix.types cimport off_t

from hmacfs._descriptor cimport Descriptor


cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)


cdef extern from "<sys/types.h>" nogil:
    ctypedef struct sockaddr:
        pass


cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int sock, void *data, size_t length, int flags)
    ssize_t send(int sock, const void *data, size_t length, int flags)
    int setsockopt(int sock, int level, int option, const void *value, unsigned int length)
    enum:
        MSG_DONTWAIT
        MSG_MORE
        MSG_NOSIGNAL
        SOL_SOCKET
        SO_RCVLOWAT


cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)
    enum:
        FIONREAD


cdef extern from "<sys/resource.h>" nogil:
    struct rusage:
        long ru_nvcsw
    int getrusage(int who, rusage *used)
    enum:
        RUSAGE_THREAD


cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int sock, int file, off_t *offset, size_t count)


cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int file, const void *data, size_t length, off_t offset)
    long syscall(long number, ...)


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <linux/openat2.h>
    #include <sys/syscall.h>
    /* Linux 6.5 (cachestat(2)); older headers do not know it, older kernels answer ENOSYS. */
    #ifndef SYS_cachestat
    #define SYS_cachestat 451
    #endif
    /* Linux 5.12 (openat2(2)). */
    #ifndef RESOLVE_CACHED
    #define RESOLVE_CACHED 0x20
    #endif
    struct hmacfs_cached { unsigned long long cached, dirty, writeback, evicted, recently_evicted; };
    struct hmacfs_extent { unsigned long long start, length; };
    """
    struct cached_pages "hmacfs_cached":
        uint64_t cached
    struct extent "hmacfs_extent":
        uint64_t start
        uint64_t length
    int fallocate(int file, int mode, off_t offset, off_t length) nogil
    enum:
        FALLOC_FL_KEEP_SIZE
        FALLOC_FL_PUNCH_HOLE
        SYS_cachestat
        SYS_openat2
        RESOLVE_BENEATH
        RESOLVE_CACHED
        RESOLVE_NO_MAGICLINKS
        RESOLVE_NO_SYMLINKS
    struct open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve


cdef enum:
    PAGE_BYTES = 4096
    NO_FILE = -1


cdef enum Why:
    WHY_DONE    # everything that was asked has moved
    WHY_WAIT    # the socket takes no more for now
    WHY_BUDGET  # the turn's bytes are used up
    WHY_ENDED   # the file is shorter than it was
    WHY_FAILED  # a system call failed; `err` says which way

DONE = WHY_DONE
WAIT = WHY_WAIT
BUDGET = WHY_BUDGET
ENDED = WHY_ENDED


cdef struct Step:
    int64_t moved  # bytes, true whatever `why` says
    Why why
    int err        # errno if WHY_FAILED, else 0


cdef struct Piece:
    const char *data  # NULL: bytes of the file
    int64_t at        # next byte to send
    int64_t stop      # one past the last


cdef object failed(int err):
    """The OSError of an errno, with the message Python itself would give."""
    return OSError(err, strerror(err).decode())


cdef const char *checked(bytes path) except NULL:
    """Give the text of a path that has no NUL."""
    cdef const char *text = PyBytes_AS_STRING(path)
    if <size_t>len(path) != strlen(text):
        raise ValueError("embedded null byte in path")
    return text


cdef long beneath(int dir_fd, const char *name, uint64_t flags, uint64_t mode) noexcept nogil:
    """Open `name` below `dir_fd`, as `open_beneath` does; -1 and errno if it cannot be."""
    cdef long fd
    while True:
        fd = resolve(dir_fd, name, flags, mode, 0)
        # EAGAIN: a rename elsewhere disturbed the look-up and the kernel could not rule out an
        # escape; openat2(2) asks to try again.
        if fd >= 0 or (errno != EINTR and errno != EAGAIN):
            return fd


cdef long beneath_cached(int dir_fd, const char *name, uint64_t flags) noexcept nogil:
    """Do so if no disk need be asked; -1 and EAGAIN if one must. Older kernels ask it."""
    cdef long fd = resolve(dir_fd, name, flags, 0, RESOLVE_CACHED)
    if fd < 0 and errno == EINVAL:
        return beneath(dir_fd, name, flags, 0)
    return fd


cdef long resolve(int dir_fd, const char *name, uint64_t flags, uint64_t mode,
                  uint64_t how_else) noexcept nogil:
    cdef open_how how
    how.flags = flags
    how.mode = mode
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | how_else
    return syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))


def open_beneath(int dir_fd, bytes path not None, int flags, int mode=0) -> int:
    """Open `path` below `dir_fd`, never leaving it and never following a link; openat2(2).

    Raises OSError: EXDEV for a path that leads out, ELOOP for a symbolic link.
    """
    cdef const char *name = checked(path)
    cdef long fd
    with nogil:
        fd = beneath(dir_fd, name, <uint64_t>flags, <uint64_t>mode)
    if fd < 0:
        raise failed(errno)
    return fd


def open_cached(int dir_fd, bytes path not None, int flags) -> int:
    """Open it if the kernel knows all of the way, without asking a disk; openat2(2), RESOLVE_CACHED.

    Raises OSError as `open_beneath`; BlockingIOError if a disk must be asked, perhaps for what is not there.
    """
    cdef const char *name = checked(path)
    cdef long fd
    with nogil:
        fd = beneath_cached(dir_fd, name, <uint64_t>flags)
    if fd < 0:
        raise failed(errno)
    return fd


def fallocate_keep(int file, int64_t length, int64_t start=0) -> None:
    """Reserve `length` bytes from `start` on without changing the file's size; fallocate(2).

    Raises OSError: ENOSPC, EDQUOT, EFBIG; EOPNOTSUPP where the file system cannot.
    """
    change_space(file, FALLOC_FL_KEEP_SIZE, length, start)


def punch_hole(int file, int64_t length, int64_t start) -> None:
    """Give the disk space of `length` bytes from `start` on back, which then read as zeros; fallocate(2).

    Raises OSError: EOPNOTSUPP where the file system cannot.
    """
    change_space(file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, length, start)


cdef void change_space(int file, int mode, int64_t length, int64_t start) except *:
    cdef int code
    while True:
        with nogil:
            code = fallocate(file, mode, start, length)
        if code == 0:
            return
        if errno != EINTR:
            raise failed(errno)


cdef extern from *:
    """
    #include <features.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static void keep_freed(int size) {
        mallopt(M_MMAP_THRESHOLD, size);
        mallopt(M_TRIM_THRESHOLD, size);
    }
    #else
    static void keep_freed(int size) { (void)size; }
    #endif
    """
    void keep_freed(int size) nogil


def set_malloc_trim(int size) -> None:
    """Let the allocator keep up to `size` freed bytes instead of asking for them anew; mallopt(3)."""
    keep_freed(size)


def is_cached(Descriptor file not None, int64_t start, int64_t length) -> bool:
    """Tell whether these bytes of a file are all in memory; True as well if the kernel cannot say.

    Raises ValueError if the file is closed.
    """
    cdef extent where
    cdef cached_pages found
    cdef long code
    cdef int number = file.borrow()
    where.start = start
    where.length = length
    with nogil:
        code = syscall(SYS_cachestat, number, &where, &found, 0)
    file.give_back()
    return code != 0 or length <= 0 or found.cached > <uint64_t>((start + length - 1) // PAGE_BYTES
                                                                 - start // PAGE_BYTES)


cdef class Slab:
    """A page-aligned block of memory, allocated once and lent for reads; a writable buffer."""

    cdef char *data
    cdef readonly Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        if size <= 0:
            raise ValueError("a slab has at least one byte")
        if posix_memalign(<void **>&self.data, PAGE_BYTES, size) != 0:
            self.data = NULL
            raise MemoryError
        self.size = size

    def __dealloc__(self):
        if self.data != NULL:
            self.spoil()
        free(self.data)

    cpdef void spoil(self) noexcept:
        """Fill with 0xDB, which no answer and no file may then hold; only in builds that look for faults."""
        if SPOILS:
            memset(self.data, SPOILT, self.size)

    def __len__(self) -> int:
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)


cdef int64_t clock_ns(int clock) noexcept nogil:
    """What a clock of clock_gettime(2) shows, in nanoseconds."""
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef long sleeps() noexcept nogil:
    cdef rusage used
    getrusage(RUSAGE_THREAD, &used)
    return used.ru_nvcsw


cdef Watch start_watch() noexcept nogil:
    return Watch(clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_THREAD_CPUTIME_ID), sleeps())


cdef int64_t stop_watch(Watch watch) noexcept nogil:
    """Give for how many nanoseconds this thread has waited since; 0 if other processes had the time."""
    cdef int64_t took_ns = clock_ns(CLOCK_MONOTONIC) - watch.began_ns
    if sleeps() == watch.sleeps:
        return 0
    return max(took_ns - (clock_ns(CLOCK_THREAD_CPUTIME_ID) - watch.worked_ns), 0)


@cython.cdivision(True)  # of numbers that are not negative, by one that is not zero
cdef Step copy_in(int file, const char *data, int64_t length, int64_t offset, int64_t piece,
                  int64_t until_ns) noexcept nogil:
    """Write `data` at `offset`, up to a multiple of `piece` each time; stops if one fails, or late."""
    cdef Step step = Step(0, WHY_DONE, 0)
    cdef int64_t want
    cdef ssize_t n
    while step.moved < length:
        want = piece - (offset + step.moved) % piece
        n = pwrite(file, data + step.moved, min(length - step.moved, want), offset + step.moved)
        if n < 0:
            if errno == EINTR:
                continue
            step.why = WHY_FAILED
            step.err = errno
            return step
        if n == 0:
            # pwrite(2) gives 0 for no other reason than a full device; never spin on it.
            step.why = WHY_FAILED
            step.err = ENOSPC
            return step
        step.moved += n
        if until_ns and step.moved < length and clock_ns(CLOCK_MONOTONIC) >= until_ns:
            step.why = WHY_BUDGET
            return step
    return step


cdef class FileWriter:
    """Where the bytes of one upload go: an open file, written in order from `start` on without the GIL.

    Each write ends at a multiple of `piece` bytes. `moved` is how far into the file it has come, `waited_ns`
    how long the last `take` was waiting.
    """

    cdef Descriptor file
    cdef int64_t piece
    cdef readonly int64_t moved
    cdef readonly int64_t waited_ns

    def __init__(self, Descriptor file not None, int64_t piece, int64_t start=0) -> None:
        if piece <= 0:
            raise ValueError("a piece has at least one byte")
        self.file = file
        self.piece = piece
        self.moved = start
        self.waited_ns = 0

    def take(self, const unsigned char[::1] data not None, int64_t patience_ns=0) -> int:
        """Write `data` after what has been written so far; give how many bytes of it.

        Not all only if that has taken longer than `patience_ns`, where it is not 0. Raises OSError, and
        ValueError if the file is closed.
        """
        cdef Step step
        cdef int64_t length = data.shape[0]
        cdef Watch watch
        cdef const char *start
        cdef int number
        if length == 0:
            return 0
        start = <const char *>&data[0]
        number = self.file.borrow()
        with nogil:
            watch = start_watch()
            step = copy_in(number, start, length, self.moved, self.piece,
                           watch.began_ns + patience_ns if patience_ns else 0)
            self.waited_ns = stop_watch(watch)
        self.file.give_back()
        self.moved += step.moved
        if step.why == WHY_FAILED:
            raise failed(step.err)
        return step.moved


cdef Step draw_from(int sock, char *data, int64_t length) noexcept nogil:
    """Read until `data` is full, the socket is empty (WAIT) or the peer has ended (ENDED)."""
    cdef Step step = Step(0, WHY_DONE, 0)
    cdef ssize_t n
    while step.moved < length:
        n = recv(sock, data + step.moved, length - step.moved, MSG_DONTWAIT)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            return stopped(step, n, errno)
        step.moved += n
    return step


def recv_into(Descriptor sock not None, Slab slab not None, int64_t length) -> tuple[int, int]:
    """Read up to `length` bytes of a socket into `slab`; give how many, and DONE, WAIT or ENDED.

    Raises OSError if the connection is broken and nothing came before. What did is not lost: an upload may
    go on with it, so the break counts as an end then. Raises ValueError if the socket is closed.
    """
    cdef Step step
    cdef int number
    if length > slab.size:
        raise ValueError("the slab is smaller than that")
    number = sock.borrow()
    with nogil:
        step = draw_from(number, slab.data, length)
    sock.give_back()
    if step.why == WHY_FAILED and step.moved:
        return step.moved, WHY_ENDED
    if step.why == WHY_FAILED:
        raise failed(step.err)
    return step.moved, step.why


def unread_bytes(Descriptor sock not None) -> int:
    """Return how many bytes have come on a socket and were not read yet (tcp(7), SIOCINQ).

    Raises OSError, and ValueError if the socket is closed.
    """
    cdef int count = 0
    if ioctl(sock.fileno(), FIONREAD, &count) < 0:
        raise failed(errno)
    return count


def set_rcvlowat(Descriptor sock not None, int count) -> None:
    """Have a socket count as readable only once `count` bytes have come, or no more will (socket(7)).

    If as many have come already, what watches it is woken. Raises OSError, and ValueError if the socket is
    closed.
    """
    if setsockopt(sock.fileno(), SOL_SOCKET, SO_RCVLOWAT, &count, sizeof(count)) < 0:
        raise failed(errno)


cdef Step stopped(Step step, ssize_t n, int err) noexcept nogil:
    """Name the reason why a call moved nothing."""
    if n == 0:
        step.why = WHY_ENDED
    elif err == EAGAIN:
        step.why = WHY_WAIT
    else:
        step.why = WHY_FAILED
        step.err = err
    return step


cdef Step copy_out(int sock, int file, Piece *piece, bint more, int64_t budget) noexcept nogil:
    """Send bytes of one piece, at most `budget`, until it is done or the socket is full."""
    cdef Step step = Step(0, WHY_DONE, 0)
    cdef int64_t want
    cdef off_t at
    cdef ssize_t n
    while piece.at < piece.stop:
        want = min(piece.stop - piece.at, budget - step.moved)
        if want <= 0:
            step.why = WHY_BUDGET
            return step
        if piece.data != NULL:
            # MSG_MORE holds the head back until the first file bytes join it in one packet.
            n = send(sock, piece.data + piece.at, want,
                     MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if more else 0))
        else:
            at = piece.at
            n = sendfile(sock, file, &at, want)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            return stopped(step, n, errno)
        piece.at += n
        step.moved += n
    return step


cdef class PieceSender:
    """One answer on its way out: pieces of memory and spans of one file, in order."""

    cdef Descriptor sock
    cdef Descriptor file  # None if there are no spans
    cdef Piece *pieces
    cdef Py_ssize_t count
    cdef Py_ssize_t current
    cdef tuple owners  # keeps the memory of the pieces alive
    cdef readonly int64_t moved

    def __cinit__(self, Descriptor sock not None, Descriptor file, tuple pieces not None):
        cdef Py_ssize_t index
        self.sock = sock
        self.file = file
        self.owners = pieces
        self.count = len(pieces)
        self.current = 0
        self.moved = 0
        self.pieces = <Piece *>calloc(max(self.count, 1), sizeof(Piece))
        if self.pieces == NULL:
            raise MemoryError
        for index in range(self.count):
            piece = pieces[index]
            if isinstance(piece, bytes):
                self.pieces[index].data = PyBytes_AS_STRING(piece)
                self.pieces[index].at = 0
                self.pieces[index].stop = PyBytes_GET_SIZE(piece)
            else:
                self.pieces[index].data = NULL
                self.pieces[index].at, self.pieces[index].stop = piece
                if file is None:
                    raise ValueError("a span needs a file")

    def __dealloc__(self):
        free(self.pieces)

    def step(self, int64_t budget) -> int:
        """Send up to `budget` bytes; give DONE, WAIT, BUDGET or ENDED.

        Raises OSError, and ValueError if socket or file is closed.
        """
        cdef Step step = Step(0, WHY_DONE, 0)
        cdef int64_t left = budget
        cdef int sock = self.sock.borrow()
        cdef int file = NO_FILE
        if self.file is not None:
            try:
                file = self.file.borrow()
            except ValueError:
                self.sock.give_back()
                raise
        with nogil:
            while self.current < self.count:
                step = copy_out(sock, file, &self.pieces[self.current],
                                self.current + 1 < self.count, left)
                self.moved += step.moved
                left -= step.moved
                if step.why != WHY_DONE:
                    break
                self.current += 1
        if self.file is not None:
            self.file.give_back()
        self.sock.give_back()
        if step.why == WHY_FAILED:
            raise failed(step.err)
        return step.why
