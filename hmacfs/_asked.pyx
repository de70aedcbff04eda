"""The strict subset of HTTP/1.1 request heads that is answered from memory: the one of nearly every download.

Pure: bytes in, what they ask for out. What is not of the subset is for the cold path, which knows all of
HTTP and refuses what must be refused. The same for field lines alone: `http.fields` asks here first.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *one, const char *other, size_t length)


cdef enum:
    HOST_BYTES = 255  # a longer Host is left to the cold path
    NAME_BYTES = 32   # and so is a longer name of a field
    DIGITS = 18       # and a length with more of them


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


cdef const char *skip_text(const char *at, const char *end) noexcept nogil:
    """Give the end of what may stand in a field's value; eight bytes at a time while they are usual ones."""
    cdef uint64_t ones = 0x0101010101010101
    cdef uint64_t word
    cdef uint64_t delete
    while end - at >= 8:
        memcpy(&word, at, 8)
        delete = word ^ ones * 127
        # The top bit of some byte is set if one is below 32, or is 127.
        if ((word - ones * 32) & ~word | (delete - ones) & ~delete) & ones * 128:
            break
        at += 8
    while at < end and TEXT[<uint8_t>at[0]]:
        at += 1
    return at


cdef enum Field:
    HARMLESS  # means nothing to a download
    MEANT     # noted in `asked`
    UNUSUAL   # for the cold path


cdef Field weigh(
    const Bounds *bounds, Asked *asked, const char *name, Py_ssize_t name_size, const char *value,
    Py_ssize_t size
) noexcept nogil:
    """Say what one field means for a GET; names are those on which the cold path decides anything."""
    cdef char first = name[0] | 32
    if first == b"h" and is_name(name, name_size, "host", 4):
        if asked.hosted or not plain_host(value, size):
            return UNUSUAL
        asked.hosted = True
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
    if first == b"x" and is_name(name, name_size, "x-forwarded-for", 15):
        if asked.forwarded_for != NULL:
            return UNUSUAL
        asked.forwarded_for = value
        asked.forwarded_for_size = size
        return MEANT
    if first == b"f" and is_name(name, name_size, "forwarded", 9):
        if asked.forwarded != NULL:
            return UNUSUAL
        asked.forwarded = value
        asked.forwarded_size = size
        return MEANT
    if first == b"w" and is_name(name, name_size, "want-repr-digest", 16):
        return UNUSUAL
    # HEAD may ask about an upload, whose file that is by now (tests/hot derives what changes an answer).
    if first == b"u" and name_size > 7 and strncasecmp(name, "upload-", 7) == 0:
        return UNUSUAL
    if first == b"t" and is_name(name, name_size, "tus-resumable", 13):
        return UNUSUAL
    if is_name(name, name_size, "origin", 6):
        if asked.from_origin or not bounds.any_origin:
            return UNUSUAL
        asked.from_origin = True
        return HARMLESS
    if (
        is_name(name, name_size, "transfer-encoding", 17)
        or is_name(name, name_size, "expect", 6)
        or is_name(name, name_size, "upgrade", 7)
        or is_name(name, name_size, "authorization", 13)
        or is_name(name, name_size, "proxy-connection", 16)
    ):
        return UNUSUAL
    return HARMLESS


cdef Py_ssize_t read_head(
    const char *data, Py_ssize_t size, const Bounds *bounds, Asked *asked
) noexcept nogil:
    """Read one head at `data`; give its length, or 0 if it is not whole or not of the usual kind."""
    cdef const char *end = data + size
    cdef const char *at
    cdef const char *name
    cdef const char *value
    cdef const char *stop
    cdef Py_ssize_t name_size
    cdef int fields = 0
    asked.head_only = False
    asked.hosted = False
    asked.from_origin = False
    asked.range = NULL
    asked.match = NULL
    asked.forwarded_for = NULL
    asked.forwarded = NULL
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
            if at[1] != b"\n" or not asked.hosted or at + 2 - data > bounds.bytes:
                return 0
            return at + 2 - data
        fields += 1
        if fields > bounds.fields:
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
        at = skip_text(at, end)
        if end - at < 2 or at[0] != b"\r" or at[1] != b"\n":
            return 0
        stop = at
        while stop > value and (stop[-1] == b" " or stop[-1] == b"\t"):
            stop -= 1
        if weigh(bounds, asked, name, name_size, value, stop - value) == UNUSUAL:
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


cdef struct Line:
    const char *name
    Py_ssize_t name_size
    const char *value
    Py_ssize_t value_size
    const char *after       # the first byte of the next line


cdef bint only_digits(const char *text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 0
    if size < 1 or size > DIGITS:
        return False
    while at < size and b"0" <= text[at] <= b"9":
        at += 1
    return at == size


cdef bint is_plain_line(const Line *line) noexcept nogil:
    """Whether a field says nothing that a parser of HTTP/1.1 must think about."""
    cdef char first = line.name[0] | 32
    if first == b"c":
        if is_name(line.name, line.name_size, "content-length", 14):
            return only_digits(line.value, line.value_size)
        if is_name(line.name, line.name_size, "connection", 10):
            return is_name(line.value, line.value_size, "keep-alive", 10)
        return True
    return not (
        (first == b"t" and is_name(line.name, line.name_size, "transfer-encoding", 17))
        or (first == b"u" and is_name(line.name, line.name_size, "upgrade", 7))
        or (first == b"p" and is_name(line.name, line.name_size, "proxy-connection", 16))
    )


cdef bint read_line(const char *at, const char *end, Line *line) noexcept nogil:
    """Read one plain field line with its CRLF."""
    cdef const char *stop
    line.name = at
    while at < end and TOKEN[<uint8_t>at[0]]:
        at += 1
    line.name_size = at - line.name
    if at == end or at[0] != b":" or line.name_size == 0 or line.name_size > NAME_BYTES:
        return False
    at += 1
    while at < end and (at[0] == b" " or at[0] == b"\t"):
        at += 1
    line.value = at
    while at < end and TEXT[<uint8_t>at[0]]:
        at += 1
    if end - at < 2 or at[0] != b"\r" or at[1] != b"\n":
        return False
    stop = at
    while stop > line.value and (stop[-1] == b" " or stop[-1] == b"\t"):
        stop -= 1
    line.value_size = stop - line.value
    line.after = at + 2
    return is_plain_line(line)


cdef bytes lower(const char *name, Py_ssize_t size):
    cdef char[NAME_BYTES] text
    cdef Py_ssize_t at
    for at in range(size):
        text[at] = name[at] + 32 if b"A" <= name[at] <= b"Z" else name[at]
    return PyBytes_FromStringAndSize(text, size)


def read_fields(bytes lines not None) -> dict[bytes, bytes] | None:
    """Return the fields of `lines`, each with its CRLF, up to and with the empty line that ends them.

    Names are lower case, values without the white space around them. None if a name repeats or if anything
    of the framing but a plain Content-Length is in them: that is for who knows all of HTTP.
    """
    cdef const char *at = PyBytes_AS_STRING(lines)
    cdef const char *end = at + PyBytes_GET_SIZE(lines)
    cdef dict found = {}
    cdef int count = 0
    cdef Line line
    while end - at != 2:
        if not read_line(at, end, &line):
            return None
        found[lower(line.name, line.name_size)] = PyBytes_FromStringAndSize(line.value, line.value_size)
        count += 1
        at = line.after
    if at[0] != b"\r" or at[1] != b"\n" or len(found) != count:
        return None
    return found
