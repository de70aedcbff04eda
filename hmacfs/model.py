"""The nouns that every room shares; values only, no behaviour that needs a room.

What is made for each request is not frozen, though nothing changes it: frozen, four small values took 14,000
of the 620,000 instructions of an upload.
All sizes are bytes, all durations seconds, all spans half-open.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hmacfs._descriptor import Descriptor

KiB: Final = 1024
MiB: Final = 1024 * KiB
GiB: Final = 1024 * MiB
TiB: Final = 1024 * GiB
NANOSECONDS: Final = 1_000_000_000
"""Those of a second."""

# Text and no enumerations: it comes as text, from the wire or from TOML, and is compared for each request
# (docs/decisions.md).
METHODS: Final = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS")
"""The methods of HTTP that are implemented (RFC 9110 9.3, RFC 5789)."""
READ_METHODS: Final = frozenset({"GET", "HEAD"})
"""Those that ask for a representation."""
BODY_METHODS: Final = frozenset({"PUT", "POST", "PATCH"})
"""Those that bring a body."""
DIALECTS: Final = ("v2", "v", "token", "jwt", "v3", "bearer", "gojwt")
"""Every dialect of tokens for one upload that an endpoint may enable."""
XMPP_DIALECTS: Final = ("v2", "v", "token")
"""Those in which XMPP servers sign a URL's query."""
TUS: Final = "tus"
"""What an endpoint names to take resumable uploads at its prefix."""
PROTOCOLS: Final = (*DIALECTS, TUS)
"""All that an endpoint may name."""
JWT_ALGORITHM: Final = "HS256"
"""What JWTs are signed with here, and by Prosody (RFC 7518 3.2)."""

# Below the first a read costs more than it copies; above the last nothing was gained on any machine seen.
# docs/configuration.md says the same of the keys.
BUFFER_CLASSES: Final = tuple(16 * KiB << step for step in range(11))
"""The sizes that a buffer may have, in bytes."""


class UploadProtocol(enum.StrEnum):
    """The language of a request of a resumable upload; the value is a label in log and metrics."""

    TUS = TUS
    """tus resumable upload protocol 1.0.0."""
    IETF = "ietf"
    """Resumable Uploads for HTTP, draft-ietf-httpbis-resumable-upload, interop versions 6 to 8."""
    RANGE = "range"
    """PUT with Content-Range (RFC 9110 14.5) to a slot."""
    CHUNKED = "chunked"
    """The Go server's /chunked-upload."""


class Dependency(enum.StrEnum):
    """What an upload cannot do without, and may find broken; the value is a label in metrics."""

    STORAGE = "storage"
    INDEX = "index"


class Span(NamedTuple):
    """A half-open range of bytes of one file."""

    start: int
    """First byte."""
    stop: int
    """One past the last byte."""

    @property
    def length(self) -> int:
        """How many bytes the span covers."""
        return self.stop - self.start


class Lookalike:
    """A secret without its invisible ends; keeps in mind whether a token was made with it."""

    __slots__ = ("matched", "value", "where", "words")

    def __init__(self, value: bytes, where: str, words: str) -> None:
        """Take the key `value`; `where` names the secret's key, `words` say what its ends are."""
        self.value = value
        self.where = where
        self.words = words
        self.matched = False
        """Whether a token that was refused would be right with this key."""


class Secret:
    """Key bytes that do not show themselves in logs, errors or tracebacks."""

    __slots__ = ("_value", "lookalike")

    def __init__(self, value: bytes, lookalike: Lookalike | None = None) -> None:
        """Hide `value`; `lookalike` is what it may have been meant to be."""
        self._value = value
        self.lookalike = lookalike

    def reveal(self) -> bytes:
        """Return the key itself; only signing and verifying may ask."""
        return self._value

    def __repr__(self) -> str:
        """Show that there is a secret, never which."""
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Compare two configured secrets (not for tokens: this is not constant-time)."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """Hash as the value does, so that settings can be compared."""
        return hash(self._value)


ANY_HOST: Final = "@HOST@"
"""The segment of a prefix that stands for every XMPP host, as ejabberd's put_url has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One public door: a URL prefix, the directory behind it and who may upload."""

    prefix: str
    """Start of the decoded path, from "/" to "/", literal but for ANY_HOST; never part of a MAC."""
    directory: str
    """Where its files lie below the storage path: "" or "a/b", no outer slashes."""
    protocols: tuple[str, ...]
    """What it accepts, of PROTOCOLS."""
    secrets: tuple[Secret, ...]
    """Keys that verify a token; the first one also signs. Never empty."""
    delete_secret: Secret | None = None
    """Second secret inside Metronome's DELETE token; None: no DELETE."""


