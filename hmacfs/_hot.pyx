"""Hot objects: files asked for again and again, answered without a Python frame.

Small files are held in memory; of larger ones the open file is held, and short spans of it are sent by
sendfile(2), which from 16 KiB on costs less than copying. Reads the heads that `_asked` knows, and answers
only what it knows for certain; every other request is left to the cold path, untouched. An entry is good
for a second: then the file's name is looked up again, so one that is gone or replaced is gone here within
that second. The answers are those of the cold path byte for byte.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from libc.time cimport gmtime_r, strftime, time_t, tm
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, timespec
from posix.types cimport off_t
from posix.unistd cimport close

from hmacfs._asked cimport Asked, read_head, read_range
from hmacfs._core cimport beneath_cached, clock_ns


cdef extern from "<sys/uio.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv2(int file, const iovec *pieces, int count, off_t offset, int flags)
    enum:
        RWF_NOWAIT


# send(2) past the C library, which at each call of a program with threads also sees to pthread_cancel(3).
cdef extern from "<sys/syscall.h>" nogil:
    long syscall(long number, ...)
    enum:
        SYS_sendto


cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_MORE
        MSG_NOSIGNAL


cdef extern from "<sys/sendfile.h>" nogil:
    ssize_t sendfile(int sock, int file, off_t *offset, size_t count)


cdef extern from "<sys/stat.h>" nogil:
    struct stat_found "stat":
        uint64_t st_ino
        int64_t st_size
        unsigned int st_mode
        timespec st_mtim
    int fstat(int file, stat_found *found)
    bint S_ISREG(unsigned int mode)


cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int file, void *data, size_t length, off_t offset)


cdef enum:
    HEAD_BYTES = 4096   # room for one reply's head; fields that need more are not admitted
    LOG_BYTES = 65536   # lines held between two ticks; more are taken out early
    LINE_BYTES = 2048   # room for one log line; a target that needs more is not admitted
    NO_FILE = -1
    SECOND_NS = 1000000000
    MS_NS = 1000000

# Status, phrase and code, by kind.
cdef tuple KINDS = (
    (200, b"OK", b"ok"), (206, b"Partial Content", b"partial"), (304, b"Not Modified", b"not_modified")
)


cdef char *put(char *at, const char *text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef char *put_bytes(char *at, bytes text) noexcept:
    return put(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef char *put_number(char *at, uint64_t number) noexcept nogil:
    cdef char digits[20]
    cdef int count = 0
    while True:
        digits[count] = <char>(48 + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef void put_hex(char *at, uint64_t number) noexcept nogil:
    """Write `number` as 8 hexadecimal digits."""
    cdef const char *digits = "0123456789abcdef"
    cdef int index
    for index in range(8):
        at[index] = digits[(number >> (28 - 4 * index)) & 15]


cdef int64_t nanoseconds(const timespec *time) noexcept nogil:
    return <int64_t>time.tv_sec * SECOND_NS + time.tv_nsec


cdef bint is_resident(int file, int64_t offset) noexcept nogil:
    """Whether the byte at `offset` is in the page cache; preadv2(2), RWF_NOWAIT."""
    cdef char byte
    cdef iovec piece
    piece.iov_base = &byte
    piece.iov_len = 1
    return preadv2(file, &piece, 1, offset, RWF_NOWAIT) == 1


cdef class Entry:
    """One file's answers: its fields for 200, 206 and 304, and its bytes or its open file."""

    def __cinit__(self, *, tuple fields not None, tuple unmodified not None, tuple shared not None,
                  bytes etag not None, bytes logged not None, bytes path not None, tuple identity not None,
                  double expires, bytes body, int file):
        """Hold what answers one file; `file` is closed with the entry.

        The fields are lines with their CRLF, in two parts: before and after the number of max-age, which
        counts down to `expires` (wall clock, seconds). If that is 0, the file stays and the second part
        is empty. `shared` are the fields of every answer, and those of a 304 to a request without
        an Origin in their place; `logged` is the target as the log shows it,
        `path` the file's below the root, `identity` its inode, size and modification time in nanoseconds.
        `body` is None if an open `file` is given.
        """
        self.file = file
        self.before, self.after = fields
        self.before_304, self.after_304 = unmodified
        self.shared, self.shared_304 = shared
        self.etag = etag
        self.logged = logged
        self.path = path
        self.inode, self.size, self.mtime_ns = identity
        self.expires_ns = <int64_t>(expires * SECOND_NS)
        self.body = body

    def __dealloc__(self):
        if self.file != NO_FILE:
            close(self.file)


