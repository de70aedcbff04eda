"""The servers that are compared, each with its configuration in rivals/; started and stopped here."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from benches import folder, measure

if TYPE_CHECKING:
    from benches.folder import Folder

RIVALS: Final = Path(__file__).parent / "rivals"
SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1
BOTH_CORES: Final = (SERVER_CORE, CLIENT_CORE)
HOST: Final = "127.0.0.1"
PATIENCE_S: Final = 30.0
# Servers live in sbin, which is not on everybody's PATH.
PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to run one server. @words@ of command, configuration and environment are replaced."""

    title: str
    command: tuple[str, ...]
    version: tuple[str, ...]  # command that prints it; or ("python", package)
    config: str = ""  # file in rivals/
    words: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = (SERVER_CORE,)
    signed: bool = False  # whether uploads need a token
    language: str = ""  # of folder.LANGUAGES: uploads are resumable ones; "": they are plain PUTs


def _hmacfs(  # noqa: PLR0913 - what its contenders differ in
    title: str,
    *,
    durability: str = "full",
    workers: int = 1,
    cores: tuple[int, ...] = (SERVER_CORE,),
    buffer: str = "",
    language: str = "",
) -> Contender:
    """Return hmacfs; `buffer` is the fixed size of its buffers, by default they are adaptive."""
    return Contender(
        title=title,
        command=("@python@", "-m", "hmacfs", "serve", "--config", "@config@"),
        version=("python", "hmacfs"),
        config="hmacfs.toml",
        words={
            "durability": durability,
            "workers": str(workers),
            "secret": folder.SECRET,
            "adaptive": "false" if buffer else "true",
            "least": buffer or "32KB",
            "most": buffer or "1MB",
        },
        cores=cores,
        signed=True,
        language=language,
    )


def _nginx(title: str, extra: str = "") -> Contender:
    return Contender(
        title=title,
        command=("nginx", "-p", "@place@", "-e", "@place@/error.log", "-c", "@config@"),
        version=("nginx", "-v"),
        config="nginx.conf",
        words={"extra": extra},
    )


FIXED: Final = {
    f"hmacfs_{size.lower()}": _hmacfs(f"fixed {size}, relaxed", durability="relaxed", buffer=size)
    for size in ("32KB", "64KB", "128KB", "256KB", "512KB", "1MB", "2MB", "4MB")
}
"""hmacfs with buffers of one size each; relaxed, since else the disk is what is compared."""

CONTENDERS: Final = {
    **FIXED,
    "hmacfs": _hmacfs("hmacfs"),
    "hmacfs_relaxed": _hmacfs("hmacfs, relaxed", durability="relaxed"),
    "hmacfs_ietf": _hmacfs("hmacfs, IETF PATCHes", language="ietf"),
    "hmacfs_tus": _hmacfs("hmacfs, tus PATCHes", language="tus"),
    "hmacfs_ietf_relaxed": _hmacfs("hmacfs, IETF PATCHes, relaxed", durability="relaxed", language="ietf"),
    "hmacfs_tus_relaxed": _hmacfs("hmacfs, tus PATCHes, relaxed", durability="relaxed", language="tus"),
    "hmacfs_1_of_2": _hmacfs("hmacfs, 1 worker on 2 cores", cores=BOTH_CORES),
    "hmacfs_2_of_2": _hmacfs("hmacfs, 2 workers on 2 cores", workers=2, cores=BOTH_CORES),
    "nginx": _nginx("nginx"),
    # As fresh as hmacfs promises to be: what is deleted is gone within a second.
    "nginx_cache": _nginx(
        "nginx + open_file_cache",
        "open_file_cache max=20000 inactive=60s; open_file_cache_valid 1s; open_file_cache_min_uses 2;",
    ),
    # Not its default (16 KiB), but what somebody who knows nginx would set for uploads.
    "nginx_1m": _nginx("nginx, 1 MiB body buffer", "client_body_buffer_size 1m;"),
    "h2o": Contender(
        title="h2o",
        command=("h2o", "-m", "worker", "-c", "@config@"),
        version=("h2o", "--version"),
        config="h2o.yaml",
    ),
    "caddy": Contender(
        title="Caddy",
        command=("caddy", "run", "--adapter", "caddyfile", "--config", "@config@"),
        version=("caddy", "version"),
        config="Caddyfile",
        environ={"GOMAXPROCS": "1", "HOME": "@place@", "XDG_DATA_HOME": "@place@"},
    ),
    "aiohttp": Contender(
        title="aiohttp",
        command=("@python@", str(RIVALS / "aiohttp_app.py"), "@host@", "@port@", "@store@/upload"),
        version=("python", "aiohttp"),
    ),
    "granian": Contender(
        title="Starlette on Granian",
        command=(
            *("@python@", "-m", "granian", "--interface", "asgi", "--host", "@host@", "--port", "@port@"),
            *("--workers", "1", "--runtime-threads", "1", "--no-ws", "--access-log"),
            *("--working-dir", str(RIVALS), "starlette_app:app"),
        ),
        version=("python", "granian"),
        environ={"BENCH_DIRECTORY": "@store@/upload"},
    ),
}
"""Every contender by its name in the results."""


