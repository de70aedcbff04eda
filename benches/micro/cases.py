"""What the micro benches call: each case is one pure step of a request, with what a client really sends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benches import folder
from hmacfs import auth
from hmacfs.http import conditional, head, ranges, reply
from hmacfs.model import Endpoint, Facts, GiB, MiB, Reply, Secret, Slot, Span
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS: Final = head.HeadLimits()
NOW: Final = time.time()
REL: Final = "4a771ac1f0b24a4a97003b1d5e8f9e1c/picture.jpg"
TYPE: Final = "image/jpeg"
SIZE: Final = 64 * 1024
MTIME_NS: Final = 1_700_000_000_123_456_789
ETAG: Final = conditional.etag(SIZE, MTIME_NS)
DATE: Final = b"Sun, 06 Nov 1994 08:49:37 GMT"

ENDPOINT: Final = Endpoint(
    prefix=folder.PREFIX,
    directory="upload",
    protocols=auth.DIALECTS,
    secrets=(Secret(folder.SECRET.encode()),),
)
SLOT: Final = Slot(endpoint=ENDPOINT, rel=REL, key=f"upload/{REL}")

PLAIN: Final = f"GET {folder.PREFIX}{REL} HTTP/1.1\r\nHost: upload.example\r\n\r\n".encode()
BROWSER: Final = (
    PLAIN[:-2] + b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n"
    b"Accept-Language: en-GB,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Origin: https://chat.example\r\n"
    b"Connection: keep-alive\r\n"
    b"Referer: https://chat.example/\r\n"
    b"Sec-Fetch-Dest: image\r\n"
    b"Sec-Fetch-Mode: cors\r\n"
    b"Sec-Fetch-Site: same-site\r\n"
    b"If-None-Match: " + ETAG.encode() + b"\r\n\r\n"
)


def _upload(dialect: str) -> Callable[[], object]:
    """Verify an upload's token."""
    signed = auth.sign(dialect, ENDPOINT, auth.SlotRequest(REL, SIZE, TYPE), now=NOW, ttl_s=300)
    query = f"?{signed.query}" if signed.query else ""
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed.fields)
    raw = (
        f"PUT {folder.PREFIX}{REL}{query} HTTP/1.1\r\nHost: upload.example\r\n{fields}"
        f"Content-Length: {SIZE}\r\n\r\n"
    )
    parsed = head.parse(raw.encode(), LIMITS)
    return lambda: auth.upload(parsed, SLOT, now=NOW)


def _conditional() -> Callable[[], object]:
    """Compare a validator."""
    parsed = head.parse(BROWSER, LIMITS)
    return lambda: conditional.verdict(parsed, ETAG, MTIME_NS)


def _reply() -> Callable[[], object]:
    """Render the head of an answer that carries a file."""
    parsed = head.parse(PLAIN, LIMITS)
    validators = reply.unmodified_fields(ETAG, expires=None, now=NOW)
    fields = reply.file_fields("picture.jpg", TYPE, conditional.last_modified(MTIME_NS), validators)
    made = Reply(status=200, code="ok", fields=fields, pieces=[Span(0, SIZE)])
    return lambda: reply.render(made, parsed, request_id="0123456789abcdef", date=DATE, keep_alive=True)


CASES: Final[dict[str, Callable[[], object]]] = {
    "head_end": lambda: head.find_end(BROWSER),
    "head_plain": lambda: head.parse(PLAIN, LIMITS),
    "head_browser": lambda: head.parse(BROWSER, LIMITS),
    "token_v2": _upload("v2"),
    "token_v": _upload("v"),
    "token_jwt": _upload("jwt"),
    "range_one": lambda: ranges.resolve(b"bytes=1048576-1114111", GiB),
    "range_three": lambda: ranges.resolve(b"bytes=0-99,5000-5099,-100", GiB),
    "conditional": _conditional(),
    "policy_upload": lambda: buffers.for_upload(Facts(length=MiB)),
    "policy_download": lambda: buffers.for_download(Facts(length=MiB)),
    "reply": _reply(),
}
"""Every case by its name."""
