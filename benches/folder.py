"""The folder that all servers of a bench share: what they serve, where uploads go, who listens where."""

from __future__ import annotations

import os
import random
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs import auth
from hmacfs.auth import passes
from hmacfs.model import Endpoint, GiB, KiB, MiB, Secret

if TYPE_CHECKING:
    from pathlib import Path

PREFIX: Final = "/upload/"
RESUMABLE: Final = "/files/"
"""Prefix of resumable uploads."""
PIECE_BYTES: Final = 5 * MiB
"""Of a resumable upload comes so much with each request: what S3 and Uppy take at least."""
SECRET: Final = secrets.token_hex(32)
SIZES: Final = {"1k": KiB, "16k": 16 * KiB, "64k": 64 * KiB, "1m": MiB, "32m": 32 * MiB, "100m": 100 * MiB}
HUGE: Final = "1g"
RANGE_BYTES: Final = 64 * KiB
RANGES: Final = 64
"""Different ranges of the huge file that are asked for."""
SMALL_FILES: Final = 10_000
ZIPF_REQUESTS: Final = 100_000
UNSUITABLE: Final = {"tmpfs", "ramfs", "devtmpfs"}
CONTENT_TYPE: Final = "application/octet-stream"


class Upload(NamedTuple):
    """One upload to make."""

    head: str
    stored: str  # the path at which the file will lie


class Language(NamedTuple):
    """How a resumable upload is begun and gone on with: what its requests say beside who asks."""

    begins: str
    goes_on: str  # as clients/streams.py takes it


LANGUAGES: Final = {
    "tus": Language(
        "Tus-Resumable: 1.0.0\r\n",
        "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n",
    ),
    "ietf": Language(
        "Upload-Draft-Interop-Version: 8\r\nUpload-Complete: ?0\r\n",
        "Upload-Draft-Interop-Version: 8\r\nContent-Type: application/partial-upload\r\n"
        "Upload-Complete: ?{ends}\r\n",
    ),
}
"""tus 1.0.0, and draft-ietf-httpbis-resumable-upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder on a real file system."""

    root: Path

    @property
    def store(self) -> Path:
        """What servers serve; below it the prefix's folder."""
        return self.root / "store"

    @property
    def served(self) -> Path:
        """Where the prefix leads."""
        return self.store / "upload"

    @property
    def resumed(self) -> Path:
        """Where resumable uploads without a name end, as clients/streams.py takes it."""
        return self.store / "files" / "{id}" / "upload"

    def body(self, size: str) -> Path:
        """Return the file of that size."""
        return self.served / "get" / f"{size}.bin"

    def target(self, size: str) -> str:
        """Return the target that asks for the file of that size."""
        return f"{PREFIX}get/{size}.bin"

    def requests(self, name: str) -> Path:
        """Return the list of requests called `name`, as clients/requests.lua reads it."""
        return self.root / f"{name}.requests"

    def make(self) -> None:
        """Write everything that is served. Raises RuntimeError on a file system that is none."""
        found = subprocess.check_output(["findmnt", "-no", "FSTYPE", "-T", str(self.root)], text=True).strip()
        if found in UNSUITABLE:
            raise RuntimeError(f"{self.root} is on {found}; set BENCH_DIRECTORY to a folder on a disk")
        (self.served / "get").mkdir(parents=True)
        block = os.urandom(MiB)
        for name, size in SIZES.items():
            with self.body(name).open("wb") as file:
                for start in range(0, size, MiB):
                    file.write(block[: min(MiB, size - start)])
        self._make_ranges(block)
        self._make_small(block)
        os.sync()  # so that no run pays for writing this back

    def _make_ranges(self, block: bytes) -> None:
        """Only what will be asked for is written: a hole costs no less to send, but would fill no disk."""
        step = GiB // RANGES
        with self.body(HUGE).open("wb") as file:
            file.truncate(GiB)
            for start in range(0, GiB, step):
                file.seek(start)
                file.write(block[:RANGE_BYTES])
        lines = [f"{self.target(HUGE)}\tbytes={at}-{at + RANGE_BYTES - 1}\n" for at in range(0, GiB, step)]
        self.requests("ranges").write_text("".join(lines))

    def _make_small(self, block: bytes) -> None:
        """Files of 1 KiB, and requests for them as Zipf has it: the n-th is asked for 1/n times as often."""
        (self.served / "zipf").mkdir()
        for number in range(SMALL_FILES):
            (self.served / "zipf" / f"{number:05}.bin").write_bytes(block[number : number + KiB])
        chance = random.Random(1)
        order = chance.sample(range(SMALL_FILES), SMALL_FILES)
        weights = [1 / rank for rank in range(1, SMALL_FILES + 1)]
        chosen = chance.choices(order, weights, k=ZIPF_REQUESTS)
        self.requests("zipf").write_text("".join(f"{PREFIX}zipf/{number:05}.bin\t\n" for number in chosen))


def uploads(served: Path, host: str, size: int, count: int, *, signed: bool) -> list[Upload]:
    """Return uploads under new names, each in a directory of its own, as XMPP servers name them."""
    endpoint = Endpoint(
        prefix=PREFIX, directory="upload", protocols=auth.DIALECTS, secrets=(Secret(SECRET.encode()),)
    )
    run, now, made = secrets.token_hex(8), time.time(), []
    for number in range(count):
        rel = f"{run}{number:08x}/file.bin"
        query = ""
        if signed:
            token = auth.sign("v2", endpoint, auth.SlotRequest(rel, size, CONTENT_TYPE), now=now, ttl_s=300)
            query = f"?{token.query}"
        head = (
            f"PUT {PREFIX}{rel}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {size}\r\n\r\n"
        )
        made.append(Upload(head, str(served / rel)))
    return made


def bearer() -> str:
    """Return the field of somebody who may make resumable uploads."""
    token = passes.sign(Secret(SECRET.encode()), "bench", now=time.time(), ttl_s=300)
    return f"Authorization: Bearer {token}\r\n"


def beginning(language: str, host: str, holder: str, size: int) -> str:
    """Return the head of a request that begins a resumable upload; `holder` is a line as of `bearer`."""
    return (
        f"POST {RESUMABLE} HTTP/1.1\r\nHost: {host}\r\n{holder}{LANGUAGES[language].begins}"
        f"Upload-Length: {size}\r\nContent-Length: 0\r\n\r\n"
    )


def going_on(language: str, host: str, holder: str) -> str:
    """Return the head of a request with more of a resumable upload, as clients/streams.py takes it."""
    return (
        f"PATCH {{target}} HTTP/1.1\r\nHost: {host}\r\n{holder}{LANGUAGES[language].goes_on}"
        "Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
    )


def download(target: str, host: str) -> str:
    """Return the head of a plain GET."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