class Running:
    """A contender that is up."""

    def __init__(
        self,
        name: str,
        where: Folder,
        contender: Contender | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Start it, or a variant of it, and wait until it answers as it should.

        Raises RuntimeError if it does something else, ConnectionError if it does not listen in time.
        """
        self.name = name
        self._patience_s = patience_s
        self.contender = contender or CONTENDERS[name]
        self.port = folder.free_port()
        self.address = f"{HOST}:{self.port}"
        self._place = where.root / f"{name}.{self.port}"
        self._place.mkdir()
        self._log = self._place / "output"
        words = {
            "place": str(self._place),
            "config": str(self._place / "config"),
            "store": str(where.store),
            "host": HOST,
            "port": str(self.port),
            "address": self.address,
            "python": sys.executable,
            **self.contender.words,
        }
        if self.contender.config:
            text = (RIVALS / self.contender.config).read_text()
            (self._place / "config").write_text(filled(text, words))
        command = [filled(word, words) for word in self.contender.command]
        environ = {name: filled(value, words) for name, value in self.contender.environ.items()}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*on(self.contender.cores), *command],
                stdin=subprocess.DEVNULL,
                stdout=log if name != "granian" else subprocess.DEVNULL,  # it logs requests there
                stderr=log,
                env={**os.environ, "PATH": PATH, **environ},
                cwd=self._place,
                start_new_session=True,
            )
        try:
            self._wait(where)
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """Its processes. Raises RuntimeError if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: {self._log.read_text()[-2000:]}")
        return measure.tree(self._process.pid)

    def fetch(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """GET a target; give status, fields by their lower-case names, and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """End it, by force if it does not end by itself."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._place)

    def _wait(self, where: Folder) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                status, _, body = self.fetch(where.target("1k"))
                break
            except (ConnectionError, TimeoutError):  # the socket listens before a slow worker accepts
                if not self.pids or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        if (status, body) != (200, where.body("1k").read_bytes()):
            raise RuntimeError(f"{self.name} answers {status} or other bytes than it should")


class Fleet:
    """The contenders that are up; each stays so until the end, since an idle one costs the others nothing."""

    def __init__(self, where: Folder) -> None:
        """Start nothing yet."""
        self.folder = where
        self._running: dict[str, Running] = {}

    def get(self, name: str) -> Running:
        """Return a running contender; start it if need be."""
        if name not in self._running:
            self._running[name] = Running(name, self.folder)
        return self._running[name]

    def drop(self, name: str) -> None:
        """Stop a contender, so that the next `get` gives a fresh one."""
        if name in self._running:
            self._running.pop(name).stop()

    def __enter__(self) -> Self:
        """Stop all at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all."""
        for name in list(self._running):
            self.drop(name)


def on(cores: tuple[int, ...]) -> list[str]:
    """Return the start of a command that is to stay on these cores."""
    return ["taskset", "-c", ",".join(map(str, cores))]


def filled(text: str, words: dict[str, str]) -> str:
    """Replace every @word@."""
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def missing(names: set[str]) -> set[str]:
    """Return the programs that these contenders need and that are not installed."""
    programs = {CONTENDERS[name].command[0] for name in names} - {"@python@"}
    return {program for program in programs if shutil.which(program, path=PATH) is None}
