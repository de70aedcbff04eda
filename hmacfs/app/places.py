"""Where a path leads: the only maker of Slots.

A path has been decoded and cleared of dot segments by `http.target`; here it finds its endpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import target
from hmacfs.model import ANY_HOST, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.model import Endpoint


def by_length(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Order endpoints so that the longest prefix is met first."""
    return tuple(sorted(endpoints, key=_length, reverse=True))


def _length(endpoint: Endpoint) -> int:
    """Return how much of a path a prefix names literally."""
    return len(endpoint.prefix.replace(ANY_HOST, ""))


def find(path: str, endpoints: tuple[Endpoint, ...]) -> Slot:
    """Give the slot of a decoded path. Raises Refused: not_found if it names no place for a file."""
    for written in endpoints:
        endpoint = written
        if ANY_HOST in written.prefix:
            endpoint = _of_host(written, path)
        if path.startswith(endpoint.prefix):
            rel = path[len(endpoint.prefix) :]
            if rel and not rel.endswith("/"):
                return Slot(endpoint=endpoint, rel=rel, key=_key(endpoint, rel))
            break
    raise Refused(errors.NOT_FOUND)


def _of_host(endpoint: Endpoint, path: str) -> Endpoint:
    """Return the endpoint as it is for the host that `path` names, or as it is written if it names none."""
    before, _, after = endpoint.prefix.partition(ANY_HOST)
    if not path.startswith(before):
        return endpoint
    host = path[len(before) :].partition("/")[0]
    return replace(endpoint, prefix=f"{before}{host}{after}") if host else endpoint


def stored(key: str, endpoints: tuple[Endpoint, ...]) -> Slot:
    """Give the slot of a path below the storage, if an endpoint's directory holds it."""
    for endpoint in endpoints:
        start = f"{endpoint.directory}/" if endpoint.directory else ""
        if key.startswith(start) and len(key) > len(start) and not key.endswith("/"):
            return Slot(endpoint=endpoint, rel=key[len(start) :], key=key)
    raise Refused(errors.NOT_FOUND)


def form_slot(endpoint: Endpoint, name: str) -> Slot:
    """Give the slot of a form's file: its bare name, straight in the endpoint's directory.

    Browsers of old sent whole paths, and either separator; only what follows the last counts.
    """
    bare = bare_name(name)
    return Slot(endpoint=endpoint, rel=bare, key=_key(endpoint, bare))


def bare_name(name: str) -> str:
    """Give what of a name that a client sends can name a file. Raises Refused FORM_MALFORMED, BAD_PATH."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    if not bare:
        raise Refused(errors.FORM_MALFORMED, "the file has no name")
    target.decode_path(b"/" + quote(bare, safe="").encode())  # refuses what a URL could not name
    return bare


def _key(endpoint: Endpoint, rel: str) -> str:
    return f"{endpoint.directory}/{rel}" if endpoint.directory else rel
