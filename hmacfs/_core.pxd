"""What other extensions call of `_core` without a Python frame."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from *:
    """
    #ifdef HMACFS_SPOIL
    #define SPOILS 1
    #else
    #define SPOILS 0
    #endif
    """
    const bint SPOILS  # whether memory is overwritten once nobody may look at it any more


cdef enum:
    SPOILT = 0xDB  # with this


cdef struct Watch:
    int64_t began_ns
    int64_t worked_ns
    long sleeps


cdef object failed(int err)
cdef const char *checked(bytes path) except NULL
cdef int64_t clock_ns(int clock) noexcept nogil
cdef Watch start_watch() noexcept nogil
cdef int64_t stop_watch(Watch watch) noexcept nogil
cdef long beneath(int dir_fd, const char *name, uint64_t flags, uint64_t mode) noexcept nogil
cdef long beneath_cached(int dir_fd, const char *name, uint64_t flags) noexcept nogil
