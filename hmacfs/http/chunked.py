"""The chunked coding (RFC 9112 7.1): views of the wire in, spans of body bytes or a refusal out.

One table of states decides byte by byte over sizes, extensions and trailers, so it does not matter where
the wire is cut; body bytes are skipped at once and never touched. White space around extensions, which
RFC 9112 only tolerates, is refused.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from hmacfs.errors import BAD_CHUNK, TOO_LARGE, TRAILER_TOO_LARGE, Refused
from hmacfs.model import KiB, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

# A size line with its extensions: nothing in use sends any, so this is room for politeness.
LINE_BYTES: Final = 256
# Trailers are read and dropped, but for the one field that a decoder is told to keep.
TRAILER_BYTES: Final = 8 * KiB
# More hex digits than 64 bits have are padding or an overflow.
SIZE_DIGITS: Final = 16


class _State(enum.IntEnum):
    """What the next byte may be. Up to ENDED, arriving here means something; after, it does not."""

    REFUSED = 0
    SIZE = enum.auto()  # a digit came; more, an extension or CR
    SIZED = enum.auto()  # the size line is whole
    START = enum.auto()  # the first digit of a size
    ENDED = enum.auto()
    SIZE_LF = enum.auto()
    NAME_FIRST = enum.auto()  # of an extension
    NAME = enum.auto()
    VALUE_FIRST = enum.auto()
    VALUE = enum.auto()
    QUOTED = enum.auto()
    ESCAPED = enum.auto()
    QUOTED_END = enum.auto()
    DATA_CR = enum.auto()
    DATA_LF = enum.auto()
    TRAILER_FIRST = enum.auto()
    TRAILER_NAME = enum.auto()
    TRAILER_VALUE = enum.auto()
    TRAILER_LF = enum.auto()
    LAST_LF = enum.auto()


_S = _State
_CR: Final = b"\r"
_LF: Final = b"\n"
_DIGITS: Final = b"0123456789abcdefABCDEF"
_TOKEN: Final = (
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # RFC 9110 5.6.2
)
_TEXT: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])  # VCHAR, white space, obs-text
_QUOTABLE: Final = _TEXT.translate(None, b'"\\')

_RULES: Final[Mapping[_State, Mapping[bytes, _State]]] = {
    _S.START: {_DIGITS: _S.SIZE},
    _S.SIZE: {_DIGITS: _S.SIZE, b";": _S.NAME_FIRST, _CR: _S.SIZE_LF},
    _S.NAME_FIRST: {_TOKEN: _S.NAME},
    _S.NAME: {_TOKEN: _S.NAME, b"=": _S.VALUE_FIRST, b";": _S.NAME_FIRST, _CR: _S.SIZE_LF},
    _S.VALUE_FIRST: {_TOKEN: _S.VALUE, b'"': _S.QUOTED},
    _S.VALUE: {_TOKEN: _S.VALUE, b";": _S.NAME_FIRST, _CR: _S.SIZE_LF},
    _S.QUOTED: {_QUOTABLE: _S.QUOTED, b"\\": _S.ESCAPED, b'"': _S.QUOTED_END},
    _S.ESCAPED: {_TEXT: _S.QUOTED},
    _S.QUOTED_END: {b";": _S.NAME_FIRST, _CR: _S.SIZE_LF},
    _S.SIZE_LF: {_LF: _S.SIZED},
    _S.DATA_CR: {_CR: _S.DATA_LF},
    _S.DATA_LF: {_LF: _S.START},
    _S.TRAILER_FIRST: {_TOKEN: _S.TRAILER_NAME, _CR: _S.LAST_LF},
    _S.TRAILER_NAME: {_TOKEN: _S.TRAILER_NAME, b":": _S.TRAILER_VALUE},
    _S.TRAILER_VALUE: {_TEXT: _S.TRAILER_VALUE, _CR: _S.TRAILER_LF},
    _S.TRAILER_LF: {_LF: _S.TRAILER_FIRST},
    _S.LAST_LF: {_LF: _S.ENDED},
}


def _row(rules: Mapping[bytes, _State]) -> bytes:
    """Spread one state's rules over all 256 bytes."""
    row = bytearray(256)  # REFUSED
    for accepted, state in rules.items():
        for byte in accepted:
            row[byte] = state
    return bytes(row)


