"""Hot objects: small files answered from memory, without a Python frame, an open or a stat.

Reads a strict subset of HTTP/1.1 heads, the one that nearly every download has, and answers only what
it knows for certain; every other request is left to the cold path, untouched. An entry is good for a
second: then the cold path looks at the file again and renews it, so a file that is gone, or whose time is
over, is gone here within that second. The answers are those of the cold path byte for byte.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen
from libc.time cimport gmtime_r, strftime, time_t, tm
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *one, const char *other, size_t length)


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int sock, const msghdr *message, int flags)
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL


cdef enum:
    HEAD_BYTES = 4096   # room for one reply's head; fields that need more are not admitted
    LOG_BYTES = 65536   # lines held between two ticks; more are taken out early
    LINE_BYTES = 2048   # room for one log line; a target that needs more is not admitted
    HOST_BYTES = 255    # a longer Host is left to the cold path


# What a head may ask for that is answered here.
cdef struct Asked:
    const char *target
    Py_ssize_t target_size
    bint head_only
    const char *range       # value of Range, NULL if absent
    Py_ssize_t range_size
    const char *match       # value of If-None-Match, NULL if absent
    Py_ssize_t match_size


cdef uint8_t TOKEN[256]  # 1: may stand in a field's name (RFC 9110 5.6.2)
cdef uint8_t TEXT[256]   # 1: may stand in a field's value (RFC 9110 5.5)
cdef uint8_t PLAIN[256]  # 1: may stand in a host that needs no second thought


cdef void fill_tables() noexcept:
    cdef int c
    for c in range(256):
        TOKEN[c] = c in b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        TEXT[c] = c == 9 or 32 <= c < 127 or c > 127
        PLAIN[c] = c in b".-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

fill_tables()


cdef bint is_name(const char *name, Py_ssize_t size, const char *known, Py_ssize_t known_size) noexcept nogil:
    return size == known_size and strncasecmp(name, known, size) == 0


cdef bint plain_host(const char *host, Py_ssize_t size) noexcept nogil:
    """Whether `host` is letters, digits, dots and hyphens, and at most a short port."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t digits
    while at < size and PLAIN[<uint8_t>host[at]]:
        at += 1
    if at == 0 or at > HOST_BYTES:
        return False
    if at == size:
        return True
    # Four digits cannot exceed the largest port; five need arithmetic, so the cold path does it
    # unless they are below 60000.
    digits = size - at - 1
    if host[at] != b":" or digits < 1 or digits > 5:
        return False
    if digits == 5 and host[at + 1] > b"5":
        return False
    at += 1
    while at < size:
        if host[at] < b"0" or host[at] > b"9":
            return False
        at += 1
    return True


cdef enum Field:
    HARMLESS  # means nothing to a download
    MEANT     # noted in `asked`
    UNUSUAL   # for the cold path


cdef Field weigh(
    Asked *asked, const char *name, Py_ssize_t name_size, const char *value, Py_ssize_t size, bint *hosted
) noexcept nogil:
    """Say what one field means for a GET; names are those on which the cold path decides anything."""
    cdef char first = name[0] | 32
    if first == b"h" and is_name(name, name_size, "host", 4):
        if hosted[0] or not plain_host(value, size):
            return UNUSUAL
        hosted[0] = True
        return MEANT
    if first == b"r" and is_name(name, name_size, "range", 5):
        if asked.range != NULL:
            return UNUSUAL
        asked.range = value
        asked.range_size = size
        return MEANT
    if first == b"i":
        if is_name(name, name_size, "if-none-match", 13):
            if asked.match != NULL:
                return UNUSUAL
            asked.match = value
            asked.match_size = size
            return MEANT
        return UNUSUAL if name_size > 2 and name[2] == b"-" else HARMLESS
    if first == b"c":
        if is_name(name, name_size, "connection", 10):
            return HARMLESS if is_name(value, size, "keep-alive", 10) else UNUSUAL
        if name_size > 8 and strncasecmp(name, "content-", 8) == 0:
            return UNUSUAL
        return HARMLESS
    if (
        is_name(name, name_size, "transfer-encoding", 17)
        or is_name(name, name_size, "expect", 6)
        or is_name(name, name_size, "upgrade", 7)
        or is_name(name, name_size, "origin", 6)
        or is_name(name, name_size, "authorization", 13)
        or is_name(name, name_size, "proxy-connection", 16)
    ):
        return UNUSUAL
    return HARMLESS