cdef bytes text_or_none(const char *text, Py_ssize_t size):
    return None if text == NULL else PyBytes_FromStringAndSize(text, size)


cdef class Hot:
    """The entries of one worker, and the one place that answers from them. For one thread."""

    def __cinit__(self, const uint8_t[::1] slab not None, int64_t[::1] row not None, tuple columns not None,
                  *, bytes run_id not None, keep not None, int root, int open_flags, Py_ssize_t body_bytes,
                  int64_t limit_bytes, Py_ssize_t limit_files, int64_t span_bytes, double good_for_s,
                  int64_t most_age_s):
        """Read requests from `slab`, count in `row`, give full buffers of log lines to `keep`.

        `columns` are those of GET (ok, not_modified, partial), HEAD (ok, not_modified), bytes received,
        bytes sent, range requests, of the latency histogram its first bucket and its sum, then its bounds
        in nanoseconds. Files are looked up below the directory `root`, opened with `open_flags`.
        Bodies of at most `body_bytes` are held, at most `limit_bytes` of memory in all and `limit_files`
        open files; of such a file at most `span_bytes` are sent at once. An entry is good for `good_for_s`;
        max-age is at most `most_age_s`.
        """
        cdef int index
        self.slab = slab
        self.data = <const char *>&slab[0]
        self.row = row
        self.cells = &row[0]
        if len(run_id) != RUN_BYTES:
            raise ValueError("the id of a run is of another length")
        memcpy(self.id, PyBytes_AS_STRING(run_id), RUN_BYTES)
        self.keep = keep
        self.root = root
        self.open_flags = open_flags
        self.limit_bytes = limit_bytes
        self.limit_files = limit_files
        self.span_bytes = span_bytes
        self.good_for_ns = <int64_t>(good_for_s * SECOND_NS)
        self.most_age_s = most_age_s
        self.entries = {}
        self.opened = {}
        self.leads = ()
        self.stamp_ms = 0
        self.columns.whole[0], self.columns.unmodified[0], self.columns.partial = columns[:3]
        self.columns.whole[1], self.columns.unmodified[1] = columns[3:5]
        self.columns.received_bytes, self.columns.sent_bytes, self.columns.ranges = columns[5:8]
        self.columns.latency, self.columns.latency_sum = columns[8:10]
        self.columns.bounds_count = len(columns) - 10
        if self.columns.bounds_count > BUCKETS:
            raise ValueError("the latency histogram has more bounds than there is room for")
        for index in range(self.columns.bounds_count):
            self.columns.bounds[index] = columns[10 + index]
        self.body_bytes = body_bytes
        self.lines = <char *>malloc(LOG_BYTES + LINE_BYTES)
        self.reply = <char *>malloc(HEAD_BYTES + body_bytes)
        if self.lines == NULL or self.reply == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.lines)
        free(self.reply)

    def configure(self, *, tuple leads not None, int most_fields, Py_ssize_t most_bytes, int most_requests,
                  bint any_origin, bint ranges, double idle_s) -> None:
        """Take the settings; forget every entry, since its fields were made under others.

        `leads` are the pieces of a log line, as `Log.leads` gives them. A head of more fields or bytes is
        left to the cold path, which refuses it; at most `most_requests` are answered in one turn;
        `any_origin` says that the answer is the same for every Origin, `ranges` that parts of a file may be
        asked for; a connection may be idle for `idle_s`.
        """
        self.leads = leads
        if leads:
            self.methods = tuple([leads[3] + method + leads[4] for method in (b"GET", b"HEAD")])
            self.outcomes = tuple(
                [b"%b%d%b%b%b" % (leads[5], status, leads[6], code, leads[7]) for status, _, code in KINDS]
            )
        self.bounds.fields = most_fields
        self.bounds.bytes = most_bytes
        self.bounds.any_origin = any_origin
        self.ranges = ranges
        self.most_requests = most_requests
        self.idle_ns = <int64_t>(idle_s * SECOND_NS)
        self.forget()

    def forget(self) -> None:
        """Answer nothing from memory until something is admitted again."""
        self.entries.clear()
        self.opened.clear()
        self.held_bytes = 0

    def tick(self, bytes date not None) -> None:
        """Take the Date field's value for the next turns, and close files that nobody asks for.

        An open file keeps its space on disk even if it is deleted: so none is held beyond its second.
        """
        cdef Entry entry
        cdef int64_t now = clock_ns(CLOCK_MONOTONIC)
        self.wall_offset_ns = clock_ns(CLOCK_REALTIME) - now
        self.starts = tuple(
            [b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, phrase, date) for status, phrase, _ in KINDS]
        )
        for target in list(self.opened):
            entry = self.opened[target]
            if entry.until_ns < now:
                self.drop(target)

    def admit(self, bytes target not None, Entry entry not None) -> bool:
        """Answer `target` from memory from now on; False if that does not fit."""
        # 512 bytes of the head are for what is not in these.
        cdef Py_ssize_t fields = len(entry.before) + len(entry.after)
        cdef Py_ssize_t unmodified = len(entry.before_304) + len(entry.after_304)
        if max(fields, unmodified) + len(entry.shared) > HEAD_BYTES - 512:
            return False
        if len(entry.logged) + len(target) > LINE_BYTES - 512:
            return False
        if entry.body is not None and len(entry.body) > self.body_bytes:
            return False
        self.drop(target)
        if not self.make_room(entry):
            return False
        entry.used = False
        entry.until_ns = clock_ns(CLOCK_MONOTONIC) + self.good_for_ns
        self.entries[target] = entry
        self.held_bytes += held(entry)
        if entry.body is None:
            self.opened[target] = entry
        return True

    cdef void drop(self, bytes target):
        cdef Entry entry = self.entries.get(target)
        if entry is not None:
            self.release(target, entry)

    cdef void release(self, bytes target, Entry entry):
        del self.entries[target]
        self.opened.pop(target, None)
        self.held_bytes -= held(entry)

    cdef bint make_room(self, Entry wanted):
        """Evict until one more fits: the oldest first, but what was used gets a second chance."""
        cdef Entry entry
        cdef dict group
        if held(wanted) > self.limit_bytes or (wanted.body is None and self.limit_files == 0):
            return False
        while True:
            if wanted.body is None and len(self.opened) >= self.limit_files:
                group = self.opened
            elif self.held_bytes + held(wanted) > self.limit_bytes:
                group = self.entries
            else:
                return True
            target = next(iter(group))
            entry = group[target]
            if entry.used:
                entry.used = False
                del group[target]
                group[target] = entry  # at the end
            else:
                self.release(target, entry)

    def next_id(self) -> str:
        """Return the next request id of this worker; hot and cold answers share one sequence."""
        self.requests += 1
        return self.last_id()

    def last_id(self) -> str:
        """Return the id of the request before."""
        return f"{self.id[:RUN_BYTES].decode()}{self.requests:08x}"

    def flush(self) -> None:
        """Give the log lines since the last time to what keeps them."""
        cdef bytes lines
        if self.lines_size:
            lines = PyBytes_FromStringAndSize(self.lines, self.lines_size)
            self.lines_size = 0
            self.keep(lines)

    cdef double idle_until_s(self):
        """When a connection that was answered just now has been idle too long, by the loop's clock."""
        return <double>(self.started_ns + self.idle_ns) / SECOND_NS

    cpdef Py_ssize_t serve(self, int sock, Py_ssize_t size, bytes client, object vouch):
        """Answer requests at the start of the slab's first `size` bytes; give how many bytes that was.

        What follows is for the cold path. If the socket did not take an answer whole, `rest` says what is
        missing and no more is answered. `vouch` is None unless `client` is one of our own proxies; then it
        gives whom X-Forwarded-For and Forwarded name, b"" if nobody.
        """
        cdef Asked asked
        cdef bytes named = client
        cdef Entry entry
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t used
        cdef int most = self.most_requests
        self.started_ns = clock_ns(CLOCK_MONOTONIC)
        self.rest = None
        while at < size and most > 0 and self.rest is None:
            used = read_head(self.data + at, size - at, &self.bounds, &asked)
            if used == 0:
                break
            entry = self.find(&asked)
            if vouch is not None and entry is not None:
                named = vouch(
                    text_or_none(asked.forwarded_for, asked.forwarded_for_size),
                    text_or_none(asked.forwarded, asked.forwarded_size),
                ) or client
            if entry is None or not self.answer(sock, &asked, entry, used, named):
                break
            at += used
            most -= 1
        return at

    cdef Entry find(self, const Asked *asked):
        """Return the entry of a target, None if there is none or its file is not what it was."""
        cdef bytes target = PyBytes_FromStringAndSize(asked.target, asked.target_size)
        cdef Entry entry = self.entries.get(target)
        if entry is None:
            return None
        if entry.until_ns < self.started_ns and not self.renew(entry):
            self.release(target, entry)
            return None
        return entry

    cdef bint renew(self, Entry entry):
        """Look whether the name still leads to the same file; then the entry is good for another while."""
        cdef stat_found found
        cdef const char *path = PyBytes_AS_STRING(entry.path)
        cdef long file
        cdef int failed
        with nogil:
            file = beneath_cached(self.root, path, self.open_flags)  # else the cold path asks the disk
            if file < 0:
                return False
            failed = fstat(<int>file, &found)
            close(<int>file)
        if failed or not S_ISREG(found.st_mode) or found.st_ino != entry.inode:
            return False
        if found.st_size != entry.size or nanoseconds(&found.st_mtim) != entry.mtime_ns:
            return False
        entry.until_ns = self.started_ns + self.good_for_ns
        entry.resident = False
        return True

    cdef bint answer(self, int sock, const Asked *asked, Entry entry, Py_ssize_t received, bytes client):
        """Send one answer, count and log it; False if it is not one of the usual."""
        cdef char *at = self.reply
        cdef int64_t start = 0
        cdef int64_t stop = entry.size
        cdef int64_t fresh_s = 0
        cdef int64_t ended_ns
        cdef bint unasked
        cdef Line line
        if entry.expires_ns:
            fresh_s = (entry.expires_ns - self.started_ns - self.wall_offset_ns) // SECOND_NS
            if fresh_s < 1:
                return False
            fresh_s = min(fresh_s, self.most_age_s)
        line.head_only = asked.head_only
        line.received = received
        if asked.match != NULL:
            if asked.match_size != PyBytes_GET_SIZE(entry.etag):
                return False
            if memcmp(asked.match, PyBytes_AS_STRING(entry.etag), asked.match_size) != 0:
                return False
            line.kind, line.column = UNMODIFIED, self.columns.unmodified[asked.head_only]
            stop = 0
        elif asked.range != NULL:
            if not self.ranges or asked.head_only:
                return False
            if not read_range(asked.range, asked.range_size, entry.size, &start, &stop):
                return False
            line.kind, line.column = PARTIAL, self.columns.partial
        else:
            line.kind, line.column = WHOLE, self.columns.whole[asked.head_only]
        if entry.body is None and stop > start and not asked.head_only:
            if stop - start > self.span_bytes:
                return False
            # Pages that are not in memory are read by the cold path, on a thread.
            if not entry.resident and not (
                is_resident(entry.file, start) and is_resident(entry.file, stop - 1)
            ):
                return False
        self.requests += 1
        put_hex(self.id + RUN_BYTES, self.requests)
        at = put_bytes(at, <bytes>self.starts[line.kind])
        at = put_bytes(at, entry.before_304 if line.kind == UNMODIFIED else entry.before)
        if entry.expires_ns:
            at = put_number(at, fresh_s)
            at = put_bytes(at, entry.after_304 if line.kind == UNMODIFIED else entry.after)
        if line.kind == PARTIAL:
            at = put(at, "Content-Range: bytes ", 21)
            at = put_number(at, start)
            at = put(at, "-", 1)
            at = put_number(at, stop - 1)
            at = put(at, "/", 1)
            at = put_number(at, entry.size)
            at = put(at, "\r\n", 2)
        unasked = line.kind == UNMODIFIED and not asked.from_origin
        at = put_bytes(at, entry.shared_304 if unasked else entry.shared)
        at = put(at, "X-Request-Id: ", 14)
        at = put(at, self.id, ID_BYTES)
        if line.kind != UNMODIFIED:
            at = put(at, "\r\nContent-Length: ", 18)
            at = put_number(at, stop - start)
        at = put(at, "\r\n\r\n", 4)
        if asked.head_only:
            stop = start
        entry.used = True
        line.sent = self.send(sock, at, entry, start, stop)
        if line.sent < at - self.reply + stop - start:
            # What sends the rest counts and logs it.
            status, _, code = KINDS[line.kind]
            self.rest = (self.missing, status, code.decode(), line.sent, received)
            self.missing = None
            return True
        if line.kind == WHOLE and entry.body is None and stop > start:
            entry.resident = True
        ended_ns = clock_ns(CLOCK_MONOTONIC)
        self.count(&line, ended_ns - self.started_ns)
        if self.leads:
            self.note(&line, entry.logged, client, ended_ns)
        return True

    cdef Py_ssize_t send(self, int sock, char *at, Entry entry, int64_t start, int64_t stop):
        """Send the head, which ends `at`, and bytes of the file; what the socket does not take is `missing`.

        Gives how many bytes went out.
        """
        cdef Py_ssize_t size
        cdef ssize_t n
        cdef ssize_t m
        cdef off_t offset = start
        cdef bint from_file = entry.body is None and stop > start
        if stop > start and not from_file:
            # Copied, since one send(2) costs less than sendmsg(2) with two pieces does.
            at = put(at, PyBytes_AS_STRING(entry.body) + start, stop - start)
        size = at - self.reply
        while True:
            # MSG_MORE holds the head back until the first bytes of the file join it in one packet.
            n = syscall(SYS_sendto, sock, self.reply, size,
                        MSG_DONTWAIT | MSG_NOSIGNAL | (MSG_MORE if from_file else 0), NULL, 0)
            if n >= 0 or errno != EINTR:
                break
        if n == size and not from_file:
            return n
        while n == size:
            m = sendfile(sock, entry.file, &offset, stop - offset)
            if m == stop - start:
                return n + m
            if m >= 0 or errno != EINTR:
                break
        # Full, or the client is gone: the cold way of sending finds out which.
        n = max(n, 0)
        self.missing = PyBytes_FromStringAndSize(self.reply + n, size - n)
        if from_file:
            self.append_file(entry.file, offset, stop)
        return n + offset - start

    cdef void append_file(self, int file, int64_t offset, int64_t stop):
        """Read what of a file is missing; None if it has been cut short since it was looked at."""
        cdef bytes rest = PyBytes_FromStringAndSize(NULL, stop - offset)
        if pread(file, PyBytes_AS_STRING(rest), stop - offset, offset) == stop - offset:
            self.missing += rest
        else:
            self.missing = None

    cdef void count(self, const Line *line, int64_t elapsed_ns) noexcept:
        cdef int64_t *row = self.cells
        cdef Columns *columns = &self.columns
        cdef int bucket = 0
        row[line.column] += 1
        row[columns.received_bytes] += line.received
        row[columns.sent_bytes] += line.sent
        if line.kind == PARTIAL:
            row[columns.ranges] += 1
        while bucket < columns.bounds_count and elapsed_ns > columns.bounds[bucket]:
            bucket += 1
        row[columns.latency + bucket] += 1
        row[columns.latency_sum] += elapsed_ns

    @cython.cdivision(True)  # of times that are not negative
    cdef int note(self, const Line *line, bytes target, bytes client, int64_t ended_ns) except -1:
        """Write the log line that the log itself would write."""
        cdef char *at = self.lines + self.lines_size
        cdef int64_t micros = (ended_ns - self.started_ns) // 1000
        cdef int64_t wall_ms = (ended_ns + self.wall_offset_ns) // MS_NS
        cdef tuple leads = self.leads
        if wall_ms != self.stamp_ms:
            self.restamp(wall_ms)
        at = put_bytes(at, <bytes>leads[0])
        at = put(at, self.stamp, STAMP_BYTES)
        at = put_bytes(at, <bytes>leads[1])
        at = put(at, self.id, ID_BYTES)
        at = put_bytes(at, <bytes>leads[2])
        at = put_bytes(at, client)
        at = put_bytes(at, <bytes>self.methods[line.head_only])
        at = put_bytes(at, target)
        at = put_bytes(at, <bytes>self.outcomes[line.kind])
        at = put_number(at, line.received)
        at = put_bytes(at, <bytes>leads[8])
        at = put_number(at, line.sent)
        at = put_bytes(at, <bytes>leads[9])
        at = put_number(at, micros // 1000)
        at[0] = b"."
        at[1] = <char>(48 + micros // 100 % 10)
        at[2] = <char>(48 + micros // 10 % 10)
        at[3] = <char>(48 + micros % 10)
        at = put_bytes(at + 4, <bytes>leads[10])
        self.lines_size = at - self.lines
        if self.lines_size > LOG_BYTES:
            self.flush()
        return 0

    @cython.cdivision(True)  # of times that are not negative
    cdef void restamp(self, int64_t wall_ms) noexcept:
        """Bring the time stamp to this millisecond: RFC 3339, UTC."""
        cdef tm parts
        cdef time_t second = wall_ms // 1000
        cdef int64_t ms = wall_ms % 1000
        if second != self.stamp_ms // 1000:
            gmtime_r(&second, &parts)
            strftime(self.stamp, sizeof(self.stamp), "%Y-%m-%dT%H:%M:%S.000Z", &parts)
        self.stamp[20] = <char>(48 + ms // 100)
        self.stamp[21] = <char>(48 + ms // 10 % 10)
        self.stamp[22] = <char>(48 + ms % 10)
        self.stamp_ms = wall_ms


cdef int64_t held(Entry entry):
    """How much memory an entry takes, at most."""
    return HEAD_BYTES + (0 if entry.body is None else PyBytes_GET_SIZE(entry.body))