_NEXT: Final = tuple(_row(_RULES.get(state, {})) for state in _State)
_WORTH: Final = bytes(int(chr(byte), 16) if byte in _DIGITS else 0 for byte in range(256))
# As plain numbers: the loop below compares them once per byte of framing.
_REFUSED: Final = int(_S.REFUSED)
_SIZE: Final = int(_S.SIZE)
_SIZED: Final = int(_S.SIZED)
_START: Final = int(_S.START)
_ENDED: Final = int(_S.ENDED)
_DATA_CR: Final = int(_S.DATA_CR)
_TRAILER_FIRST: Final = int(_S.TRAILER_FIRST)


class Decoder:
    """Finds the data in one chunked body; holds no byte of it."""

    __slots__ = (
        "_digits",
        "_keeps",
        "_left",
        "_limit_bytes",
        "_room",
        "_size",
        "_state",
        "_too_long",
        "_trailers",
        "consumed",
        "received",
    )

    def __init__(self, limit_bytes: int, *, keeps: bytes | None = None) -> None:
        """Begin a body of at most `limit_bytes` of data; `keeps` names a trailer field, in lower case."""
        self.consumed = 0
        """Bytes of the last view that belong to this body; the rest is the next request."""
        self.received = 0
        """Data bytes announced so far: the body's size once it is done."""
        self._limit_bytes = limit_bytes
        self._keeps = keeps
        self._trailers = bytearray()  # as they came, if one of them is wanted
        self._state = _START
        self._size = 0  # of the chunk whose size line is being read
        self._digits = 0
        self._left = 0  # data bytes of this chunk yet to come
        self._room = LINE_BYTES  # framing bytes until the line, or the trailers, are too long
        self._too_long = BAD_CHUNK

    @property
    def done(self) -> bool:
        """Whether the last byte of the body was consumed."""
        return self._state == _ENDED

    @property
    def trailer(self) -> bytes | None:
        """The wanted trailer field once the body is done, repeated ones joined; None if it has not come."""
        lines = (line.partition(b":") for line in bytes(self._trailers).split(b"\r\n"))
        values = [value.strip(b" \t") for name, _, value in lines if name.lower() == self._keeps]
        return b", ".join(values) if self.done and values else None

    def feed(self, view: memoryview) -> list[Span]:
        """Return the spans of `view` that are data, and set `consumed`.

        Refuses with BAD_CHUNK, TOO_LARGE or TRAILER_TOO_LARGE; each ends the connection, and the decoder.
        """
        spans: list[Span] = []
        at, end = 0, len(view)
        while at < end and self._state != _ENDED:
            if self._left:
                stop = min(end, at + self._left)
                spans.append(Span(at, stop))
                self._left -= stop - at
                at = stop
            else:
                start, trails = at, self._state >= _TRAILER_FIRST
                at = self._frame(view, at)
                if trails and self._keeps is not None:
                    self._trailers += view[start:at]
        self.consumed = at
        return spans

    def _frame(self, view: memoryview, at: int) -> int:
        """Walk over framing from `at` to the next data or the end of the view; give the index reached."""
        state = self._state
        for index in range(at, len(view)):
            byte = view[index]
            state = _NEXT[state][byte]
            self._room -= 1
            if self._room < 0:
                raise Refused(self._too_long)
            if state <= _ENDED:
                state = self._arrive(state, byte)
                if state > _START:  # data, the trailers or the end
                    self._state = state
                    return index + 1
        self._state = state
        return len(view)

    def _arrive(self, state: int, byte: int) -> int:
        """Do what a state with a meaning asks for; give the state to go on from."""
        if state == _REFUSED:
            raise Refused(BAD_CHUNK)
        if state == _SIZE:
            self._digits += 1
            if self._digits > SIZE_DIGITS:
                raise Refused(BAD_CHUNK)
            self._size = self._size * 16 + _WORTH[byte]
        elif state == _SIZED:
            return self._begin_chunk()
        elif state == _START:
            self._size = self._digits = 0
            self._room = LINE_BYTES
        return state

    def _begin_chunk(self) -> int:
        """Count a chunk whose size is known; the last one, of size zero, leads to the trailers."""
        if self._size == 0:
            self._room, self._too_long = TRAILER_BYTES, TRAILER_TOO_LARGE
            return _TRAILER_FIRST
        self.received += self._size
        if self.received > self._limit_bytes:
            raise Refused(TOO_LARGE._replace(close=True))  # the rest of the body is not going to be read
        self._left = self._size
        self._room = LINE_BYTES  # for the CRLF after the data
        return _DATA_CR
