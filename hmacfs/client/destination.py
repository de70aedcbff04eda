"""Where a file goes: a URL, what it demands, and the parts of an upload that several connections have begun.

The parts are named behind the endpoint's URL, as its fragment, in their order: `https://host/files/#ID,ID,ID`.
So one word is all that a later run must be told; no server sees it. A part that was not begun has no name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

from hmacfs.client import response as answers
from hmacfs.client import urls
from hmacfs.client.problem import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a file goes."""

    url: str
    """A slot's signed URL, an upload resource of before, or an endpoint, which ends in "/"."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Header fields that it demands (Authorization)."""
    content_type: str
    """Media type of the file; a slot's token may have signed it."""
    parts: tuple[str | None, ...] = ()
    """URLs of the partial uploads of an earlier run; None for one that was not begun."""

    @classmethod
    def read(cls, url: str, content_type: str) -> Self:
        """Make one of what the user was told, or wrote."""
        base, names = urldefrag(url)
        place = cls(url=base, content_type=content_type)
        if not (names and place.is_endpoint):
            return place
        parts = tuple(urljoin(base, unquote(name)) if name else None for name in names.split(","))
        return cls(url=base, content_type=content_type, parts=parts)

    def with_parts(self, parts: Iterable[str | None]) -> str:
        """Write the URL that names this endpoint and an upload's parts there, for `read`."""
        return f"{self.url}#{','.join(quote((part or '').removeprefix(self.url), safe='') for part in parts)}"

    @property
    def is_endpoint(self) -> bool:
        """Whether files are created below the URL, not at it."""
        return urlsplit(self.url).path.endswith("/")

    def trusted(self, resource: str) -> str:
        """Demand that an upload stays where it began: what authorises it is for nobody else.

        Raises Failed if it does not.
        """
        if not urls.can_be_asked(resource) or urls.origin(resource) != urls.origin(self.url):
            raise Failed(
                f"the server sends the upload to another origin, {answers.plain(resource)}; "
                "if that is itself, it does not know its public URL"
            )
        return resource
