"""The catalogue of refusals: code, status, words. Codes are metric labels and never change.

Statuses follow RFC 9110 15, RFC 6585 (429, 431), RFC 4918 11.5 (507), tus 1.0.0 (460) and XEP-0363's peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.model import Dependency, Head


class Refusal(NamedTuple):
    """One way to say no."""

    code: str
    """Stable, lower_snake_case; label in metrics, last part of the problem's type URI if `type` is ""."""
    status: int
    """HTTP status."""
    words: str
    """What is wrong and, where there is something to do, what to do."""
    close: bool = False
    """Whether framing or trust is lost, so that the connection must end."""
    fields: tuple[tuple[str, str], ...] = ()
    """Fields that the status demands (WWW-Authenticate, Allow, Retry-After)."""
    type: str = ""
    """The problem's type URI if one is registered (RFC 9457 3.1.1); "": one of our own, made of `code`."""


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Raised where a request is refused; carries the catalogue's line and optional detail."""

    def __init__(
        self,
        refusal: Refusal,
        detail: str = "",
        fields: tuple[tuple[str, str], ...] = (),
        *,
        broken: Dependency | None = None,
        members: Mapping[str, int] | None = None,
    ) -> None:
        """Refuse with `refusal`; `detail` says what exactly, `fields` adds header fields.

        `broken` is what the server needs and has found broken; None if nothing is. `members` are what the
        problem's type adds to its JSON (RFC 9457 3.2).
        """
        super().__init__(refusal.code, detail)
        self.refusal = refusal
        self.detail = detail
        self.fields = refusal.fields + fields
        self.broken = broken
        self.members = members or {}
        self.head: Head | None = None
        """The request, if it was read well enough to say how its answer must look."""


# Framing and syntax (RFC 9112): the connection ends, since its next byte may mean anything.
BAD_REQUEST_LINE: Final = Refusal("bad_request_line", 400, "the request line is malformed", close=True)
BAD_TARGET: Final = Refusal("bad_target", 400, "the request target is malformed", close=True)
BAD_HOST: Final = Refusal("bad_host", 400, "exactly one valid Host field is required", close=True)
BAD_FIELD: Final = Refusal("bad_field", 400, "a header field is malformed or repeated", close=True)
BAD_FRAMING: Final = Refusal("bad_framing", 400, "the body's framing is ambiguous or malformed", close=True)
BAD_CHUNK: Final = Refusal("bad_chunk", 400, "the chunked body is malformed", close=True)
BAD_EXPECT: Final = Refusal("bad_expect", 417, "only Expect: 100-continue is understood", close=True)
TARGET_TOO_LONG: Final = Refusal("target_too_long", 414, "the request target is too long", close=True)
HEAD_TOO_LARGE: Final = Refusal("head_too_large", 431, "the request head is too large", close=True)
TRAILER_TOO_LARGE: Final = Refusal("trailer_too_large", 431, "the trailer section is too large", close=True)
METHOD_UNKNOWN: Final = Refusal("method_unknown", 501, "this method is not implemented", close=True)
CODING_UNKNOWN: Final = Refusal(
    "coding_unknown", 501, "only the chunked transfer coding is implemented", close=True
)
VERSION_UNSUPPORTED: Final = Refusal(
    "version_unsupported", 505, "only HTTP/1.0 and HTTP/1.1 are spoken", close=True
)
HTTP2_PREFACE: Final = Refusal(
    "http2_preface", 505, "HTTP/2 is not spoken here: use HTTP/1.1 (h2load --h1)", close=True
)
REQUEST_TIMEOUT: Final = Refusal("request_timeout", 408, "the request did not arrive in time", close=True)
BODY_TOO_SLOW: Final = Refusal(
    "body_too_slow", 408, "the body arrived more slowly than the minimum rate", close=True
)

# The path and the method.
BAD_PATH: Final = Refusal(
    "bad_path",
    400,
    "the path holds an empty or dot segment, an encoded slash, a backslash or a control character",
)
NAME_TOO_LONG: Final = Refusal(
    "name_too_long", 400, "the name, or the path as a whole, is longer than can be stored"
)
NOT_FOUND: Final = Refusal("not_found", 404, "there is no such file")
METHOD_NOT_ALLOWED: Final = Refusal("method_not_allowed", 405, "this resource does not take this method")
BAD_RANGE: Final = Refusal("range_not_satisfiable", 416, "no byte of the file lies in the range")
PRECONDITION_FAILED: Final = Refusal(
    "precondition_failed", 412, "a precondition of the request does not hold"
)

# Tokens.
TOKEN_MISSING: Final = Refusal(
    "token_missing", 403, "the URL holds no token of a protocol that is enabled here"
)
TOKEN_WRONG: Final = Refusal("token_wrong", 403, "the token does not match path, size and type")
TOKEN_EXPIRED: Final = Refusal("token_expired", 403, "the token has expired; ask for a new slot")
JWT_MISSING: Final = Refusal(
    "jwt_missing",
    401,
    "this endpoint needs a bearer token",
    fields=(("WWW-Authenticate", "Bearer"),),
)
JWT_WRONG: Final = Refusal("jwt_wrong", 403, "the bearer token is not valid for this request")
QUERY_MALFORMED: Final = Refusal("query_malformed", 400, "a query parameter is malformed or repeated")

