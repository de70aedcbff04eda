"""An HTTP answer and what its fields say; pure.

The fields of resumable uploads are those of draft-ietf-httpbis-resumable-upload (interop version 8):
structured fields (RFC 9651), of which a malformed one counts as absent, as the draft demands. `http` reads
them as it does for the server.
"""

from __future__ import annotations

import email.utils
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from hmacfs.client import urls
from hmacfs.client.problem import Failed, Problem, TransientError
from hmacfs.http import digests, structured

if TYPE_CHECKING:
    from collections.abc import Mapping

WANTED: Final = {"Want-Repr-Digest": "sha-256=10"}
"""The field that asks for a file's digest (RFC 9530 4)."""

_INTEGER: Final = re.compile(r"\d{1,15}", re.ASCII)
_CONTENT_RANGE: Final = re.compile(
    r"bytes (?:(\d{1,15})-(\d{1,15})|\*)/(\d{1,15}|\*)", re.ASCII | re.IGNORECASE
)

# What may pass although it is of the client's class (RFC 9110 15.5.9, RFC 4918 11.3, RFC 8470, RFC 6585).
_PASSING: Final = frozenset({408, 423, 425, 429})
# What cannot pass although it is the server's class.
_LASTING: Final = frozenset({501, 505})
# RFC 9530 has no status for a wrong digest; tus has this one, and http.HTTPStatus none of it.
_PHRASES: Final = {460: "Checksum Mismatch"}
_SERVER_ERROR: Final = 500
_DETAIL_LIMIT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One final HTTP response."""

    status: int
    url: str
    """Of the request that it answers."""
    fields: Mapping[str, str]
    """By name; looking one up ignores case."""
    body: bytes = b""
    """Its beginning, enough for a problem's words."""

    @property
    def ok(self) -> bool:
        """Whether it is of the class of successes."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def offset(self) -> int | None:
        """Upload-Offset; None if absent."""
        return structured.integer(self._raw("Upload-Offset"))

    @property
    def length(self) -> int | None:
        """Upload-Length; None if absent."""
        return structured.integer(self._raw("Upload-Length"))

    @property
    def content_length(self) -> int | None:
        """Content-Length; None if absent."""
        return self._integer("Content-Length")

    @property
    def complete(self) -> bool | None:
        """Upload-Complete; None if absent."""
        return structured.boolean(self._raw("Upload-Complete"))

    @property
    def limits(self) -> dict[str, int] | None:
        """The members of Upload-Limit; None if the field is absent.

        A member that is no integer is passed over; we obey the rest.
        """
        return structured.integers(self._raw("Upload-Limit"))

    @property
    def tus_extensions(self) -> frozenset[str]:
        """What the server knows of tus 1.0.0 beside its core; nothing if it does not know that."""
        if "1.0.0" not in _members(self.fields.get("Tus-Version", "")):
            return frozenset()
        return _members(self.fields.get("Tus-Extension", ""))

    @property
    def tus_max_size(self) -> int | None:
        """Tus-Max-Size; None if absent."""
        return self._integer("Tus-Max-Size")

    @property
    def etag(self) -> str | None:
        """The strong entity tag, by which alone bytes of two answers may be joined; None if there is none."""
        tag = self.fields.get("ETag", "").strip()
        return tag if tag.startswith('"') and tag.endswith('"') else None

    def link(self, name: str) -> str | None:
        """Return the absolute URL in the field `name`; None if there is none.

        What is no http or https URL, nor leads to one, is none.
        """
        text = self.fields.get(name, "").strip()
        try:
            url = urljoin(self.url, text)
        except ValueError:
            return None
        return url if text and urls.can_be_asked(url) else None

    def target(self) -> str:
        """Return the URL to which a redirection leads.

        Raises Failed if there is none, or if it leads from https to where others read along.
        """
        url = self.link("Location")
        said = plain(self.fields.get("Location", ""))
        if url is None:
            raise Failed(f"the server redirects to {said}, which is no http or https URL")
        if urls.origin(self.url)[0] == "https" != urls.origin(url)[0]:
            raise Failed(f"the server redirects from https to {said}, which is not followed")
        return url

    @property
    def sha256(self) -> bytes | None:
        """The SHA-256 of the whole file by Repr-Digest (RFC 9530 3); None if it does not say."""
        return digests.sha256(self._raw("Repr-Digest"))

    @property
    def content_range(self) -> tuple[int | None, int | None]:
        """First byte and whole size of Content-Range (RFC 9110 14.4), each None if it is not said."""
        match = _CONTENT_RANGE.fullmatch(self.fields.get("Content-Range", "").strip())
        if match is None:
            return None, None
        return (
            int(match[1]) if match[1] else None,
            None if match[3] == "*" else int(match[3]),
        )

    def _raw(self, name: str) -> bytes | None:
        """Return the field as it may have come: what is not ASCII is no structured field."""
        text = self.fields.get(name)
        return None if text is None else text.encode(errors="backslashreplace")

    def _integer(self, name: str) -> int | None:
        text = self.fields.get(name, "").strip()
        return int(text) if _INTEGER.fullmatch(text) else None


def _members(text: str) -> frozenset[str]:
    return frozenset(member.strip() for member in text.split(","))


def trouble(answer: Response, *, now: float) -> Failed | TransientError:
    """Return what an answer that is no success means: an exception to raise.

    `now` is the wall clock, since Retry-After may be a date.
    """
    told = _problem(answer)
    code = told.get("code")
    words = [f"{answer.status} {code or _phrase(answer.status)}"]
    title, detail = told.get("title"), told.get("detail")
    words += [": ".join(text for text in (title, detail) if text)] if title or detail else []
    location = answer.fields.get("Location")
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST and location:
        words.append(f"uploads follow no redirection; the server says {plain(location)}")
    request_id = answer.fields.get("X-Request-Id")
    line = ": ".join(words) + (f" (request {plain(request_id)})" if request_id else "")
    problem = Problem(
        words=line,
        status=answer.status,
        code=code,
        request_id=plain(request_id) if request_id else None,
        retry_after_s=_retry_after_s(answer.fields.get("Retry-After", ""), now),
    )
    passing = answer.status in _PASSING or (answer.status >= _SERVER_ERROR and answer.status not in _LASTING)
    return TransientError(problem) if passing else Failed(problem)


def plain(text: str) -> str:
    """Guard terminals: what a server wrote comes out short and without escape sequences."""
    short = text if len(text) <= _DETAIL_LIMIT else f"{text[:_DETAIL_LIMIT]}..."
    return short if short.isprintable() else ascii(short)[1:-1]


def _problem(answer: Response) -> dict[str, str]:
    """Return the texts of a problem document (RFC 9457); none if the body is something else."""
    if not answer.fields.get("Content-Type", "").lower().startswith("application/problem+json"):
        return {}
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    return {
        name: plain(text)
        for name, text in told.items()
        if name in {"code", "title", "detail"} and isinstance(text, str)
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _PHRASES.get(status, "is no status that is known here")


def _retry_after_s(text: str, now: float) -> float:
    """Read Retry-After: seconds or a date (RFC 9110 10.2.3); 0 if it is neither."""
    if _INTEGER.fullmatch(text.strip()):
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - now, 0.0)
    except ValueError:
        return 0.0
