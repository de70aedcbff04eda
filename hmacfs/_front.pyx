"""The front of a connection: what runs for each request that is answered from memory, and nothing else.

The transport calls `get_buffer` and `buffer_updated` for every read. While a connection waits for a
request, both are served here without a Python frame; all else goes to the methods of the class that
derives from this one. Of a connection that keeps asking for what is in memory, `EpollReader` takes over the
reading: one look at all of them instead of a call of the transport for each.
"""

from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from libc.string cimport memset
from posix.unistd cimport close

from hmacfs._core cimport SPOILS, SPOILT
from hmacfs._hot cimport Hot


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int order, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int most, int timeout_ms)
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLLERR
        EPOLLET
        EPOLLHUP
        EPOLLIN
        EPOLLRDHUP


cdef extern from "<sys/syscall.h>" nogil:
    long syscall(long number, ...)
    enum:
        SYS_recvfrom


cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT


cdef enum:
    EVENTS = 64       # taken from one look
    TURN = 256        # events after which the loop has its turn: what 1.5 ms are enough for
    STEADY = 64       # answers from memory without a pause before a connection is offered to the EpollReader


cdef class Front:
    """Lends the buffer for a head and gives it to the hot objects; the base of every connection."""

    cdef Hot hot
    cdef object window
    cdef int served              # answers from memory, one after the other
    cdef public int sock
    cdef public bytes client     # the peer as the log shows it
    cdef public object vouch     # says whom the peer speaks for; None unless it is one of our own proxies
    cdef public bint waiting     # whether what comes next begins a request on a plain socket
    cdef public bint watched     # whether the EpollReader reads instead of the transport
    cdef public double deadline  # loop time at which `expire` must look

    def __init__(self, Hot hot not None, window not None) -> None:
        """Answer from `hot`, whose slab `window` is the start of: as much as is read for a head."""
        self.hot = hot
        self.window = window
        self.client = b""

    def get_buffer(self, sizehint):
        """Lend memory for one read; see asyncio.BufferedProtocol."""
        return self.window if self.waiting else self.read_buffer()

    def buffer_updated(self, Py_ssize_t nbytes) -> None:
        """Consume what was read, before anyone else may use the memory."""
        if self.consume(nbytes):
            self.served += 1
            if self.served == STEADY:
                self.served = 0
                self.on_steady()

    # What the connection must have:

    def read_buffer(self):
        """Return memory for a read that no head of a request begins."""
        raise NotImplementedError

    def on_read(self, nbytes: int, used: int) -> None:
        """Take what was read: `nbytes` at the start of the slab, of which the first `used` are answered."""
        raise NotImplementedError

    def on_steady(self) -> None:
        """Note that the connection keeps asking for what is in memory."""
        raise NotImplementedError

    def on_partial_write(self, rest: tuple, used: int) -> None:
        """Send the rest of an answer from memory, to a request whose head was `used` bytes."""
        raise NotImplementedError

    def on_ended(self) -> None:
        """Note that the client has ended the connection; an EpollReader was reading."""
        raise NotImplementedError

    def on_failed(self, error: Exception | None) -> None:
        """End a connection that is broken (None), or on which something of ours has failed."""
        raise NotImplementedError

    cdef bint consume(self, Py_ssize_t size):
        """Answer what begins the slab; give whether that was all of it and nothing is left to do."""
        cdef Py_ssize_t used = 0
        if self.waiting:
            used = self.hot.serve(self.sock, size, self.client, self.vouch)
            if used:
                self.deadline = self.hot.idle_until_s()
                if self.hot.rest is not None:
                    self.on_partial_write(self.hot.rest, used)
            if used == size:
                return self.waiting
        self.served = 0
        self.on_read(size, used)
        if SPOILS:  # who has kept a view of the slab reads others' bytes
            memset(<char *>self.hot.data, SPOILT, size)
        return False


cdef class EpollReader:
    """The connections of one worker that keep asking for what is in memory, watched by one epoll(7).

    Edge-triggered: an event means that something came since the last read, so one read that does not fill
    the memory has taken everything.
    """

    cdef int epoll
    cdef Hot hot
    cdef Py_ssize_t size         # most bytes of one read
    cdef list members            # by descriptor; None where there is none

    def __cinit__(self, Hot hot not None, Py_ssize_t size):
        """Read up to `size` bytes into the slab of `hot`. Raises OSError."""
        self.hot = hot
        self.size = size
        self.members = []
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self):
        if self.epoll >= 0:
            close(self.epoll)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `poll` has something to do."""
        return self.epoll

    def add(self, Front front not None) -> bool:
        """Read for a connection whose transport does not; False if it cannot be watched."""
        if self.control(EPOLL_CTL_ADD, front.sock) < 0:
            return False
        while PyList_GET_SIZE(self.members) <= front.sock:
            self.members.append(None)
        self.members[front.sock] = front
        front.watched = True
        return True

    def remove(self, Front front not None) -> None:
        """Read for it no more; its socket is still open."""
        self.control(EPOLL_CTL_DEL, front.sock)
        self.members[front.sock] = None
        front.watched = False

    cdef int control(self, int order, int sock):
        cdef epoll_event event
        event.events = EPOLLIN | EPOLLRDHUP | EPOLLET
        event.data.fd = sock
        return epoll_ctl(self.epoll, order, sock, &event)

    def poll(self) -> None:
        """Answer those who have asked; called by the loop.

        What is asked meanwhile is answered too, until nothing is or others must have their turn: to look
        again costs a tenth of coming back.
        """
        cdef int left = TURN
        cdef int count = 1
        while count > 0 and left > 0:
            count = self.look_once()
            left -= count

    cdef int look_once(self) except -1:
        cdef epoll_event events[EVENTS]
        cdef int count = epoll_wait(self.epoll, events, EVENTS, 0)
        cdef int index
        cdef Front front
        for index in range(count):
            # One that is served may have others leave: so each is looked up when it is its turn.
            member = <object>PyList_GET_ITEM(self.members, events[index].data.fd)
            if member is None:
                continue
            front = <Front>member
            try:
                self.read(front, events[index].events)
            except Exception as error:  # noqa: B902 - the border: the others must be served
                front.on_failed(error)
        return max(count, 0)

    cdef int read(self, Front front, uint32_t events) except -1:
        cdef Py_ssize_t size
        cdef bint ended = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) != 0
        while front.watched:
            # recv(2) past the C library, as in `_hot`
            size = syscall(SYS_recvfrom, front.sock, self.hot.data, self.size, MSG_DONTWAIT, NULL, NULL)
            if size > 0:
                if not front.consume(size):
                    return 0
                if size == self.size and front.watched:
                    # There may be more, and no event would tell: but others first.
                    self.control(EPOLL_CTL_MOD, front.sock)
                    return 0
                if not ended:
                    return 0
            elif size == 0:
                front.on_ended()
                return 0
            elif errno == EAGAIN:
                return 0
            elif errno != EINTR:
                front.on_failed(None)
                return 0
        return 0