@dataclass(slots=True, kw_only=True)
class Head:
    """A parsed and accepted request head. Not frozen: one is made per request, and that is dear.

    Field names are lower case; a repeated list-type field is joined with ", " (RFC 9110 5.3).
    """

    method: str
    """One of METHODS."""
    target: bytes
    """The request target as it came, for the log, which escapes and redacts it."""
    path: str
    """The path, percent-decoded once; starts with "/" (or is "*" for OPTIONS)."""
    query: str
    """What follows the first "?", as it came (ASCII); "" if nothing does."""
    http10: bool
    """Whether the client speaks HTTP/1.0."""
    keep_alive: bool
    """Whether the client lets the connection stay open (RFC 9112 9.3)."""
    fields: Mapping[bytes, bytes]
    """Header fields, optional white space stripped."""
    length: int | None
    """Content-Length; None if the field is absent."""
    chunked: bool
    """Whether the body comes chunked; then `length` is None."""
    expect_continue: bool
    """Whether the client waits for 100 Continue before it sends the body."""

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow the head."""
        return self.chunked or bool(self.length)

    @property
    def body_length(self) -> int | None:
        """Bytes of the body; None if only its end tells. Without any framing there is none (RFC 9112 6.3)."""
        return None if self.chunked else self.length or 0


@dataclass(slots=True, kw_only=True)
class Slot:
    """One upload's place: the only thing a path below the storage is made from."""

    endpoint: Endpoint
    rel: str
    """Path below the endpoint's prefix, as the token signs it: "UUID/name"."""
    key: str
    """Path below the storage path: "upload/UUID/name"."""

    @property
    def name(self) -> str:
        """The last segment: the file's own name."""
        return self.rel.rpartition("/")[2]


@dataclass(slots=True, kw_only=True)
class Grant:
    """What a verified token permits."""

    dialect: str
    """Which dialect verified it, of DIALECTS."""
    size: int | None
    """Exact bytes of the file; None where its end tells them: in a form, or chunked and not signed."""
    content_type: str | None
    """Type to serve; None if the token does not sign one."""
    owner: str = ""
    """Uploader as the XMPP server names it (bare JID); "" if unknown."""
    expires: float | None = None
    """Wall-clock time at which the file must be gone; None: the site's file_ttl decides."""


class Durability(enum.StrEnum):
    """What 201 promises."""

    FULL = "full"
    """The file, its index row and its directories are on stable storage."""
    RELAXED = "relaxed"
    """They are in the page cache: they survive a crash of the server, not of the machine."""


@dataclass(slots=True, kw_only=True)
class StoredFile:
    """What is known of one file beside its bytes, from its upload on: a row of the index."""

    key: str
    """Path below the storage path."""
    size: int
    """Bytes."""
    content_type: str | None = None
    """The signed type, or None if nothing was signed."""
    owner: str = ""
    """Uploader, or ""."""
    expires: float | None = None
    """Wall-clock time at which the file must be gone; None: file_ttl decides."""
    digest: bytes | None = None
    """BLAKE3 of the content; None for a file that this server did not receive."""
    sha256: bytes | None = None
    """SHA-256 of the content; None unless its uploader told it, and it was found right."""
    mtime_ns: int = 0
    """Modification time, set as it is published: with the key it names one upload, whatever is restored."""
    created: float = 0.0
    """Wall-clock time of publication."""


@dataclass(slots=True, kw_only=True)
class Facts:
    """What policy may know of a transfer before it begins."""

    length: int | None
    """Bytes to move; None if not known."""
    beside: int = 0
    """Transfers of the same direction under way in this worker."""
    rate: float | None = None
    """Bytes a second that the client may be expected to send; None if nothing is known."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """How the bytes of one transfer move."""

    slab: int
    """Bytes asked of one read."""
    budget: int
    """Bytes moved before the loop gets its turn back."""


class File(NamedTuple):
    """An open, published file. What holds it closes its descriptor."""

    descriptor: Descriptor
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What an answer from memory needs beside the file's bytes: its fields, ready made."""

    key: str
    """Path of the file below the storage path."""
    fields: list[tuple[str, str]]
    """The file's own, for 200 and 206."""
    unmodified: list[tuple[str, str]]
    """The file's own, for 304."""
    shared: list[tuple[str, str]]
    """Those of every answer, but for a 304 to a request without an Origin."""
    shared_unmodified: list[tuple[str, str]]
    """Those of such a 304."""
    etag: str
    expires: float | None
    """Wall-clock time at which the file must be gone; until then max-age counts down to it."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """Status, fields and body of one answer. Not frozen: made per request."""

    status: int
    code: str
    """Stable word for log and metrics: "ok", "created", or a refusal's code."""
    fields: list[tuple[str, str]]
    """Header fields without the framing ones, which `http.reply` adds."""
    pieces: list[bytes | Span] = field(default_factory=list)
    """The body in order: bytes as they are, Spans out of `file`."""
    file: File | None = None
    """Open file behind the Spans; its descriptor is closed when the reply is done."""
    close: bool = False
    """Whether the connection must end after this reply."""
    detail: str = ""
    """What the log says beyond the code."""
    kept: Callable[[], CacheEntry] | None = None
    """Gives what may be kept in memory to answer requests for `file` again."""

    @property
    def length(self) -> int:
        """Bytes of the body: what Content-Length says."""
        return sum(p.length if isinstance(p, Span) else len(p) for p in self.pieces)


@dataclass(slots=True, kw_only=True)
class FinishedRequest:
    """A request whose reply is out, or never will be: what is counted and logged of it."""

    request_id: str
    client: str
    """Address of the client, as the log shows it."""
    method: str
    """One of METHODS; "other" of a head that could not be read."""
    target: bytes
    """The request target as it came; b"" of such a head."""
    status: int
    code: str
    received: int
    """Bytes on the wire, the head included."""
    sent: int
    """Bytes on the wire, the head included."""
    elapsed_s: float
    stored: int = 0
    """The body's part of what was received."""
    dialect: str = ""
    broken: str = ""
    """Why the reply is not out whole; "" if it is."""
    detail: str = ""
    """What the log says beyond the code."""
