"""A stand-in server that speaks tus 1.0.0 with concatenation; it breaks as `standin` does."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field

from aiohttp import web
from client.standin import Begun, Fault, Seen, Standin, repr_digest

JOIN = "JOIN"
"""In `faults`: of the request that joins."""
MEET_S = 60.0
"""How long requests wait for each other, at most."""
UPLOADS = "/files/"


@dataclass
class Joining(Standin):
    """A server at whose endpoint parts of a file come over several connections."""

    extensions: str = "creation,concatenation"
    meet: int = 1
    """So many PATCHes must be under way at the same time before any of them is answered."""
    remembers: bool = True
    """Whether joining the same parts again has the answer of the first time."""
    keeps: bool = False
    """Whether parts that are joined stay."""
    most: int = 0
    """How many PATCHes were under way at the same time."""
    joined: dict[str, str] = field(default_factory=dict)
    """URLs of files by what they were joined of."""
    told: list[dict[str, str]] = field(default_factory=list)
    """Upload-Metadata of each file."""
    _begun: int = 0
    _under_way: int = 0
    _met: asyncio.Event = field(default_factory=asyncio.Event)

    def _kind(self, request: web.BaseRequest) -> str:
        return JOIN if request.headers.get("Upload-Concat", "").startswith("final;") else request.method

    async def _act(self, request: web.BaseRequest, seen: Seen, fault: Fault | None) -> web.Response:
        if request.method == "OPTIONS":
            tus = {"Tus-Version": "1.0.0", "Tus-Extension": self.extensions}
            return web.Response(status=204, headers={**self._limited(), **tus})
        if "Tus-Resumable" not in request.headers:
            return await super()._act(request, seen, fault)
        assert request.headers["Tus-Resumable"] == "1.0.0"
        match self._kind(request):
            case "POST":
                assert request.headers["Upload-Concat"] == "partial"
                self._begun += 1
                path = f"{UPLOADS}{self._begun}"
                self.uploads[path] = Begun(length=int(request.headers["Upload-Length"]))
                return web.Response(status=201, headers={"Location": path})
            case "PATCH":
                return await self._patch(request, seen, fault)
            case "HEAD":
                begun = self.uploads.get(request.path)
                return web.Response(status=404) if begun is None else self._stands(200, begun)
            case _:
                return self._join(request)

    async def _patch(self, request: web.BaseRequest, seen: Seen, fault: Fault | None) -> web.Response:
        begun = self.uploads.get(request.path)
        if begun is None:
            await request.read()
            return web.Response(status=404)
        assert request.headers["Content-Type"] == "application/offset+octet-stream"
        if int(request.headers["Upload-Offset"]) != len(begun.data):
            await request.read()
            return web.Response(status=409)  # tus has it without an offset
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        if self._under_way >= self.meet:
            self._met.set()
        try:
            await asyncio.wait_for(self._met.wait(), MEET_S)
            await self._read(request, seen, begun, fault)
        finally:
            self._under_way -= 1
        return self._stands(204, begun)

    def _join(self, request: web.BaseRequest) -> web.Response:
        named = request.headers["Upload-Concat"].removeprefix("final;")
        if self.remembers and named in self.joined:
            return self._done(self.joined[named])
        paths = [url.removeprefix(self.url) for url in named.split(" ")]
        if not all(path in self.uploads for path in paths):
            return web.Response(status=404)
        parts = [self.uploads[path] for path in paths]
        assert all(part.length == len(part.data) for part in parts)
        data = b"".join(part.data for part in parts)
        data = bytes([data[0] ^ 255]) + data[1:] if self.rot else data
        if request.headers["Repr-Digest"] != repr_digest(data):
            problem = {"code": "digest_mismatch", "title": "the digest is another"}
            return web.json_response(problem, status=400, content_type="application/problem+json")
        self.joined[named] = url = f"/get{UPLOADS}{len(self.files)}"
        self.files[url] = data
        pairs = (pair.split(" ") for pair in request.headers["Upload-Metadata"].split(","))
        self.told.append({key: base64.b64decode(value).decode() for key, value in pairs})
        for path in paths if not self.keeps else ():
            del self.uploads[path]
        return self._done(url)

    @staticmethod
    def _done(url: str) -> web.Response:
        return web.Response(status=201, headers={"Location": f"{UPLOADS}joined", "Content-Location": url})

    @staticmethod
    def _stands(status: int, begun: Begun) -> web.Response:
        fields = {"Upload-Offset": str(len(begun.data)), "Upload-Length": str(begun.length)}
        return web.Response(status=status, headers=fields)
