"""kill -9 under load, again and again on one storage: nothing acknowledged is lost, nothing partial seen."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import TYPE_CHECKING

import load
import pytest
import serving
import storage
from load import Load, Moment, Strike, kill_all

from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = 20
GRACE_S = 3600
STATE = {
    "index.db",
    "index.db-wal",
    "index.db-shm",
    "clients.db",
    "clients.db-wal",
    "clients.db-shm",
    "uploads",
    "owners",
    "open.lock",
    "remove.lock",
    "sweep.lock",
    "reconcile.lock",
}
WORKERS = 2


def strike(chance: random.Random, act: Callable[[], None]) -> Strike:
    return Strike(chance.randint(1, 60), chance.choice(list(Moment)), act)


def kill_one_worker(server: serving.Server, chance: random.Random, seed: str) -> Load:
    """Kill a worker under load: the clients go on, the others too, and it is replaced."""
    victim = chance.choice(server.workers)
    with Load(server, seed, clients=4, strike=strike(chance, lambda: load.kill(victim))) as pressure:
        assert pressure.struck.wait(serving.PATIENCE_S)
        server.wait_for("worker-died")
        pressure.wait_acknowledged(20)
    assert not pressure.others
    return pressure


def kill_everything(server: serving.Server, chance: random.Random, seed: str) -> Load:
    """Kill supervisor and workers under load."""
    clients = chance.choice((1, 4, 12))
    with Load(server, seed, clients=clients, strike=strike(chance, lambda: kill_all(server))) as pressure:
        assert pressure.struck.wait(serving.PATIENCE_S)
    assert not pressure.others
    return pressure


def assert_all_is_read_back(server: serving.Server, acknowledged: list[str]) -> None:
    with server.connect() as sock:
        for rel in acknowledged:
            sock.sendall(serving.head("GET", f"/upload/{rel}", None))
            answer = serving.read_answer(sock)
            assert (answer.status, answer.body) == (200, load.body_of(rel)), rel


def assert_rows_match(root: Path, *, exactly: bool) -> None:
    """Each file has its row; rows without a file are of uploads that a kill interrupted."""
    files = {
        (str(path.relative_to(root)), path.stat().st_mtime_ns)
        for path in (root / "upload").rglob("*")
        if path.is_file()
    }
    rows = set(storage.rows(root))
    assert files <= rows
    assert not exactly or files == rows


def reconcile_later(root: Path) -> None:
    """Do what the first start after the grace time of young rows does."""
    store = Store.open(str(root), storage.rules(), clock_ns=lambda: time.time_ns() + 2 * GRACE_S * 10**9)
    assert asyncio.run(store.reconcile()) is not None
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_by_kills_under_load(
    tmp_path: Path, rounds: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    text = serving.configuration(tmp_path / "store", workers=WORKERS)
    root = tmp_path / "store"
    requested: set[str] = set()
    acknowledged: list[str] = []
    starts_s: list[float] = []
    workers_killed = 0
    cycles = rounds(8, 50)
    for cycle in range(cycles):
        chance = random.Random(f"{SEED}/{cycle}")
        fresh: list[str] = []
        began = time.monotonic()
        with load.start_group(tmp_path, text) as server:
            starts_s.append(time.monotonic() - began)
            attacks = [kill_everything] if cycle % 3 else [kill_one_worker, kill_everything]
            for attack in attacks:
                pressure = attack(server, chance, f"{SEED}/{cycle}/{attack.__name__}")
                requested |= pressure.requested
                fresh += pressure.acknowledged
            workers_killed += len(attacks) - 1
        acknowledged += fresh
        verdict = load.judge(root / "upload", requested, acknowledged)
        assert verdict == load.SOUND, f"cycle {cycle}"
        with load.start_group(tmp_path, text) as server:
            server.wait_for("reconcile-done")
            assert_all_is_read_back(server, fresh)
            assert_rows_match(root, exactly=False)
            kill_all(server)
        assert {path.name for path in (root / ".hmacfs").iterdir()} <= STATE
    reconcile_later(root)
    assert_rows_match(root, exactly=True)
    assert statistics.median(starts_s) < 10
    figure(
        f"seed {SEED}: {cycles} kills of all processes and {workers_killed} of one worker of {WORKERS}, "
        f"{len(requested)} uploads begun, {len(acknowledged)} acknowledged: 0 lost, 0 torn, 0 strange; "
        f"start median {statistics.median(starts_s):.2f} s, max {max(starts_s):.2f} s"
    )
