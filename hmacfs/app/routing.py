"""Where a path leads: the only maker of Slots.

A path has been decoded and cleared of dot segments by `http.target`; here it finds its endpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.http import names, target
from hmacfs.model import ANY_HOST, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.model import Endpoint


NAME_MOST: Final = names.ENCODED_MOST // 2
"""Characters, percent-encoded, of a name that does not come in a URL: the rest of one must fit beside it."""


def by_length(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Order endpoints so that the longest prefix is met first."""
    return tuple(sorted(endpoints, key=_length, reverse=True))


def _length(endpoint: Endpoint) -> int:
    """Return how much of a path a prefix names literally."""
    return len(endpoint.prefix.replace(ANY_HOST, ""))


def find(path: str, endpoints: tuple[Endpoint, ...]) -> Slot:
    """Return the slot of a decoded path. Raises Refused: not_found if it names no place for a file."""
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


def stored(key: str, endpoints: tuple[Endpoint, ...], *, name: str = "") -> Slot:
    """Return the slot of a key, if an endpoint's directory holds it.

    `name` is the file's, if the key ends in a shortened one.
    """
    for endpoint in endpoints:
        start = f"{endpoint.directory}/" if endpoint.directory else ""
        if key.startswith(start) and len(key) > len(start) and not key.endswith("/"):
            folder, slash, last = key[len(start) :].rpartition("/")
            return Slot(endpoint=endpoint, rel=f"{folder}{slash}{name or last}", key=key)
    raise Refused(errors.NOT_FOUND)


def download(path: str, endpoints: tuple[Endpoint, ...]) -> Slot:
    """Return the slot of a path below the storage, as `path_of` gives it. Raise Refused NOT_FOUND."""
    return stored(names.on_disk(path), endpoints, name=path.rpartition("/")[2])


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