# Uploads.
LENGTH_REQUIRED: Final = Refusal("length_required", 411, "uploads need a Content-Length")
TOO_LARGE: Final = Refusal("too_large", 413, "the body is larger than this server takes")
SIZE_MISMATCH: Final = Refusal("size_mismatch", 413, "the body's size is not the one that was granted")
EXISTS: Final = Refusal("exists", 409, "a file of this name exists already and is not replaced")
BODY_INCOMPLETE: Final = Refusal(
    "body_incomplete", 400, "the body ended before its announced length", close=True
)
TYPE_UNSUPPORTED: Final = Refusal("type_unsupported", 415, "the form must be multipart/form-data")
FORM_MALFORMED: Final = Refusal(
    "form_malformed", 400, "the multipart form is malformed or holds no field named file"
)
RANGE_ON_PUT: Final = Refusal(
    "range_on_put", 400, "the Content-Range of this upload is malformed or does not fit its body"
)
ENCODING_ON_PUT: Final = Refusal(
    "encoding_on_put", 415, "uploads are stored as they are: send no Content-Encoding"
)

# Resumable uploads: tus 1.0.0, draft-ietf-httpbis-resumable-upload, the Go server's chunks.
_REGISTERED: Final = "https://iana.org/assignments/http-problem-types#"
TUS_VERSION: Final = Refusal(
    "tus_version", 412, "tus is spoken in version 1.0.0 only", fields=(("Tus-Version", "1.0.0"),)
)
PATCH_TYPE: Final = Refusal(
    "patch_type",
    415,
    "part of an upload needs the Content-Type application/offset+octet-stream or application/partial-upload",
    fields=(("Accept-Patch", "application/offset+octet-stream, application/partial-upload"),),
)
UPLOAD_FIELD: Final = Refusal(
    "upload_field", 400, "a header field of the resumable upload is missing, malformed or out of place"
)
UPLOAD_METADATA: Final = Refusal("upload_metadata", 400, "Upload-Metadata is malformed or repeats a key")
UPLOAD_OFFSET: Final = Refusal(
    "upload_offset",
    409,
    "the upload goes on at another offset",
    type=f"{_REGISTERED}mismatching-upload-offset",
)
UPLOAD_LENGTH: Final = Refusal(
    "upload_length",
    400,
    "what was said of the upload's length does not agree",
    type=f"{_REGISTERED}inconsistent-upload-length",
)
UPLOAD_TAKEN_OVER: Final = Refusal(
    "upload_taken_over", 409, "a newer request goes on with this upload", close=True
)
UPLOAD_EXPIRED: Final = Refusal(
    "upload_expired", 410, "the unfinished upload was kept long enough and is gone"
)
TOO_MANY_UPLOADS: Final = Refusal(
    "too_many_uploads", 429, "too many uploads of this owner are unfinished: finish or cancel some"
)
UPLOAD_FINAL: Final = Refusal("upload_final", 403, "an upload joined from others takes no bytes of its own")
UPLOAD_PARTS: Final = Refusal(
    "upload_parts", 400, "only whole partial uploads of the same owner can be joined"
)
CHUNK_MISPLACED: Final = Refusal(
    "chunk_misplaced", 400, "the chunk's number or length does not fit its upload"
)
CHECKSUM_UNKNOWN: Final = Refusal(
    "checksum_unknown",
    400,
    "this checksum algorithm is not known here",
    fields=(("Tus-Checksum-Algorithm", "sha1,sha256"),),
)
CHECKSUM_MISMATCH: Final = Refusal(
    "checksum_mismatch", 460, "the body is not the one that Upload-Checksum was made of, and was dropped"
)
DIGEST_MISMATCH: Final = Refusal(
    "digest_mismatch",
    400,
    "the content is not the one that its digest was made of",
    type=f"{_REGISTERED}digest-mismatching-values",
)

# The machine.
DISK_FULL: Final = Refusal("disk_full", 507, "there is no room for this upload")
STORAGE_FAILED: Final = Refusal("storage_failed", 500, "the storage reported an error")
STORAGE_UNAVAILABLE: Final = Refusal(
    "storage_unavailable", 503, "the storage keeps failing, and uploads are put off; try again later"
)
INTERNAL: Final = Refusal("internal", 500, "the server failed", close=True)
BUSY: Final = Refusal("busy", 503, "the server is busy; try again soon", fields=(("Retry-After", "5"),))
DRAINING: Final = Refusal(
    "draining", 503, "the server is shutting down", close=True, fields=(("Retry-After", "5"),)
)
TOO_MANY_CONNECTIONS: Final = Refusal(
    "too_many_connections",
    503,
    "all connections are taken; try again soon",
    close=True,
    fields=(("Retry-After", "5"),),
)

CATALOGUE: Final[tuple[Refusal, ...]] = tuple(
    value for value in globals().values() if isinstance(value, Refusal)
)


def reference() -> str:
    """Return docs/refusals.md: the catalogue for operators and clients."""
    rows = [f"| `{r.code}` | {r.status} | {r.words} |" for r in sorted(CATALOGUE)]
    return "\n".join(
        [
            "# Refusals",
            "",
            "<!-- Made by: python -m hmacfs.errors > docs/refusals.md (a test compares) -->",
            "",
            "Every refusal is problem+json (RFC 9457), or plain text for a client that prefers it. `code` is",
            "stable: it is a label in the metrics and a field in the log. Each answer has an X-Request-Id,",
            "which the log line has too.",
            "",
            "| code | status | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - that is what it is run for
