"""Makes the storage of an older hmacfs that `tests/server/test_older_store.py` serves.

Run with the code of the commit whose storage is to be kept, from the root of the sources:

    PYTHONPATH=tests:. python tests/vectors/make_store.py tests/vectors/store-2026-11-30

It writes NAME.tar.gz, the storage as a killed server has left it, and NAME.json, what was acknowledged: each
file with its type and expiry, each unfinished upload with how far it has come. store-2026-11-30 was made at
commit 55fe4f1. Times are kept to the nanosecond, by GNU tar: they name a file's row in the index.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import languages
import resuming
import serving
from contents import Content

from hmacfs.auth import jose
from hmacfs.model import KiB, MiB, Secret, Span
from hmacfs.policy import buffer_ranking
from hmacfs.policy.buffer_ranking import Ranking, Weight

if TYPE_CHECKING:
    import socket

    from serving import Answer, Server

CONFIG: Final = """
[uploads]
sessiontimeout = "876000h"
[performance]
min_chunk_size = "1KB"
max_chunk_size = "1KB"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
directory = "share"
protocols = ["jwt"]
[[endpoint]]
prefix = "/go/"
directory = "go/files"
protocols = ["gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
SIZE: Final = 4000
HALF: Final = 1500
CHUNK: Final = 1024
TYPE: Final = "video/mp4"
FAR: Final = 4_102_444_800  # 2100-01-01
PAST: Final = 1_000_000_000  # 2001-09-09
BOUNDARY: Final = "XyZ"
RANKING: Final = Ranking(best=256 * KiB, weights={256 * KiB: Weight(10**10, 1.0), MiB: Weight(10**10, 9.0)})
"""What a GiB of uploads would have the server write."""


class Maker:
    """Uploads to a server, and notes what it has acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.files: list[dict[str, Any]] = []
        self.unfinished: list[dict[str, Any]] = []
        self.open: list[socket.socket] = []

    def stored(
        self,
        path: str,
        content: Content,
        content_type: str,
        *,
        expires: int | None = None,
        told: bool = False,
    ) -> None:
        """Note a file; `told`: whether its SHA-256 was."""
        self.files.append(
            {
                "path": path,
                "content": content.name,
                "type": content_type,
                "expires": expires,
                "sha256": told,
            }
        )

    def begun(self, language: str, content: Content, **known: object) -> None:
        """Note an unfinished upload."""
        self.unfinished.append({"language": language, "content": content.name, **known})

    def ask(self, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> Answer:
        """Make a request, which must succeed."""
        counted = {"Content-Length": str(len(body))} if method in {"PUT", "POST", "PATCH"} else {}
        answer = self.server.request(method, target, fields={**counted, **fields}, body=body)
        assert answer.status in {200, 201, 204}, answer
        return answer

    # Files.

    def signed_puts(self) -> None:
        """PUT files with v2 tokens: with SHA-256, without, and by names beyond ASCII."""
        for rel, content_type, told in (
            ("a/note.txt", "text/plain", True),
            ("b/clip.mp4", TYPE, False),
            ("c/Grüße 🙂.bin", "application/octet-stream", False),
        ):
            one = of(rel)
            digest = {"Repr-Digest": languages.digest(one.data)} if told else {}
            target = serving.signed(rel, SIZE, content_type)
            self.ask("PUT", target, {"Content-Type": content_type, **digest}, one.data)
            self.stored(target.partition("?")[0], one, content_type, told=told)

    def shares(self) -> None:
        """PUT files whose tokens sign when they are to be gone, and their uploader."""
        for rel, expires in (("d/stays.mp4", FAR), ("e/gone.mp4", PAST)):
            one = of(rel)
            first, _, rest = rel.partition("/")
            now = int(time.time())
            claims: dict[str, object] = {"slot": first, "filename": rest, "filesize": SIZE, "filetype": TYPE}
            claims |= {"iat": now, "exp": now + 3600, "expires": expires, "sub": "alice@chat.test"}
            token = jose.sign(claims, Secret(serving.SECRET.encode()))
            fields = {"Authorization": f"Bearer {token}", "Content-Type": TYPE}
            self.ask("PUT", f"/share/{rel}", fields, one.data)
            self.stored(f"/share/{rel}", one, TYPE, expires=expires)

    def form(self) -> None:
        """POST the file of a form."""
        one = of("form.bin")
        top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{one.name}"\r\n\r\n'
        fields = {**languages.go_bearer(), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self.ask("POST", "/upload", fields, top.encode() + one.data + f"\r\n--{BOUNDARY}--\r\n".encode())
        self.stored(f"/go/{one.name}", one, "application/octet-stream")

    # tus.

    def create(self, content: Content, length: int | None = SIZE, **fields: str) -> str:
        """Begin an upload by tus."""
        known = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        told = {**languages.TUS, **languages.ALICE, **known, **metadata(content), **named}
        return self.ask("POST", "/files/", told).fields["location"]

    def patch(self, target: str, data: bytes, at: int = 0, **fields: str) -> None:
        """Append by tus."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        told = {**languages.TUS, **languages.ALICE, **languages.OCTETS, "Upload-Offset": str(at), **named}
        self.ask("PATCH", target, told, data)

    def tus_files(self) -> None:
        """Upload by tus: one whole, and one joined from parts."""
        one = of("tus.mp4")
        target = self.create(one)
        self.patch(target, one.data[:HALF])
        self.patch(target, one.data[HALF:], HALF)
        self.stored(f"{target}/{one.name}", one, TYPE)
        one = of("joined.mp4")
        parts = [self.create(one, length, Upload_Concat="partial") for length in (HALF, SIZE - HALF)]
        self.patch(parts[0], one.data[:HALF])
        self.patch(parts[1], one.data[HALF:])
        told = {**languages.TUS, **languages.ALICE, **metadata(one)}
        answer = self.ask("POST", "/files/", {**told, "Upload-Concat": f"final;{' '.join(parts)}"})
        self.stored(answer.fields["content-location"], one, TYPE)

    def tus_unfinished(self) -> None:
        """Begin uploads by tus: without a byte, with some, of no known length, and parts to be joined."""
        one = of("tus-empty.mp4")
        self.begun("tus", one, target=self.create(one), offset=0, length=SIZE)
        one = of("tus-half.mp4")
        target = self.create(one)
        self.patch(target, one.data[:HALF])
        self.begun("tus", one, target=target, offset=HALF, length=SIZE)
        one = of("tus-deferred.mp4")
        target = self.create(one, None)
        self.patch(target, one.data[:HALF])
        self.begun("tus", one, target=target, offset=HALF, length=None)
        one = of("tus-parts.mp4")
        parts = [self.create(one, length, Upload_Concat="partial") for length in (HALF, SIZE - HALF)]
        self.patch(parts[0], one.data[:HALF])
        self.patch(parts[1], one.data[HALF : 2 * HALF])
        self.begun("tus_parts", one, parts=parts, offsets=[HALF, HALF])

    def tus_doubtful(self) -> None:
        """Begin a request by tus whose checksum cannot be compared, since it never ends."""
        one = of("tus-doubtful.mp4")
        target = self.create(one)
        self.patch(target, one.data[:HALF])
        digest = base64.b64encode(bytes(20)).decode()
        told = {**languages.TUS, **languages.ALICE, **languages.OCTETS, "Upload-Offset": str(HALF)}
        sock = self.server.connect()
        self.open.append(sock)
        rest = SIZE - HALF
        sock.sendall(serving.head("PATCH", target, {**told, "Upload-Checksum": f"sha1 {digest}"}, rest))
        sock.sendall(one.data[HALF : SIZE - 1])
        resuming.wait_stored(self.server.storage, SIZE - 1)
        self.begun("tus", one, target=target, offset=HALF, length=SIZE)

    # The other languages.

    def ietf(self) -> None:
        """Begin uploads by the IETF's draft: at a slot, and at an endpoint."""
        one = of("f/ietf.mp4")
        target = serving.signed(one.name, SIZE, TYPE)
        told = {"Content-Type": TYPE, "Upload-Complete": "?0", "Upload-Length": str(SIZE)}
        self.ask("PUT", target, told, one.data[:HALF])
        self.begun("ietf", one, target=target, offset=HALF)
        one = of("ietf-post.mp4")
        told = {**languages.ALICE, **told, "Content-Disposition": f'attachment; filename="{one.name}"'}
        answer = self.ask("POST", "/files/", told, one.data[:HALF])
        self.begun("ietf", one, target=answer.fields["location"], offset=HALF)

    def broken(self) -> None:
        """Break a plain PUT off."""
        one, come = of("g/broken.mp4"), HALF + 7  # as many as no other has
        target = serving.signed(one.name, SIZE, TYPE)
        with self.server.connect() as sock:
            sock.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, SIZE) + one.data[:come])
            resuming.wait_stored(self.server.storage, come, tuple(self.server.workers))
            resuming.reset(sock)
        resuming.wait_stored(self.server.storage, come)
        self.begun("range", one, target=target, offset=come)

    def chunks(self) -> None:
        """Send the Go server's chunks: all of one file, the first and the third of another."""
        for name, numbers in (("h/chunks.mp4", (0, 1, 2, 3)), ("i/chunks.mp4", (0, 2))):
            one = of(name)
            query = serving.signed(name, SIZE, TYPE).partition("?")[2]
            target = f"/chunked-upload?{query}"
            told = {"X-Filename": name, "X-Total-Size": str(SIZE), "Content-Type": TYPE}
            session = json.loads(self.ask("POST", target, told).body)
            assert session["chunk_size"] == CHUNK
            for number in numbers:
                span = chunk(number)
                fields = {"X-Upload-Session-ID": session["session_id"], "X-Chunk-Number": str(number)}
                self.ask("POST", target, fields, one.data[span.start : span.stop])
            if len(numbers) == 4:
                self.stored(f"/upload/{name}", one, TYPE)
            else:
                self.begun("chunked", one, target=target, session=session["session_id"], chunks=numbers)


