"""Every upload that was acknowledged, and every download, holds the right bytes and nobody else's.

Each 32 bytes say whose they are (`contents`), so it does not matter what else happens: slow and failing
disks, connections that break in every way, take-overs, workers that are killed, files that are deleted and
that expire.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import exchanges
import interpose
import load
import pytest
import selfsigned
import serving
import upload_protocols
from blake3 import blake3
from content_clients import PROTOCOLS, Ledger, Reader, Uploader, place_of
from exchanges import Site, Way
from interpose import Rule

from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from content_clients import File
    from serving import Answer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    # Python's own, of a connection that was reset just before its handshake.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]

SEED = 11
UPLOADERS = 10
READERS = 6
KILLS = 3
# What only a server that hangs reaches: so long in any case, and so long for each upload.
DEADLINE_S = 300.0
UPLOAD_S = 2.0
SHOWN = 10
EXPLAINED = re.compile(r"StorageError\(|Refused\('(storage_failed|disk_full|busy)'")
REST = """
[uploads]
sessiontimeout = "1h"
[streaming]
circuit_breaker = false
[performance]
min_chunk_size = "32KB"
max_chunk_size = "64KB"
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""


class Plan(NamedTuple):
    """What one series does to the server."""

    rules: Mapping[str, Rule] = {}
    """What becomes of its calls of the C library."""
    workers: int = 2
    kills: int = 0
    """How many workers are killed."""
    often: Mapping[str, int] = {}
    """How often a protocol is chosen, if not as often as the others."""

    @property
    def sound(self) -> bool:
        """Whether nothing of the server fails."""
        return not self.kills and all(not rule.fail for rule in self.rules.values())


SLOW = Rule(delay_s=(0.012, 0.020), delay_bytes=4 * KiB)
# Space is reserved and given back for large files alone.
RARE = {"fallocate": Rule(fail=0.1), "ftruncate": Rule(fail=0.1)}
FAILING = {**{kind: Rule(fail=0.01, shorten=0.01) for kind in interpose.KINDS}, **RARE}
PLANS = {
    "killed": Plan(kills=KILLS),
    "slow": Plan({"pwrite": SLOW}, workers=1, often={"put 1.5 MB": 10, "put 70 kB": 20, "pipelined": 20}),
    "failing": Plan(FAILING, often={"content-range 900 kB": 4, "ietf 900 kB": 4}),
    "slow, failing and killed": Plan(
        {
            **FAILING,
            "pwrite": SLOW._replace(fail=0.01, shorten=0.01),
            "fsync": Rule(fail=0.01, delay_s=(0.0, 0.01)),
        },
        kills=KILLS,
    ),
}


