"""What a request head asks for, if it is of the usual kind; see `_asked.pyx`."""

from libc.stdint cimport int64_t


# What a head may ask for that is answered from memory; the pointers lead into the head.
cdef struct Asked:
    const char *target
    Py_ssize_t target_size
    bint head_only
    bint hosted             # whether there is a Host
    bint from_origin        # whether there is an Origin
    const char *range       # value of Range, NULL if absent
    Py_ssize_t range_size
    const char *match       # value of If-None-Match, NULL if absent
    Py_ssize_t match_size
    const char *forwarded_for  # value of X-Forwarded-For, NULL if absent
    Py_ssize_t forwarded_for_size
    const char *forwarded   # value of Forwarded, NULL if absent
    Py_ssize_t forwarded_size


# What a head may be, so that it is not refused.
cdef struct Bounds:
    Py_ssize_t bytes
    int fields
    bint any_origin         # whether Origin changes nothing


cdef Py_ssize_t read_head(
    const char *data, Py_ssize_t size, const Bounds *bounds, Asked *asked
) noexcept nogil
cdef bint read_range(
    const char *text, Py_ssize_t size, int64_t length, int64_t *start, int64_t *stop
) noexcept nogil
