"""The clients: wrk, h2load and our own, on their core, each for one run against one server."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benches import contenders, folder, readings
from benches.contenders import CLIENT_CORE

if TYPE_CHECKING:
    from benches.contenders import Running
    from benches.figures import Sample
    from benches.folder import Folder

CLIENTS: Final = Path(__file__).parent / "clients"
PROGRAMS: Final = {"wrk", "h2load", "taskset", "strace"}
PATIENCE_S: Final = 120.0
# What no server here reaches, so that the time ends a run of uploads and not a lack of names.
UPLOAD_BYTES_PER_S: Final = 6e9
UPLOADS_PER_S: Final = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run: against whom, with what, for how long."""

    server: Running
    folder: Folder
    seconds: float
    cores: tuple[int, ...] = (CLIENT_CORE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What lies between a client and the server."""

    rate: float  # bytes per second of each connection
    delay_s: float = 0.0  # each way
    stall_s: float = 0.0  # how long nothing passes, at the beginning of
    every_s: float = 1.0  # each of these


def missing() -> set[str]:
    """Return the programs that measuring needs and that are not installed."""
    return {program for program in PROGRAMS if shutil.which(program) is None}


def client_cpu_s() -> float:
    """Return the CPU time of all clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wrk(
    trial: Trial, target: str, *, connections: int = 32, threads: int = 1, fields: tuple[str, ...] = ()
) -> Sample:
    """GET one target again and again; or, if it ends in ".requests", those of that list."""
    scripts = ["report.lua"]
    arguments = []
    if target.endswith(".requests"):
        scripts.append("requests.lua")
        arguments, target = ["--", target], "/"
    script = trial.folder.root / "wrk.lua"
    script.write_text("\n".join((CLIENTS / name).read_text() for name in scripts))
    given = [word for line in fields for word in ("-H", line)]
    output = _run(
        trial,
        *("wrk", "-t", str(threads), "-c", str(connections), "-d", f"{max(1, round(trial.seconds))}s"),
        *("-s", str(script), *given, f"http://{trial.server.address}{target}", *arguments),
    )
    return readings.wrk(output)


def h2load(trial: Trial, target: str, *, connections: int = 32, rate: int | None = None) -> Sample:
    """GET one target again and again; `rate` limits the requests a second of each connection."""
    log = trial.folder.root / "h2load.log"
    log.unlink(missing_ok=True)
    limit = ["--rps", str(rate)] if rate is not None else []
    output = _run(
        trial,
        *("h2load", "--h1", "-t", "1", "-c", str(connections), "-D", str(max(1, round(trial.seconds)))),
        *("--log-file", str(log), *limit, f"http://{trial.server.address}{target}"),
    )
    return readings.h2load(output, log.read_text())


def download(trial: Trial, size: str, *, connections: int) -> Sample:
    """GET a large file again and again."""
    return finish(start_download(trial, size, connections=connections))


def upload(trial: Trial, size: str, *, connections: int) -> Sample:
    """PUT new files of that size."""
    return finish(start_upload(trial, size, connections=connections))


def upload_over(trial: Trial, size: str, link: Link, *, connections: int) -> Sample:
    """PUT new files of that size over a link."""
    shape = (link.rate, link.delay_s, link.stall_s, link.every_s)
    command = [sys.executable, str(CLIENTS / "link.py"), str(trial.server.port), *map(str, shape)]
    with subprocess.Popen(
        [*contenders.on(trial.cores), *command], stdout=subprocess.PIPE, text=True
    ) as passing:
        assert passing.stdout is not None
        try:
            port = int(passing.stdout.readline())
            return finish(start_upload(trial, size, connections=connections, port=port))
        finally:
            passing.terminate()


def start_download(trial: Trial, size: str, *, connections: int, nice: int = 0) -> subprocess.Popen[str]:
    """Begin to GET a large file again and again; `finish` waits for it."""
    head = folder.download(trial.folder.target(size), trial.server.address)
    return _start_streams(trial, {"heads": [head], "stored": [], "body": "", "size": 0}, connections, nice)


def start_upload(
    trial: Trial, size: str, *, connections: int, nice: int = 0, port: int = 0
) -> subprocess.Popen[str]:
    """Begin to PUT new files of that size, at `port` if it is not the server's; `finish` waits for it."""
    length, language = folder.SIZES[size], trial.server.contender.language
    count = connections + int(trial.seconds * min(UPLOADS_PER_S, UPLOAD_BYTES_PER_S / length))
    body = {"body": str(trial.folder.body(size)), "size": length}
    if language:
        named = (language, trial.server.address, folder.bearer())
        work: dict[str, object] = {
            "heads": [folder.beginning(*named, length)] * count,
            "stored": [str(trial.folder.resumed)] * count,
            "piece": folder.PIECE_BYTES,
            "rest": folder.going_on(*named),
        }
        return _start_streams(trial, {**work, **body}, connections, nice, port)
    made = folder.uploads(
        trial.folder.served, trial.server.address, length, count, signed=trial.server.contender.signed
    )
    work = {"heads": [upload.head for upload in made], "stored": [upload.stored for upload in made]}
    return _start_streams(trial, {**work, **body}, connections, nice, port)


def finish(client: subprocess.Popen[str]) -> Sample:
    """Wait for a client of our own. Raises RuntimeError if it failed."""
    output, faults = client.communicate(timeout=PATIENCE_S)
    if client.returncode:
        raise RuntimeError(f"the client failed: {faults}")
    return readings.streams(output)


def _start_streams(
    trial: Trial, work: dict[str, object], connections: int, nice: int, port: int = 0
) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [
            *("nice", "-n", str(nice)),
            *contenders.on(trial.cores),
            *(sys.executable, str(CLIENTS / "streams.py")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    order = {
        "piece": 0,
        "rest": "",
        **work,
        "host": contenders.HOST,
        "port": port or trial.server.port,
        "connections": connections,
        "seconds": trial.seconds,
    }
    json.dump(order, client.stdin)
    client.stdin.close()
    client.stdin = None  # else communicate would flush it once more
    return client


def _run(trial: Trial, *command: str) -> str:
    run = subprocess.run(
        [*contenders.on(trial.cores), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=trial.seconds + PATIENCE_S,
    )
    if run.returncode:
        raise RuntimeError(f"{command[0]} failed: {run.stdout}{run.stderr}")
    return run.stdout