def of(name: str) -> Content:
    """Return the content of this name."""
    return Content(name=name, generation=0, size=SIZE)


def chunk(number: int) -> Span:
    """Return where a chunk lies."""
    return Span(number * CHUNK, min((number + 1) * CHUNK, SIZE))


def metadata(content: Content) -> dict[str, str]:
    """Return the field of tus that tells name and type."""
    told = {"filename": content.name, "filetype": TYPE}
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())
    return {"Upload-Metadata": ",".join(pairs)}


def kill(server: Server) -> None:
    """End a server at once: its supervisor must not mourn the workers."""
    server.process.send_signal(signal.SIGSTOP)
    for worker in server.workers:
        os.kill(worker, signal.SIGKILL)
    server.process.kill()
    server.process.wait()


def main(name: str) -> None:
    """Write NAME.tar.gz and NAME.json."""
    with tempfile.TemporaryDirectory() as made:
        where = Path(made)
        with serving.start(where, serving.configuration(where / "store", rest=CONFIG)) as server:
            maker = Maker(server)
            maker.signed_puts()
            maker.shares()
            maker.form()
            maker.tus_files()
            maker.tus_unfinished()
            maker.ietf()
            maker.broken()
            maker.chunks()
            maker.tus_doubtful()
            kill(server)
        (where / "store/.hmacfs/buffers.json").write_bytes(buffer_ranking.write(RANKING))
        archive = Path(f"{name}.tar.gz").absolute()
        owner = ("--owner=0", "--group=0", "--numeric-owner")
        tar = ["tar", "--format=posix", "--sort=name", *owner, "-C", made, "-czf", str(archive), "store"]
        subprocess.run(tar, check=True)
    known = {"files": maker.files, "unfinished": maker.unfinished}
    Path(f"{name}.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
