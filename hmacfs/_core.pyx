"""Mechanism: slabs, the receive step, the send loop, and two system calls that Python lacks.

Gets descriptors and numbers, gives back numbers; no defaults, no configuration, no log.
Loops run without the GIL and end with a `Step`: how far, and in a word why they stopped.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, ENOSPC, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strerror
from posix.types cimport off_t


cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)


cdef extern from "<sys/types.h>" nogil:
    ctypedef struct sockaddr:
        pass


cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int sock, const void *data, size_t length, int flags)
    enum:
        MSG_DONTWAIT
        MSG_MORE
        MSG_NOSIGNAL


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
    """
    int fallocate(int file, int mode, off_t offset, off_t length) nogil
    enum:
        FALLOC_FL_KEEP_SIZE
        SYS_openat2
        RESOLVE_BENEATH
        RESOLVE_NO_MAGICLINKS
        RESOLVE_NO_SYMLINKS
    struct open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve


cdef enum:
    PAGE_BYTES = 4096


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


def open_beneath(int dir_fd, bytes path not None, int flags, int mode=0) -> int:
    """Open `path` below `dir_fd`, never leaving it and never following a link; openat2(2).

    Raises OSError: EXDEV for a path that leads out, ELOOP for a symbolic link.
    """
    cdef open_how how
    cdef const char *name = PyBytes_AS_STRING(path)
    cdef long fd
    if <size_t>len(path) != strlen_of(name):
        raise ValueError("embedded null byte in path")
    how.flags = <uint64_t>flags
    how.mode = <uint64_t>mode
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    while True:
        with nogil:
            fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))
        if fd >= 0:
            return fd
        # EAGAIN: a rename elsewhere disturbed the look-up and the kernel could not rule out an
        # escape; openat2(2) asks to try again.
        if errno != EINTR and errno != EAGAIN:
            raise failed(errno)


cdef extern from "<string.h>" nogil:
    size_t strlen_of "strlen"(const char *text)


def fallocate_keep(int file, int64_t length) -> None:
    """Reserve `length` bytes on disk without changing the file's size; fallocate(2).

    Raises OSError: ENOSPC, EDQUOT, EFBIG; EOPNOTSUPP where the file system cannot.
    """
    cdef int code
    while True:
        with nogil:
            code = fallocate(file, FALLOC_FL_KEEP_SIZE, 0, length)
        if code == 0:
            return
        if errno != EINTR:
            raise failed(errno)


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
        free(self.data)

    def __len__(self) -> int:
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)


cdef Step copy_in(int file, const char *data, int64_t length, int64_t offset) noexcept nogil:
    """Write all of `data` at `offset`; stops early only if a write fails."""
    cdef Step step = Step(0, WHY_DONE, 0)
    cdef ssize_t n
    while step.moved < length:
        n = pwrite(file, data + step.moved, length - step.moved, offset + step.moved)
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
    return step


cdef class Intake:
    """Where the bytes of one upload go: an open file, written in order without the GIL."""

    cdef int file
    cdef readonly int64_t moved

    def __init__(self, int file) -> None:
        self.file = file
        self.moved = 0

    def take(self, const unsigned char[::1] data not None) -> None:
        """Write `data` after what has been written so far. Raises OSError."""
        cdef Step step
        cdef int64_t length = data.shape[0]
        cdef const char *start
        if length == 0:
            return
        start = <const char *>&data[0]
        with nogil:
            step = copy_in(self.file, start, length, self.moved)
        self.moved += step.moved
        if step.why == WHY_FAILED:
            raise failed(step.err)


cdef Step stopped(Step step, ssize_t n, int err) noexcept nogil:
    """Name the reason why a send moved nothing."""
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


cdef class Outflow:
    """One answer on its way out: pieces of memory and spans of one file, in order."""

    cdef int sock
    cdef int file
    cdef Piece *pieces
    cdef Py_ssize_t count
    cdef Py_ssize_t current
    cdef tuple owners  # keeps the memory of the pieces alive
    cdef readonly int64_t moved

    def __cinit__(self, int sock, int file, tuple pieces not None):
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

    def __dealloc__(self):
        free(self.pieces)

    def step(self, int64_t budget) -> int:
        """Send up to `budget` bytes; give DONE, WAIT, BUDGET or ENDED. Raises OSError."""
        cdef Step step = Step(0, WHY_DONE, 0)
        cdef int64_t left = budget
        with nogil:
            while self.current < self.count:
                step = copy_out(self.sock, self.file, &self.pieces[self.current],
                                self.current + 1 < self.count, left)
                self.moved += step.moved
                left -= step.moved
                if step.why != WHY_DONE:
                    break
                self.current += 1
        if step.why == WHY_FAILED:
            raise failed(step.err)
        return step.why
