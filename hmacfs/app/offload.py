"""Downloads that a proxy of our own sends: where it finds a file, in the words it understands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from hmacfs.config.settings import Server

# What may stand in a field as it is, but for "%"; spaces at its end would be cut off (RFC 9110 5.5).
_LITERAL: Final = re.compile(r"[ -$&-~]*[!-$&-~]")


class Offload:
    """One way of telling a proxy which file to send.

    X-Accel-Redirect names a location of nginx's own, percent-encoded. X-Sendfile names a path of the file
    system, which Apache's mod_xsendfile takes literally (0.12) or unescapes (1.0): names on which the two
    differ, or which cannot stand in a head, are left to us.
    """

    __slots__ = ("_literal", "_prefix", "field")

    def __init__(self, server: Server) -> None:
        """Do as `server.offload` says."""
        self.field = server.offload
        """The field's name, "" if no proxy is told anything."""
        self._literal = self.field == "x-sendfile"
        self._prefix = f"{Path(server.storage_path).absolute()}/" if self._literal else server.offload_prefix

    def place(self, key: str) -> str | None:
        """Return the field's value for a file of the store; None if it has to be sent by ourselves."""
        place = self._prefix + key
        if not self._literal:
            return quote(place)
        return place if _LITERAL.fullmatch(place) else None