@pytest.fixture(scope="module")
def certificate(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return selfsigned.make(program("openssl"), tmp_path_factory.mktemp("certificate"))


@contextlib.contextmanager
def served(
    where: Path, plan: Plan, faults: interpose.Faults, certificate: tuple[Path, Path]
) -> Iterator[Site]:
    """Return a server with every listener and endpoint."""
    crt, key = certificate
    unix = str(where / "unix.sock")
    text = serving.configuration(
        where / "store",
        workers=plan.workers,
        listen=f'["127.0.0.1:0", "unix:{unix}"]',
        server=f'sweep_interval = "1s"\nproxy_protocol = true\ntrusted_proxies = ["{exchanges.PROXY}"]',
        rest=REST.format(crt=crt, key=key) + upload_protocols.ENDPOINTS,
    )
    with serving.start(where, text, environ=faults.environ) as server:
        yield Site(server=server, unix=unix, certificate=crt)


def press(  # noqa: PLR0913 - how long, and what against
    site: Site, ledger: Ledger, plan: Plan, where: Path, *, uploads: int, downloads: int
) -> int:
    """Upload and download until there were so many of both; give how many workers were killed."""
    stop = threading.Event()
    weights = {protocol: plan.often.get(protocol, 1) for protocol in PROTOCOLS}
    clients: list[Uploader | Reader] = [
        Uploader(ledger, site, stop, f"{SEED}/upload/{n}", weights=weights, sound=plan.sound)
        for n in range(UPLOADERS)
    ]
    clients += [
        Reader(ledger, site, stop, f"{SEED}/read/{n}", where=where, sound=plan.sound) for n in range(READERS)
    ]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    chance, killed = random.Random(SEED), 0
    deadline = time.monotonic() + DEADLINE_S + UPLOAD_S * uploads
    while ledger.uploaded < uploads or ledger.downloaded < downloads:
        with ledger.news:
            ledger.news.wait(1)
        if len(ledger.wrong) >= SHOWN or time.monotonic() > deadline:
            break
        if killed < plan.kills and ledger.uploaded * (plan.kills + 1) > uploads * (killed + 1):
            with contextlib.suppress(ProcessLookupError):
                load.kill(chance.choice(site.server.workers))
            killed += 1
            site.server.signal(signal.SIGHUP)  # while the successor is on its way
    stop.set()
    for thread in threads:
        thread.join()
    return killed


def read_back(site: Site, ledger: Ledger) -> int:
    """Download each acknowledged file once more; give how many there are."""
    stored = [file for file in ledger.files.values() if file.stored is not None]
    with site.connect(Way.PLAIN) as link:

        def get(path: str) -> Answer:
            link.send(serving.head("GET", path, None))
            return link.read()

        for file in stored:
            what_is_wrong = is_not(ledger, file, get)
            if what_is_wrong:
                ledger.accuse(f"acknowledged: {file.contents[-1].name}", what_is_wrong)
    return len(stored)


def is_not(ledger: Ledger, file: File, get: Callable[[str], Answer]) -> str:
    """Say how a file differs from what was acknowledged last; "" if it does not."""
    assert file.stored is not None
    content, path, _ = file.stored
    deadline = time.monotonic() + serving.PATIENCE_S
    while True:
        answer = get(path)
        if answer.status == 404 and file.may_be_gone:
            return ""
        if answer.status == 200 and answer.body == content.data:
            return ""
        # A worker may have what was deleted in memory for a second more.
        if ledger.judge(file, answer, None) or len(file.contents) == 1 or time.monotonic() > deadline:
            return f"{answer.status}: {ledger.contents.explain(content, answer.body)}"


def look_through(server: serving.Server, ledger: Ledger) -> int:
    """Compare all that stands in the storage with what was sent; give how many files that are."""
    names = server.files()
    for name in names:
        data = (server.storage / name).read_bytes()
        contents = ledger.files[name.rpartition("/")[2]].contents
        if not any(data == content.data for content in contents):
            reasons = (ledger.contents.explain(content, data) or "it is cut off" for content in contents)
            ledger.accuse(f"stored: {name}", f"{len(data)} bytes; {'; or '.join(reasons)}")
    return len(names)


def read_index(storage: Path, ledger: Ledger) -> None:
    """Compare what the index says of each acknowledged file with what stands there."""
    with contextlib.closing(sqlite3.connect(storage / ".hmacfs/index.db")) as index:
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = {row[:2]: row[2:] for row in index.execute("SELECT key, mtime_ns, size, digest FROM file")}
    stored = [file.stored for file in ledger.files.values() if file.stored is not None]
    for path in (place_of(storage, one.path) for one in stored if not one.found):
        if path.exists():
            key, data = str(path.relative_to(storage)), path.read_bytes()
            told = rows.get((key, path.stat().st_mtime_ns))
            # Of what came in several requests there is no digest.
            if told not in {(len(data), None), (len(data), blake3(data).digest())}:
                ledger.accuse(
                    f"in the index: {key}", f"{told}, not {len(data)} bytes of {blake3(data).digest()!r}"
                )


def stop(server: serving.Server, plan: Plan) -> list[dict[str, Any]]:
    """End the server; give the lines of its log that no injected fault explains."""
    assert server.stop() == 0, server.events[-20:]
    server.listener.join(serving.PATIENCE_S)
    lines = server.faults()
    server.provoked.update(line["event"] for line in lines)  # they are looked at here

    def is_explained(line: dict[str, Any]) -> bool:
        if line["event"] == "worker-died":
            return plan.kills > 0
        # What is done beside requests fails too, as a call that it needs does.
        if line["event"] in {"uploads-barred", "storage-lost"}:
            return "pread" in plan.rules
        beside = line["event"] == "background-failed" and "pread" in plan.rules
        return beside and EXPLAINED.match(str(line["error"])) is not None

    return [line for line in lines if not is_explained(line)]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_each_byte_is_where_it_belongs(  # noqa: PLR0913, PLR0917 - fixtures
    plan: Plan,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    program: Callable[[str], str],
    rounds: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    ledger = Ledger()
    uploads, downloads = rounds(500, 5000) // len(PLANS), rounds(5000, 50_000) // len(PLANS)
    with (
        interpose.built(program("gcc"), tmp_path, seed=SEED) as faults,
        served(tmp_path, plan, faults, certificate) as site,
    ):
        faults.set(plan.rules)
        killed = press(site, ledger, plan, tmp_path, uploads=uploads, downloads=downloads)
        faults.set({})
        read = read_back(site, ledger)
        failures = stop(site.server, plan)
        disturbed = {kind: counts[1:] for kind, counts in faults.counts().items() if counts.calls}
    found = look_through(site.server, ledger)
    read_index(site.server.storage, ledger)
    figure(
        f"seed {SEED}: {ledger.uploaded} files acknowledged in {ledger.begun.total()} uploads "
        f"{dict(ledger.acknowledged)}, {read} read back, {found} in the storage; "
        f"{ledger.downloaded} downloads {dict(ledger.answers)}; "
        f"{killed} workers killed and settings read again; "
        f"calls that failed, fell short, were slow: {disturbed}; "
        f"{len(ledger.wrong)} wrong, {len(failures)} faults in the log"
    )
    found_wrong = [f"{what}: {words}" for what, words in ledger.wrong.items()]
    if found_wrong or failures:
        pytest.fail("\n".join([*found_wrong[:SHOWN], *map(str, failures[:SHOWN])]), pytrace=False)
    assert ledger.uploaded >= uploads
    assert ledger.downloaded >= downloads
