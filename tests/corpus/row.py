"""One row of the corpus, and the words that rows are written with."""

from __future__ import annotations

from dataclasses import dataclass

# Placeholders that `Row.render` replaces.
HOST = b"{H}"  # host and port of the server
FILE = b"{P}"  # path of a file that exists
PLACE = b"{B}"  # path where an upload could go; it bears no token

GET = b"GET {P} HTTP/1.1\r\n"
PUT = b"PUT {B} HTTP/1.1\r\n"
NAME = b"Host: {H}\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
CANARY = GET + NAME + b"X-Canary: 1\r\n" + END

# What a server may answer to an upload without a token or a length, before it reads the body.
NO_UPLOAD = (401, 403, 411)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request, or a few, as a client wrote them."""

    id: str
    wire: bytes
    """Bytes with placeholders."""
    statuses: frozenset[int]
    """What the first answer of a live server may be."""
    sound: bool
    """Whether the front must accept it; the statuses are then the application's."""
    close: bool | None
    """Whether the connection must end after the answers (True), must serve the canary (False), or may do
    either (None)."""
    answers: int = 1
    """How many answers come before the canary's."""
    in_body: bool = False
    """Whether the fault is in the body, so that a refusal may be of the head alone."""

    @property
    def live_statuses(self) -> frozenset[int]:
        """What a live server may answer to this row, its upload bearing no token."""
        return self.statuses | frozenset(NO_UPLOAD) if self.in_body else self.statuses

    @property
    def bodiless(self) -> bool:
        """Whether the first answer ends with its head whatever its Content-Length says."""
        return self.wire.lstrip(b"\r\n").startswith(b"HEAD ")

    def render(self, *, host: bytes, file: bytes, place: bytes) -> bytes:
        """Return the bytes to send."""
        return self.wire.replace(HOST, host).replace(FILE, file).replace(PLACE, place)


def bad(name: str, wire: bytes, *statuses: int, close: bool | None = True) -> Row:
    """A row that must be refused with one of `statuses`."""
    return Row(id=name, wire=wire, statuses=frozenset(statuses), sound=False, close=close)


def bad_field(name: str, lines: bytes, *statuses: int) -> Row:
    """A GET whose other field lines must be refused."""
    return bad(name, GET + NAME + lines + END, *(statuses or (400,)))


def bad_put(name: str, lines: bytes, *statuses: int, body: bytes = b"hello") -> Row:
    """A PUT whose field lines must be refused."""
    return bad(name, PUT + NAME + lines + END + body, *(statuses or (400,)))


def bad_chunks(name: str, body: bytes, *statuses: int) -> Row:
    """A chunked PUT whose body must be refused."""
    return Row(
        id=name,
        wire=PUT + NAME + CHUNKED + END + body,
        statuses=frozenset(statuses or (400,)),
        sound=False,
        close=True,
        in_body=True,
    )


def good(name: str, wire: bytes, *statuses: int, close: bool | None = False, answers: int = 1) -> Row:
    """A row that the front must accept; the application answers with one of `statuses`."""
    return Row(
        id=name,
        wire=wire,
        statuses=frozenset(statuses or (200,)),
        sound=True,
        close=close,
        answers=answers,
    )


def good_field(name: str, lines: bytes, *statuses: int, close: bool | None = False) -> Row:
    """A GET of the file that exists, with more field lines."""
    return good(name, GET + NAME + lines + END, *statuses, close=close)


def good_put(name: str, lines: bytes, body: bytes, *, close: bool | None = None) -> Row:
    """An upload without a token: well framed, so it is refused for that alone."""
    return good(name, PUT + NAME + lines + END + body, *NO_UPLOAD, close=close)


def good_chunks(name: str, body: bytes) -> Row:
    """A chunked upload without a token."""
    return good_put(name, CHUNKED, body)
