"""A stand-in server: the steps of resumable uploads (draft, interop version 8), GET with Range, and faults.

Not ours on purpose: the client must not lean on what only our server does. It listens on a real socket, in a
thread, and breaks exactly as it is told to.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

SPAN = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Break the connection after so many bytes of the body, the client's or ours; what came is kept."""

    after: int


@dataclass(frozen=True, kw_only=True)
class Mute:
    """Do what is asked, then break the connection instead of answering."""


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Do what is asked, and answer nothing, or a download's first byte."""


@dataclass(frozen=True, kw_only=True)
class Say:
    """Answer this and do nothing."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Lose the last bytes of what came, as a server does whose disk was not synced; then do what is asked."""

    last: int


@dataclass(frozen=True, kw_only=True)
class Lose:
    """Lose so many of the uploads altogether, the oldest first; then do what is asked."""

    count: int


Fault = Cut | Mute | Stall | Say | Forget | Lose


@dataclass
class Begun:
    """An upload that has begun."""

    length: int
    data: bytearray = field(default_factory=bytearray)
    complete: bool = False


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    fields: dict[str, str]
    body: int = 0
    at: float = field(default_factory=time.monotonic)


@dataclass
class Standin:
    """What the server holds, does wrong and has seen; tests set and read it while nothing is under way."""

    resumable: bool = True
    limit: str = "min-size=0"
    """Upload-Limit of its answers, once there are no `limits` left."""
    limits: deque[str] = field(default_factory=deque)
    """The same of its first answers."""
    digests: bool = True
    """Whether it checks Repr-Digest and tells it."""
    ranges: bool = True
    interim: bool = False
    """Whether a 104 goes before each answer to a creation."""
    rot: bool = False
    """Whether the first byte of what is stored turns over."""
    etag: str = '"one"'
    uploads: dict[str, Begun] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    """By method, or what `_kind` says; each request takes one."""
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once a request is not answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        return [request.method for request in self.seen]

    def bytes_of(self, method: str) -> list[int]:
        return [request.body for request in self.seen if request.method == method]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(request.method, request.path, {k.lower(): v for k, v in request.headers.items()})
        self.seen.append(seen)
        faults = self.faults[self._kind(request)]
        fault = faults.popleft() if faults else None
        if isinstance(fault, Say):
            await request.read()
            return web.Response(status=fault.status, headers=fault.fields, text=fault.text)
        if request.method == "GET":
            return await self._download(request, fault)
        if isinstance(fault, Forget):
            data = self.uploads[request.path].data
            del data[len(data) - fault.last :]
        if isinstance(fault, Lose):
            for path in list(self.uploads)[: fault.count]:
                del self.uploads[path]
        response = await self._act(request, seen, fault)
        if isinstance(fault, Mute):
            self._abort(request)
        if isinstance(fault, Stall):
            self.stalled.set()
            await asyncio.Event().wait()
        return response

    def _kind(self, request: web.BaseRequest) -> str:
        """Return by which key of `faults` a request breaks."""
        return request.method

    async def _act(self, request: web.BaseRequest, seen: Seen, fault: Fault | None) -> web.Response:
        match request.method:
            case "OPTIONS":
                return web.Response(status=204, headers=self._limited())
            case "HEAD":
                return self._tell(request)
            case "PATCH":
                begun = self.uploads.get(request.path)
                if begun is None:
                    return web.Response(status=404)
                if int(request.headers["Upload-Offset"]) != len(begun.data):
                    await request.read()
                    return web.Response(status=409, headers=self._state(begun))
                assert request.headers["Content-Type"] == "application/partial-upload"
                return await self._take(request, seen, begun, fault, request.path)
            case _:
                return await self._create(request, seen, fault)

    async def _create(self, request: web.BaseRequest, seen: Seen, fault: Fault | None) -> web.Response:
        if request.path in self.files:
            await request.read()
            return web.Response(status=409)
        begun = Begun(length=int(request.headers.get("Upload-Length", request.headers["Content-Length"])))
        path = request.path
        if path.endswith("/"):
            path = f"{path}{len(self.uploads)}"
        if self.resumable:
            self.uploads[path] = begun
        if self.interim and request.transport is not None:
            request.transport.write(
                f"HTTP/1.1 104 Upload Resumption Supported\r\nLocation: {path}\r\n\r\n".encode()
            )
        return await self._take(request, seen, begun, fault, path)

    async def _take(
        self, request: web.BaseRequest, seen: Seen, begun: Begun, fault: Fault | None, path: str
    ) -> web.Response:
        await self._read(request, seen, begun, fault)
        if request.headers.get("Upload-Complete") == "?0" and self.resumable:
            fields = {"Location": path} if request.method in {"PUT", "POST"} else {}
            return web.Response(
                status=201 if fields else 204, headers={**fields, **self._state(begun), **self._limited()}
            )
        data = bytes(begun.data)
        if self.rot:
            data = bytes([data[0] ^ 255]) + data[1:]
        told = request.headers.get("Repr-Digest")
        if self.digests and told is not None and told != repr_digest(data):
            return web.json_response(
                {"code": "digest_mismatch", "title": "the digest is another", "detail": "sent again?"},
                status=460,
                content_type="application/problem+json",
                headers={"X-Request-Id": "r-460"},
            )
        begun.complete = True
        stored = path if request.method == "PUT" or not path.startswith("/files/") else f"/get{path}"
        self.files[stored] = data
        fields = self._state(begun) if self.resumable else {}
        return web.Response(status=201, headers={"Content-Location": stored, **fields})

    async def _read(self, request: web.BaseRequest, seen: Seen, begun: Begun, fault: Fault | None) -> None:
        left = fault.after if isinstance(fault, Cut) else None
        async for block in request.content.iter_any():
            kept = block if left is None else block[:left]
            begun.data += kept
            seen.body += len(kept)
            if left is not None:
                left -= len(kept)
                if left == 0:
                    self._abort(request)

    def _tell(self, request: web.BaseRequest) -> web.Response:
        begun = self.uploads.get(request.path)
        if begun is not None:
            return web.Response(status=204, headers={**self._state(begun), **self._limited()})
        data = self.files.get(request.path)
        if data is None:
            return web.Response(status=404)
        digest = {"Repr-Digest": repr_digest(data)} if self.digests else {}
        return web.Response(status=200, headers={"Content-Length": str(len(data)), **digest})

    async def _download(self, request: web.BaseRequest, fault: Fault | None) -> web.StreamResponse:
        data = self.files.get(request.path)
        if data is None:
            return web.Response(status=404)
        fields = {"ETag": self.etag}
        if self.digests:
            fields["Repr-Digest"] = repr_digest(b"rot" if self.rot else data)
        status, start = 200, 0
        span = SPAN.fullmatch(request.headers.get("Range", ""))
        if span and self.ranges and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(span[1])
            if start >= len(data):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
            status = 206
            fields["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response = web.StreamResponse(status=status, headers=fields)
        response.content_length = len(data) - start
        await response.prepare(request)
        after = fault.after if isinstance(fault, Cut) else 1 if isinstance(fault, Stall) else len(data)
        await response.write(data[start : start + after])
        if isinstance(fault, Cut):
            assert request.transport is not None
            request.transport.close()
        if isinstance(fault, Stall):
            self.stalled.set()
            await asyncio.Event().wait()
        return response

    def _state(self, begun: Begun) -> dict[str, str]:
        complete = "?1" if begun.complete else "?0"
        return {
            "Upload-Offset": str(len(begun.data)),
            "Upload-Complete": complete,
            "Upload-Length": str(begun.length),
        }

    def _limited(self) -> dict[str, str]:
        if not self.resumable:
            return {}
        return {"Upload-Limit": self.limits.popleft() if self.limits else self.limit}

    @staticmethod
    def _abort(request: web.BaseRequest) -> None:
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        async def serve() -> None:
            self._ended = asyncio.Event()
            runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.01)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await self._ended.wait()
            await runner.cleanup()

        with contextlib.closing(self._loop):
            self._loop.run_until_complete(serve())


def repr_digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
