"""Keys: the names of files below the storage, and the paths that they stand for."""

from __future__ import annotations

import errno
import functools
import os
import re
from typing import Final

from hmacfs import errors
from hmacfs.errors import Refused

PRIVATE: Final = ".hmacfs"
"""The directory of what is not to be served, which no key can name."""
# An empty, "." or ".." segment, or NUL. Heads are checked long before; this guards every other caller.
_NO_KEY: Final = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|\0")
_EDGES: Final = frozenset(("", ".", "/"))  # what a doubtful key begins with


@functools.lru_cache(maxsize=256)  # an upload asks at its beginning and at its end
def path_of(key: str) -> bytes:
    """Return the path that `key` names, the only way to make one. Refused NOT_FOUND if it names none.

    The private directory is compared without regard to case, for storage that has none.
    """
    # Only what can be a fault is searched for one, character by character.
    doubtful = "/." in key or "//" in key or "\0" in key or key[:1] in _EDGES or key.endswith("/")
    if doubtful and (_NO_KEY.search(key) or key[: len(PRIVATE)].casefold() == PRIVATE):
        raise Refused(errors.NOT_FOUND)
    try:
        return key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise Refused(errors.NOT_FOUND) from None


def bytes_of(key: str) -> bytes:
    """Return the path of a key that the index or a walk has told, which no request can name: any bytes.

    What is not UTF-8 stands in the key as os.fsdecode has it. FileNotFoundError if it names nothing here.
    """
    try:
        path = os.fsencode(key)
    except UnicodeEncodeError:
        path = b""
    if _NO_KEY.search(key) or not path or key.partition("/")[0] == PRIVATE:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return path
