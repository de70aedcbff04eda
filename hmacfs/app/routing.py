"""Where a path leads: the only maker of Routes and Slots.

A path has been decoded and cleared of dot segments by `http.target`; here it finds its endpoint, once for a
request.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from hmacfs import auth, errors
from hmacfs.app import go_server
from hmacfs.errors import Refused
from hmacfs.http import names, target
from hmacfs.model import ANY_HOST, METHODS, READ_METHODS, Slot
from hmacfs.resume import chunked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.model import Endpoint, Head


UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")
"""What follows the prefix of an endpoint of protocol "tus" in the URL of an upload."""
NAME_MOST: Final = names.ENCODED_MOST // 2
"""Characters, percent-encoded, of a name that does not come in a URL: the rest of one must fit beside it."""


class Resource(enum.Enum):
    """What kind of thing a request is about."""

    FILE = enum.auto()
    """The place for a file below the prefix of an endpoint, or nothing at all."""
    TUS = enum.auto()
    """An endpoint of protocol "tus" itself, or one of its uploads."""
    CHUNKS = enum.auto()
    """The Go server's /chunked-upload and /upload-status."""
    HEALTH = enum.auto()
    """The Go server's GET /health."""
    DOWNLOAD = enum.auto()
    """The Go server's GET /download/PATH."""
    FORM = enum.auto()
    """The Go server's POST /upload."""


# Python 3.11 looks a member of an enumeration up by a call, and each upload asks for these.
FILE: Final = Resource.FILE
TUS: Final = Resource.TUS
CHUNKS: Final = Resource.CHUNKS


@dataclass(slots=True)
class Route:
    """Where a request leads. Made for each, and by position: by keyword it took twice the time."""

    resource: Resource
    endpoint: Endpoint | None
    """What it belongs to: of a form that which takes forms, else that whose prefix begins the path."""
    slot: Slot | None
    """The place for a file that the path names; None if it names none."""
    upload: str = ""
    """Id of the upload behind an endpoint of protocol "tus"; "" for the endpoint itself."""

    def file(self) -> Slot:
        """Return the place for a file. Raises Refused NOT_FOUND if the path names none."""
        if self.slot is None:
            raise Refused(errors.NOT_FOUND)
        return self.slot


class Router:
    """The resources of one configuration."""

    def __init__(self, endpoints: Iterable[Endpoint], *, chunked_uploads: bool) -> None:
        """Lead to `endpoints`; `chunked_uploads`: to the Go server's too."""
        self.endpoints = by_length(endpoints)
        """The longest prefix first."""
        self._has_tus = any(auth.TUS in endpoint.protocols for endpoint in self.endpoints)
        takers = (e for e in self.endpoints if go_server.FORM_DIALECTS.intersection(e.protocols))
        self._form = next(takers, None)
        self._fixed = {go_server.HEALTH: (READ_METHODS, Resource.HEALTH)}
        if self._form is not None:
            self._fixed[go_server.FORM] = (frozenset({"POST"}), Resource.FORM)
        if chunked_uploads:
            self._fixed |= dict.fromkeys((chunked.UPLOAD, chunked.STATUS), (frozenset(METHODS), CHUNKS))

    def resolve(self, head: Head) -> Route:
        """Return where a request leads; that there is nothing is said by who looks for a file."""
        method, path = head.method, head.path
        endpoint, rel, slot = _match(path, self.endpoints)
        if self._has_tus and endpoint is not None and _names_upload(endpoint, rel):
            return Route(TUS, endpoint, None, rel)
        if method in READ_METHODS and path.startswith(go_server.DOWNLOAD):
            slot = _download(path[len(go_server.DOWNLOAD) :], self.endpoints)
            return Route(Resource.DOWNLOAD, slot.endpoint if slot else None, slot)
        if path not in self._fixed:
            return Route(FILE, endpoint, slot)
        methods, resource = self._fixed[path]
        if method not in methods:
            resource = FILE
        elif resource is Resource.FORM:
            endpoint = self._form
        return Route(resource, endpoint, slot)


def _names_upload(endpoint: Endpoint, rel: str) -> bool:
    """Whether `rel` names an endpoint of protocol "tus" itself, or one of its uploads."""
    return auth.TUS in endpoint.protocols and (not rel or UPLOAD_ID.fullmatch(rel) is not None)


