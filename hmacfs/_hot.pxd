"""The hot objects, as the compiled front of a connection calls them; see `_hot.pyx`."""

from libc.stdint cimport int64_t, uint64_t

from hmacfs._asked cimport Asked, Bounds


cdef enum:
    BUCKETS = 32  # most bounds of the latency histogram
    STAMP_BYTES = 24
    RUN_BYTES = 8
    ID_BYTES = 16  # of a request: that of the run, and a number


# The columns that answers are counted in, and the bounds of the latency histogram in nanoseconds.
cdef struct Columns:
    Py_ssize_t whole[2]         # 200, of GET and of HEAD
    Py_ssize_t unmodified[2]    # 304, of GET and of HEAD
    Py_ssize_t partial          # 206
    Py_ssize_t received_bytes
    Py_ssize_t sent_bytes
    Py_ssize_t ranges
    Py_ssize_t latency          # the histogram's first bucket
    Py_ssize_t latency_sum
    int64_t bounds[BUCKETS]
    int bounds_count


# Kinds of answers: places in what is made ready for each of them.
cdef enum:
    WHOLE
    PARTIAL
    UNMODIFIED


# What one answer's counters and log line need besides the entry.
cdef struct Line:
    int kind
    bint head_only
    Py_ssize_t column
    Py_ssize_t received
    Py_ssize_t sent


cdef class Entry:
    cdef bytes before           # the file's fields for 200 and 206, up to the number of max-age
    cdef bytes after            # what follows that number
    cdef bytes before_304       # the same for 304
    cdef bytes after_304
    cdef bytes shared           # what every answer carries, but for
    cdef bytes shared_304       # a 304 to a request without an Origin, which carries this
    cdef bytes etag
    cdef bytes logged           # the target as the log shows it
    cdef bytes path
    cdef bytes body             # None if `file` is held instead
    cdef int file
    cdef uint64_t inode
    cdef int64_t size
    cdef int64_t mtime_ns
    cdef int64_t expires_ns     # wall clock; 0: never
    cdef int64_t until_ns       # monotonic: then the file is looked at again
    cdef bint used              # since room was last looked for
    cdef bint resident          # whether all of `file` has lately been sent from the page cache


cdef class Hot:
    cdef dict entries
    cdef dict opened            # those of `entries` that hold a file
    cdef object slab            # keeps `data` alive
    cdef const char *data
    cdef int root
    cdef uint64_t open_flags
    cdef char *reply            # the answer being made
    cdef Py_ssize_t body_bytes
    cdef int64_t limit_bytes
    cdef Py_ssize_t limit_files
    cdef int64_t span_bytes
    cdef int64_t good_for_ns
    cdef int64_t most_age_s     # of max-age
    cdef readonly int64_t held_bytes
    cdef char *lines            # log lines since they were last taken
    cdef Py_ssize_t lines_size
    cdef tuple starts           # of an answer's head, by kind: up to and with Date
    cdef tuple leads            # what stands before each value of a log line; () if none is wanted
    cdef char stamp[STAMP_BYTES + 1]
    cdef int64_t stamp_ms       # the millisecond that it names
    cdef tuple methods          # what follows the client in a log line, for GET and for HEAD
    cdef tuple outcomes         # what follows the target, by kind
    cdef char id[ID_BYTES]      # of the last request answered here
    cdef int64_t wall_offset_ns  # wall clock less monotonic clock
    cdef object row             # keeps `cells` alive
    cdef int64_t *cells
    cdef Columns columns
    cdef Bounds bounds
    cdef int most_requests
    cdef bint ranges            # whether parts of a file may be asked for
    cdef int64_t idle_ns
    cdef object keep            # takes full buffers of log lines
    cdef readonly uint64_t requests
    cdef int64_t started_ns     # when the last turn began
    cdef bytes missing          # of the last answer; None if its file has been cut short meanwhile
    # Of the last answer, if the socket did not take it whole: what is missing, status, code, how
    # many bytes were sent, how many the request had.
    cdef readonly tuple rest

    cpdef Py_ssize_t serve(self, int sock, Py_ssize_t size, bytes client, object vouch)
    cdef double idle_until_s(self)
    cdef Entry find(self, const Asked *asked)
    cdef bint renew(self, Entry entry)
    cdef bint answer(self, int sock, const Asked *asked, Entry entry, Py_ssize_t received, bytes client)
    cdef Py_ssize_t send(self, int sock, char *at, Entry entry, int64_t start, int64_t stop)
    cdef void append_file(self, int file, int64_t offset, int64_t stop)
    cdef void count(self, const Line *line, int64_t elapsed_ns) noexcept
    cdef int note(self, const Line *line, bytes target, bytes client, int64_t ended_ns) except -1
    cdef void restamp(self, int64_t wall_ms) noexcept
    cdef void drop(self, bytes target)
    cdef void release(self, bytes target, Entry entry)
    cdef bint make_room(self, Entry entry)
