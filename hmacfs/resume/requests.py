"""What the four languages of resumable upload have in common: what is asked, and what is stored."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmacfs.errors import Refused
    from hmacfs.http.digests import Checksum
    from hmacfs.model import UploadProtocol


class Action(enum.Enum):
    """What a request wants done."""

    CREATE = enum.auto()
    APPEND = enum.auto()
    STATUS = enum.auto()
    CANCEL = enum.auto()


@dataclass(slots=True, kw_only=True)
class UploadRequest:
    """One request of a resumable upload."""

    protocol: UploadProtocol
    act: Action
    offset: int = 0
    """Where in the file the body begins; for APPEND and CREATE. Of a chunk `chunked.place` says it."""
    length: int | None = None
    """Bytes of the whole file, if this request tells (explicitly, or by its own length being the last)."""
    ends: bool | None = None
    """Whether the file is whole with this body; None where only its length tells (tus, range, chunked)."""
    metadata: str | None = None
    """Upload-Metadata as it was sent (tus; some clients in IETF too); `metadata.read` takes it apart."""
    partial: bool = False
    """Whether the upload is only to be joined to others (tus Upload-Concat: partial)."""
    parts: tuple[str, ...] = ()
    """Targets of the uploads to join, in order and as sent: paths or URLs (tus Upload-Concat: final)."""
    checksums: tuple[Checksum, ...] = ()
    wants_sha256: bool = False
    """Whether the digest of the whole file is to be told, where the request asks how far it is (ietf)."""
    body: int | None = None
    """Bytes that the body must have, where that is said and its framing does not tell (range)."""
    empty: Refused | None = None
    """What a body whose framing does not tell its length is refused with, unless it turns out empty."""
    trailer: bool = False
    """Whether the body's checksum follows it as the trailer field Upload-Checksum."""
    version: int | None = None
    """The client's Upload-Draft-Interop-Version.

    None if it may get no 104: it sent none, or one that is not spoken here, or speaks HTTP/1.0.
    """
    session: str = ""
    """Id of the upload, where the URL does not name it (chunked)."""
    name: str = ""
    """The file's name as the client wishes it (chunked)."""
    chunk: int = 0
    """Number of the chunk, from 0 (chunked)."""


@dataclass(slots=True, kw_only=True)
class UploadState:
    """What is stored of an upload."""

    offset: int
    """Bytes that have come and would survive what the site's durability promises.

    They are the first of the file, but for a chunked upload, whose chunks may come in any order.
    """
    length: int | None
    """Bytes of the whole file; None if nobody has said yet."""
    complete: bool
    """Whether the file stands under its own name."""
    expires: float
    """Wall-clock time at which an unfinished upload is dropped."""
    metadata: str | None = None
    """tus Upload-Metadata as it was sent."""
    partial: bool = False
    """Whether it is only to be joined to others."""
    parts: tuple[str, ...] = ()
    """Targets of the uploads that it was joined from, as they were sent."""
    name: str = ""
    """The file's name (chunked)."""
    chunks: int = 0
    """How many chunks have come (chunked)."""
    began: float = 0.0
    """Wall-clock time of its creation (chunked)."""
    touched: float = 0.0
    """Wall-clock time of its last request that brought something (chunked)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What a client is told about sizes; bytes and seconds."""

    most: int
    """Largest file."""
    chunk: int
    """Advised bytes of one request's body: what is lost at worst, and what each request costs, considered.

    The Go server's clients must obey: there it is the size of every chunk but the last.
    """
    lives_s: float
    """How long from now an unfinished upload is kept."""