def by_length(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Order endpoints so that the longest prefix is met first."""
    return tuple(sorted(endpoints, key=_length, reverse=True))


def _length(endpoint: Endpoint) -> int:
    """Return how much of a path a prefix names literally."""
    return len(endpoint.prefix.replace(ANY_HOST, ""))


def find(path: str, endpoints: tuple[Endpoint, ...]) -> Slot:
    """Return the slot of a decoded path. Raises Refused NOT_FOUND if it names no place for a file."""
    _, _, slot = _match(path, endpoints)
    if slot is None:
        raise Refused(errors.NOT_FOUND)
    return slot


def _match(path: str, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint | None, str, Slot | None]:
    """Return the first endpoint whose prefix begins `path`, the rest of the path, and the file it names."""
    for written in endpoints:
        endpoint = _of_host(written, path) if ANY_HOST in written.prefix else written
        if path.startswith(endpoint.prefix):
            rel = path[len(endpoint.prefix) :]
            if not rel or rel.endswith("/"):
                return endpoint, rel, None
            return endpoint, rel, Slot(endpoint=endpoint, rel=rel, key=_key(endpoint, rel))
    return None, "", None


def _of_host(endpoint: Endpoint, path: str) -> Endpoint:
    """Return the endpoint as it is for the host that `path` names, or as it is written if it names none."""
    before, _, after = endpoint.prefix.partition(ANY_HOST)
    if not path.startswith(before):
        return endpoint
    host = path[len(before) :].partition("/")[0]
    return replace(endpoint, prefix=f"{before}{host}{after}") if host else endpoint


def stored(key: str, endpoints: tuple[Endpoint, ...], *, name: str = "") -> Slot:
    """Return the slot of a key, if an endpoint's directory holds it. Raises Refused NOT_FOUND if none does.

    `name` is the file's, if the key ends in a shortened one.
    """
    slot = _stored(key, endpoints, name)
    if slot is None:
        raise Refused(errors.NOT_FOUND)
    return slot


def _stored(key: str, endpoints: tuple[Endpoint, ...], name: str) -> Slot | None:
    for endpoint in endpoints:
        start = f"{endpoint.directory}/" if endpoint.directory else ""
        if key.startswith(start) and len(key) > len(start) and not key.endswith("/"):
            folder, slash, last = key[len(start) :].rpartition("/")
            return Slot(endpoint=endpoint, rel=f"{folder}{slash}{name or last}", key=key)
    return None


def _download(path: str, endpoints: tuple[Endpoint, ...]) -> Slot | None:
    """Return the slot of a path below the storage, as `path_of` gives it; None if there is none."""
    return _stored(names.on_disk(path), endpoints, path.rpartition("/")[2])


def path_of(slot: Slot) -> str:
    """Return the path of a file below the storage, with its whole name."""
    return _below(slot.endpoint, slot.rel)


def cut_name(slot: Slot) -> str:
    """Return the whole name of a file whose key ends in a shortened one; "" of all others."""
    return "" if slot.key.endswith(slot.name) else slot.name


def form_slot(endpoint: Endpoint, name: str) -> Slot:
    """Return the slot of a form's file: its bare name, straight in the endpoint's directory.

    Browsers of old sent whole paths, and either separator; only what follows the last counts.
    """
    bare = bare_name(name)
    return Slot(endpoint=endpoint, rel=bare, key=_key(endpoint, bare))


def bare_name(name: str) -> str:
    """Return what of a name that a client sends can name a file.

    Raise Refused: FORM_MALFORMED, BAD_PATH for what a URL could not name, NAME_TOO_LONG.
    """
    bare = name.replace("\\", "/").rpartition("/")[2]
    if not bare:
        raise Refused(errors.FORM_MALFORMED, "the file has no name")
    target.check_path(f"/{bare}")
    if len(quote(bare, safe="")) > NAME_MOST:
        raise Refused(errors.NAME_TOO_LONG)
    return bare


def _key(endpoint: Endpoint, rel: str) -> str:
    return _below(endpoint, names.on_disk(rel))


def _below(endpoint: Endpoint, rel: str) -> str:
    return f"{endpoint.directory}/{rel}" if endpoint.directory else rel