cdef Py_ssize_t read_head(
    const char *data, Py_ssize_t size, Py_ssize_t most_bytes, int most_fields, Asked *asked
) noexcept nogil:
    """Read one head at `data`; give its length, or 0 if it is not whole or not of the usual kind."""
    cdef const char *end = data + size
    cdef const char *at
    cdef const char *name
    cdef const char *value
    cdef const char *stop
    cdef Py_ssize_t name_size
    cdef int fields = 0
    cdef bint hosted = False
    asked.head_only = False
    asked.range = NULL
    asked.match = NULL
    if size > 5 and memcmp(data, "GET /", 5) == 0:
        asked.target = data + 4
    elif size > 6 and memcmp(data, "HEAD /", 6) == 0:
        asked.target = data + 5
        asked.head_only = True
    else:
        return 0
    at = <const char *>memchr(asked.target, b" ", end - asked.target)
    if at == NULL or end - at < 13 or memcmp(at, " HTTP/1.1\r\n", 11) != 0:
        return 0
    asked.target_size = at - asked.target
    at += 11
    while True:
        if end - at < 2:
            return 0
        if at[0] == b"\r":
            if at[1] != b"\n" or not hosted or at + 2 - data > most_bytes:
                return 0
            return at + 2 - data
        fields += 1
        if fields > most_fields:
            return 0
        name = at
        while at < end and TOKEN[<uint8_t>at[0]]:
            at += 1
        name_size = at - name
        if at == end or at[0] != b":" or name_size == 0:
            return 0
        at += 1
        while at < end and (at[0] == b" " or at[0] == b"\t"):
            at += 1
        value = at
        while at < end and TEXT[<uint8_t>at[0]]:
            at += 1
        if end - at < 2 or at[0] != b"\r" or at[1] != b"\n":
            return 0
        stop = at
        while stop > value and (stop[-1] == b" " or stop[-1] == b"\t"):
            stop -= 1
        if weigh(asked, name, name_size, value, stop - value, &hosted) == UNUSUAL:
            return 0
        at += 2


cdef bint read_range(
    const char *text, Py_ssize_t size, int64_t length, int64_t *start, int64_t *stop
) noexcept nogil:
    """Read `bytes=A-B` or `bytes=A-` that lies in a file of `length`; False for all else."""
    cdef Py_ssize_t at = 6
    cdef int64_t first = 0
    cdef int64_t last = 0
    cdef Py_ssize_t digits = 0
    if size < 8 or memcmp(text, "bytes=", 6) != 0:
        return False
    while at < size and 48 <= text[at] <= 57 and digits < 18:
        first = first * 10 + (text[at] - 48)
        at += 1
        digits += 1
    if digits == 0 or at == size or text[at] != b"-":
        return False
    at += 1
    if at == size:
        last = length - 1
    else:
        digits = 0
        while at < size and 48 <= text[at] <= 57 and digits < 18:
            last = last * 10 + (text[at] - 48)
            at += 1
            digits += 1
        if digits == 0 or at != size:
            return False
    if last < first or first >= length:
        return False
    start[0] = first
    stop[0] = min(last + 1, length)
    # Of the whole file the cold path may think otherwise.
    return stop[0] - start[0] < length


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


cdef char *put_hex(char *at, uint64_t number) noexcept nogil:
    """Write `number` as 8 hexadecimal digits."""
    cdef int shift = 28
    cdef int digit
    while shift >= 0:
        digit = (number >> shift) & 15
        at[0] = <char>(48 + digit if digit < 10 else 87 + digit)
        at += 1
        shift -= 4
    return at


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef struct Line:
    # What one request's log line and counters need besides the entry.
    int status
    const char *code
    Py_ssize_t received
    Py_ssize_t sent
    int64_t started_ns


cdef class Entry:
    """One file's answers: its fields for 200, 206 and 304, and its bytes."""

    cdef bytes fields      # of the file, for 200 and 206; each line with its CRLF
    cdef bytes unmodified  # the same for 304
    cdef bytes shared      # what every answer carries
    cdef bytes etag
    cdef bytes body
    cdef bytes logged      # the target as the log shows it
    cdef int64_t until_ns
    cdef bint used         # since room was last looked for


