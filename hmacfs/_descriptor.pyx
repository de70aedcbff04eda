"""The owner of one open descriptor: what needs the file holds this object, never the number.

A number outlives its file: closed, it is the next file's that anybody opens. So the number stands here alone.
It is closed once, and not before the last call that uses it on another thread has returned; after `close`
every use is refused. A descriptor that a transport owns is not closed here but revoked, when the transport is
about to close it.

The counting needs no lock of its own: it happens with the GIL held and calls no Python.
"""

from libc.errno cimport errno
from libc.string cimport strerror
from posix.unistd cimport close


cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    enum:
        F_DUPFD_CLOEXEC


cdef class Descriptor:
    """One open file or socket. Owned: closed by `close`, or when nothing refers to it any more."""

    def __cinit__(self, int number, *, bint owned=True):
        """Own the open descriptor `number`; if not `owned`, only stand for it until `close`."""
        self.number = number
        self.owned = owned

    def __dealloc__(self):
        if self.owned and self.number >= 0:
            close(self.number)

    cdef int borrow(self) except -1:
        """Return the number, which stays open until `give_back`. Raises ValueError if it is closed."""
        if self.ended:
            raise ValueError("the descriptor is closed")
        self.users += 1
        return self.number

    cdef int give_back(self) except -1:
        """End a use; the last one closes what was closed meanwhile. Raises OSError."""
        self.users -= 1
        if self.ended and not self.users:
            self.let_go()
        return 0

    cdef int let_go(self) except -1:
        cdef int number = self.number
        cdef int code
        self.number = -1
        if number < 0 or not self.owned:
            return 0
        with nogil:
            code = close(number)
        if code < 0:
            raise OSError(errno, strerror(errno).decode())
        return 0

    @property
    def closed(self) -> bool:
        """Whether every further use is refused."""
        return self.ended

    def fileno(self) -> int:
        """Return the number, for a call that ends before anything else can close it.

        Raises ValueError if it is closed.
        """
        if self.ended:
            raise ValueError("the descriptor is closed")
        return self.number

    def use(self) -> Use:
        """Return a context that gives the number and keeps it open: for threads that did not open it."""
        return Use(self)

    def duplicate(self) -> Descriptor:
        """Return the owner of a duplicate (dup(2)). Raises OSError, and ValueError if it is closed."""
        cdef int number = fcntl(self.borrow(), F_DUPFD_CLOEXEC, 0)
        cdef int code = errno
        self.give_back()
        if number < 0:
            raise OSError(code, strerror(code).decode())
        return Descriptor(number)

    def close(self) -> None:
        """Refuse every further use, and close the descriptor once no call uses it; may be called again.

        Raises OSError (close(2)).
        """
        self.ended = True
        if not self.users:
            self.let_go()


cdef class Use:
    """A context in which a descriptor's number stays that of its file."""

    cdef Descriptor descriptor

    def __cinit__(self, Descriptor descriptor not None):
        self.descriptor = descriptor

    def __enter__(self) -> int:
        """Return the number. Raises ValueError if the descriptor is closed."""
        return self.descriptor.borrow()

    def __exit__(self, kind, error, trace) -> None:
        """End the use. Raises OSError if it was the last and closing fails."""
        self.descriptor.give_back()