cdef class Hot:
    """The entries of one worker, and the one place that answers from them. For one thread."""

    cdef dict entries
    cdef object slab              # keeps `data` alive
    cdef const char *data
    cdef int64_t limit_bytes
    cdef readonly int64_t held_bytes
    cdef char *lines              # log lines since they were last taken
    cdef Py_ssize_t lines_size
    cdef bytes date
    cdef bytes run_id
    cdef tuple leads              # what stands before each value of a log line; () if none is wanted
    cdef char stamp[32]
    cdef int64_t stamp_ms
    cdef int64_t[::1] row
    cdef tuple columns
    cdef object keep              # takes full buffers of log lines
    cdef int most_fields
    cdef Py_ssize_t most_bytes
    cdef readonly uint64_t requests
    # Of the last answer, if the socket did not take it whole: what is missing, status, code, how
    # many bytes were sent, how many the request had.
    cdef readonly object rest

    def __cinit__(self, const uint8_t[::1] slab not None, int64_t[::1] row not None,
                  tuple columns not None, int64_t limit_bytes, bytes run_id not None, keep not None):
        """Read requests from `slab`, count in `row`, give full buffers of log lines to `keep`.

        `columns` are those of GET (ok, partial, not_modified), HEAD (ok, not_modified), bytes received,
        bytes sent, range requests, of the latency histogram its first bucket and its sum, then its
        bounds in nanoseconds.
        """
        self.slab = slab
        self.columns = columns
        self.keep = keep
        self.data = <const char *>&slab[0]
        self.limit_bytes = limit_bytes
        self.run_id = run_id
        self.row = row
        self.entries = {}
        self.leads = ()
        self.date = b""
        self.stamp_ms = -1
        self.lines = <char *>malloc(LOG_BYTES + LINE_BYTES)
        if self.lines == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.lines)

    def configure(self, tuple leads not None, int most_fields, Py_ssize_t most_bytes) -> None:
        """Take the settings; forget every entry, since its fields were made under others.

        `leads` are the pieces of a log line, as `Log.leads` gives them; a head of more fields or bytes
        is left to the cold path, which refuses it.
        """
        self.leads = leads
        self.most_fields = most_fields
        self.most_bytes = most_bytes
        self.forget()

    def forget(self) -> None:
        """Answer nothing from memory until something is admitted again."""
        self.entries.clear()
        self.held_bytes = 0

    def tick(self, bytes date not None) -> None:
        """Take the Date field's value for the next turns."""
        self.date = date

    def admit(self, bytes target not None, bytes fields not None, bytes unmodified not None,
              bytes shared not None, bytes etag not None, bytes body not None, bytes logged not None,
              double seconds) -> bool:
        """Answer `target` from memory for `seconds`; False if it does not fit.

        The fields are lines with their CRLF: the file's own for 200 and 206, the same for 304, and
        those that every answer carries; `logged` is the target as the log shows it.
        """
        cdef Entry entry
        cdef int64_t size = PyBytes_GET_SIZE(body)
        # The answer is put together on the stack: 512 bytes are for what is not in these.
        if max(len(fields), len(unmodified)) + len(shared) > HEAD_BYTES - 512:
            return False
        if len(logged) + len(target) > LINE_BYTES - 512:
            return False
        self.drop(target)
        if not self.make_room(size):
            return False
        entry = Entry()
        entry.fields = fields
        entry.unmodified = unmodified
        entry.shared = shared
        entry.etag = etag
        entry.body = body
        entry.logged = logged
        entry.used = False
        entry.until_ns = now_ns() + <int64_t>(seconds * 1e9)
        self.entries[target] = entry
        self.held_bytes += size + HEAD_BYTES
        return True

    def body_of(self, bytes target not None, bytes etag not None) -> bytes | None:
        """Give the bytes held for `target` if they are those of `etag`, past their second or not."""
        cdef Entry entry = self.entries.get(target)
        return entry.body if entry is not None and entry.etag == etag else None

    cdef void drop(self, bytes target):
        cdef Entry entry = self.entries.pop(target, None)
        if entry is not None:
            self.held_bytes -= PyBytes_GET_SIZE(entry.body) + HEAD_BYTES

    cdef bint make_room(self, int64_t size):
        """Evict until `size` more bytes fit: the oldest first, but what was used gets a second chance."""
        cdef Entry entry
        if size + HEAD_BYTES > self.limit_bytes:
            return False
        while self.held_bytes + size + HEAD_BYTES > self.limit_bytes:
            target = next(iter(self.entries))
            entry = self.entries.pop(target)
            if entry.used:
                entry.used = False
                self.entries[target] = entry
            else:
                self.held_bytes -= PyBytes_GET_SIZE(entry.body) + HEAD_BYTES
        return True

    def next_id(self) -> str:
        """Give the next request id of this worker; hot and cold answers share one sequence."""
        self.requests += 1
        return self.last_id()

    def last_id(self) -> str:
        """Give the id of the request before."""
        return f"{self.run_id.decode()}{self.requests:08x}"

    def flush(self) -> None:
        """Give the log lines since the last time to whoever keeps them."""
        cdef bytes lines
        if self.lines_size:
            lines = PyBytes_FromStringAndSize(self.lines, self.lines_size)
            self.lines_size = 0
            self.keep(lines)

    def serve(self, int sock, Py_ssize_t size, int most, bytes client not None) -> int:
        """Answer requests at the start of the slab's first `size` bytes, at most `most` of them.

        Gives how many bytes were answered; what follows is for the cold path. If the socket did not take
        an answer whole, `rest` says what is missing and no more is answered.
        """
        cdef Asked asked
        cdef Entry entry
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t used
        cdef int64_t started_ns = now_ns()
        self.rest = None
        while at < size and most > 0 and self.rest is None:
            used = read_head(self.data + at, size - at, self.most_bytes, self.most_fields, &asked)
            if used == 0:
                break
            entry = self.entries.get(PyBytes_FromStringAndSize(asked.target, asked.target_size))
            if entry is None or entry.until_ns < started_ns:
                break
            if not self.answer(sock, &asked, entry, used, client, started_ns):
                break
            at += used
            most -= 1
        return at

    cdef bint answer(self, int sock, Asked *asked, Entry entry, Py_ssize_t received, bytes client,
                     int64_t started_ns):
        """Send one answer, count and log it; False if it is not one of the usual."""
        cdef char head[HEAD_BYTES]
        cdef char *at = head
        cdef int64_t start = 0
        cdef int64_t size = PyBytes_GET_SIZE(entry.body)
        cdef int64_t stop = size
        cdef Line line
        cdef int column
        if asked.match != NULL:
            if asked.match_size != PyBytes_GET_SIZE(entry.etag):
                return False
            if memcmp(asked.match, PyBytes_AS_STRING(entry.etag), asked.match_size) != 0:
                return False
            line.status, line.code, column = 304, "not_modified", 4 if asked.head_only else 2
            stop = 0
        elif asked.range != NULL:
            if asked.head_only or not read_range(asked.range, asked.range_size, size, &start, &stop):
                return False
            line.status, line.code, column = 206, "partial", 1
        else:
            line.status, line.code, column = 200, "ok", 3 if asked.head_only else 0
        self.requests += 1
        if line.status == 304:
            at = put(at, "HTTP/1.1 304 Not Modified\r\nDate: ", 33)
        elif line.status == 206:
            at = put(at, "HTTP/1.1 206 Partial Content\r\nDate: ", 36)
        else:
            at = put(at, "HTTP/1.1 200 OK\r\nDate: ", 23)
        at = put_bytes(at, self.date)
        at = put(at, "\r\n", 2)
        at = put_bytes(at, entry.unmodified if line.status == 304 else entry.fields)
        if line.status == 206:
            at = put(at, "Content-Range: bytes ", 21)
            at = put_number(at, start)
            at = put(at, "-", 1)
            at = put_number(at, stop - 1)
            at = put(at, "/", 1)
            at = put_number(at, size)
            at = put(at, "\r\n", 2)
        at = put_bytes(at, entry.shared)
        at = put(at, "X-Request-Id: ", 14)
        at = put_bytes(at, self.run_id)
        at = put_hex(at, self.requests)
        if line.status != 304:
            at = put(at, "\r\nContent-Length: ", 18)
            at = put_number(at, stop - start)
        at = put(at, "\r\n\r\n", 4)
        if asked.head_only:
            stop = start
        entry.used = True
        line.received = received
        line.sent = self.send(sock, head, at - head, entry.body, start, stop)
        line.started_ns = started_ns
        if self.rest is not None:
            # Whoever sends the rest counts and logs it.
            self.rest = (self.rest, line.status, line.code.decode(), line.sent, received)
            return True
        self.count(&line, column)
        if self.leads:
            self.note(&line, entry.logged, client, asked.head_only)
        return True

    cdef Py_ssize_t send(self, int sock, const char *head, Py_ssize_t head_size, bytes body, int64_t start,
                         int64_t stop):
        """Send head and body; what the socket does not take becomes `rest`."""
        cdef iovec pieces[2]
        cdef msghdr message
        cdef Py_ssize_t n
        memset(&message, 0, sizeof(message))
        pieces[0].iov_base = <void *>head
        pieces[0].iov_len = head_size
        pieces[1].iov_base = <void *>(PyBytes_AS_STRING(body) + start)
        pieces[1].iov_len = stop - start
        message.msg_iov = pieces
        message.msg_iovlen = 2 if stop > start else 1
        while True:
            n = sendmsg(sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n >= 0 or errno != EINTR:
                break
        if n < 0:
            n = 0  # full, or the client is gone: the cold way of sending finds out which
        if n == head_size + stop - start:
            return n
        if n < head_size:
            self.rest = PyBytes_FromStringAndSize(head + n, head_size - n) + body[start:stop]
        else:
            self.rest = body[start + n - head_size:stop]
        return n

    cdef void count(self, Line *line, int column):
        cdef int64_t[::1] row = self.row
        cdef int64_t elapsed_ns = now_ns() - line.started_ns
        cdef tuple columns = self.columns
        row[<Py_ssize_t>columns[column]] += 1
        row[<Py_ssize_t>columns[5]] += line.received
        row[<Py_ssize_t>columns[6]] += line.sent
        if line.status == 206:
            row[<Py_ssize_t>columns[7]] += 1
        row[<Py_ssize_t>columns[8] + self.bucket(elapsed_ns)] += 1
        row[<Py_ssize_t>columns[9]] += elapsed_ns

    cdef Py_ssize_t bucket(self, int64_t elapsed_ns):
        """Which bucket of the latency histogram; columns from the tenth on are its bounds in ns."""
        cdef Py_ssize_t index = 0
        cdef tuple columns = self.columns
        while 10 + index < len(columns) and elapsed_ns > <int64_t>columns[10 + index]:
            index += 1
        return index

    cdef void note(self, Line *line, bytes target, bytes client, bint head_only):
        """Write the log line that the log itself would write."""
        cdef char *at = self.lines + self.lines_size
        cdef int64_t micros = (now_ns() - line.started_ns) // 1000
        cdef tuple leads = self.leads
        self.restamp()
        at = put_bytes(at, leads[0])
        at = put(at, self.stamp, 24)
        at = put_bytes(at, leads[1])
        at = put_bytes(at, self.run_id)
        at = put_hex(at, self.requests)
        at = put_bytes(at, leads[2])
        at = put_bytes(at, client)
        at = put_bytes(at, leads[3])
        at = put(at, "HEAD", 4) if head_only else put(at, "GET", 3)
        at = put_bytes(at, leads[4])
        at = put_bytes(at, target)
        at = put_bytes(at, leads[5])
        at = put_number(at, line.status)
        at = put_bytes(at, leads[6])
        at = put(at, line.code, strlen(line.code))
        at = put_bytes(at, leads[7])
        at = put_number(at, line.received)
        at = put_bytes(at, leads[8])
        at = put_number(at, line.sent)
        at = put_bytes(at, leads[9])
        at = put_number(at, micros // 1000)
        at[0] = b"."
        at[1] = <char>(48 + micros // 100 % 10)
        at[2] = <char>(48 + micros // 10 % 10)
        at[3] = <char>(48 + micros % 10)
        at = put_bytes(at + 4, leads[10])
        self.lines_size = at - self.lines
        if self.lines_size > LOG_BYTES:
            self.flush()

    cdef void restamp(self):
        """Bring the time stamp to the present millisecond: RFC 3339, UTC."""
        cdef timespec now
        cdef tm parts
        cdef time_t second
        cdef int64_t ms
        clock_gettime(CLOCK_REALTIME, &now)
        ms = <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000
        if ms == self.stamp_ms:
            return
        second = now.tv_sec
        gmtime_r(&second, &parts)
        strftime(self.stamp, 32, "%Y-%m-%dT%H:%M:%S.", &parts)
        self.stamp[20] = <char>(48 + ms // 100 % 10)
        self.stamp[21] = <char>(48 + ms // 10 % 10)
        self.stamp[22] = <char>(48 + ms % 10)
        self.stamp[23] = b"Z"
        self.stamp_ms = ms
