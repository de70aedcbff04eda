"""What a worker remembers of clients, shares with others and keeps over restarts."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
from typing import TYPE_CHECKING, Any

import procfs
import pytest
import serving

from hmacfs import log, metrics
from hmacfs.config.settings import Settings
from hmacfs.config.tuning import Performance, Streaming
from hmacfs.connection import ClientProfiles, clients
from hmacfs.http.hints import Hints
from hmacfs.model import Endpoint, KiB, MiB, Secret
from hmacfs.policy import quality
from hmacfs.policy.chunks import ChunkedUpload
from hmacfs.policy.profiles import UNKNOWN
from hmacfs.policy.quality import Quality
from hmacfs.store import ProfileDatabase

if TYPE_CHECKING:
    from pathlib import Path

DOOR = Endpoint(prefix="/", directory="", protocols=("v2",), secrets=(Secret(b"s" * 32),))
SETTINGS = Settings(endpoints=(DOOR,))
DAY_S = 86_400.0
HOST = "203.0.113.7:4711"
FILE = ChunkedUpload(size=100 * MiB, left=100 * MiB, keeps_partial=False)


class Site:
    """A storage, and the workers that share it; time passes when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_700_000_000.0
        self.log = log.Log(path=str(path / "log"))
        (path / ".hmacfs").mkdir()

    def worker(self, settings: Settings = SETTINGS) -> ClientProfiles:
        row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        shared = ProfileDatabase(str(self.path), clients.MOST)
        return ClientProfiles(settings, shared, row, journal=self.log, now=lambda: self.now)

    def logged(self) -> str:
        self.log.flush()
        return (self.path / "log").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def performing(**changed: Any) -> Settings:
    return dataclasses.replace(SETTINGS, performance=Performance(**changed))


def known(worker: ClientProfiles, client: str = HOST, owner: str = "") -> bytes:
    key = worker.key(client, owner)
    assert key is not None
    return key


def download(worker: ClientProfiles, rate: float, client: str = HOST, seconds: float = 4.0) -> None:
    observed = worker.observations(known(worker, client))
    observed.taken += int(rate * seconds)
    observed.taking_s += seconds


async def shared(*workers: ClientProfiles) -> None:
    for worker in workers:
        await worker.synchronize()


async def closed(*workers: ClientProfiles) -> None:
    for worker in workers:
        await worker.close()


def test_two_workers_know_what_one_saw(site: Site) -> None:
    async def both() -> None:
        one, other = site.worker(), site.worker()
        download(one, 50 * KiB)
        assert one.profile(known(one)).quality is Quality.POOR  # before it is shared
        assert other.profile(known(other)) == UNKNOWN
        await shared(one, other)
        assert other.profile(known(other)).quality is Quality.POOR
        assert one.profile(known(one)) == other.profile(known(other))
        for worker in (one, other):
            worker.observations(known(worker)).uploads.started += 1
        await shared(one, other, one)
        assert one.profile(known(one)).uploads.started == 2
        await closed(one, other)

    asyncio.run(both())


def test_clients_are_known_again_after_a_restart_until_they_are_forgotten(site: Site) -> None:
    async def lives() -> None:
        first = site.worker()
        download(first, 50 * KiB)
        await first.close()  # brings what is left
        site.now += 600
        second = site.worker()
        await second.synchronize()
        assert second.profile(known(second)).quality is Quality.POOR
        site.now += DAY_S
        assert second.profile(known(second)) == UNKNOWN
        await second.close()

    asyncio.run(lives())


@pytest.mark.parametrize("hashed", [True, False])
def test_addresses_are_readable_in_no_file_if_they_are_hashed(site: Site, hashed: bool) -> None:  # noqa: FBT001
    async def live() -> None:
        worker = site.worker(performing(hash_client_addresses=hashed))
        download(worker, 1 * MiB)
        worker.observations(known(worker, owner="me@example.org")).uploads.started += 1
        await worker.close()

    asyncio.run(live())
    content = b"".join(file.read_bytes() for file in (site.path / ".hmacfs").iterdir())
    for name in (b"203.0.113.7", b"me@example.org"):
        assert (name in content) is not hashed


def test_many_addresses_take_bounded_memory(site: Site) -> None:
    """100,000 of them, which is what somebody with a small IPv6 network has for nothing."""

    async def flood() -> None:
        worker = site.worker()
        before = procfs.rss_bytes(os.getpid())
        for first, second in itertools.product(range(100), range(1000)):
            client = f"[2001:db8:{first:x}:{second:x}::1]:1"
            worker.observations(known(worker, client)).uploads.started += 1
            if second == 0 and first % 5 == 0:
                await worker.synchronize()
        grown = procfs.rss_bytes(os.getpid()) - before
        serving.figure(f"100,000 clients: {grown / MiB:.1f} MiB")
        assert grown < 24 * MiB
        await worker.close()

    asyncio.run(flood())


def test_acquaintances_that_cannot_be_used_are_told_once_and_done_without(site: Site) -> None:
    async def live() -> None:
        (site.path / ".hmacfs").rmdir()
        worker = site.worker()
        download(worker, 50 * KiB)
        await worker.synchronize()
        await worker.synchronize()
        assert worker.profile(known(worker)).quality is Quality.POOR
        download(worker, 50 * KiB)
        await worker.close()

    asyncio.run(live())
    assert site.logged().count("client-profiles-unsaved") == 1


def test_without_profiles_nobody_is_known(site: Site) -> None:
    worker = site.worker()
    download(worker, 50 * KiB)
    worker.reconfigure(performing(client_profiling=False))
    assert worker.key(HOST, "") is None
    assert worker.profile(worker.key(HOST, "")) == UNKNOWN
    asyncio.run(closed(worker))
    assert list((site.path / ".hmacfs").iterdir()) == []


def test_the_gauges_show_the_last_minute(site: Site) -> None:
    buffer = memoryview(bytearray(metrics.memory_bytes(1)))
    worker = ClientProfiles(
        SETTINGS,
        ProfileDatabase(str(site.path), 10),
        metrics.CounterRow(buffer, 0),
        journal=site.log,
        now=lambda: site.now,
    )

    def shown() -> dict[str, float]:
        lines = metrics.render(metrics.Collector(buffer, 1)).decode().splitlines()
        pairs = [line.split() for line in lines if line.startswith("hmacfs_network_")]
        return {name.removeprefix("hmacfs_network_"): float(value) for name, value in pairs}

    async def minutes() -> None:
        await worker.synchronize()
        assert shown() == {}
        worker.speed.add(3 * MiB, 2.0)
        worker.speed.add(1 * MiB, 2.0)
        worker.latency.add(0.05, 1)
        worker.latency.add(0.15, 1)
        worker.reliability.add(1, 1)
        worker.reliability.add(0, 1)
        await worker.synchronize()
        want = {"speed_bytes_per_second": MiB, "latency_seconds": 0.1, "reliability_ratio": 0.5}
        assert shown() == pytest.approx(want)
        for _ in range(500):
            await worker.synchronize()
        assert shown() == {}
        await worker.close()

    asyncio.run(minutes())


def test_hints_count_while_nothing_was_measured(site: Site) -> None:
    worker = site.worker()
    slow = Hints(rate=20.0 * KiB, round_trip_s=1.0)
    assert worker.treatment(UNKNOWN, None) == quality.AS_EVER
    assert worker.treatment(UNKNOWN, Hints()) == quality.AS_EVER
    assert worker.treatment(UNKNOWN, Hints(frugal=True)) == quality.TREATMENTS[Quality.FAIR]
    assert worker.treatment(UNKNOWN, slow) == quality.TREATMENTS[Quality.POOR]
    assert worker.advise(UNKNOWN, slow, FILE) < worker.advise(UNKNOWN, None, FILE)
    near = worker.observations(known(worker))
    near.round_trips_s, near.round_trips = 0.001, 1
    profile = worker.profile(known(worker))
    assert worker.treatment(profile, slow) == quality.TREATMENTS[Quality.POOR]  # near, and slow all the same
    download(worker, 5 * MiB)
    profile = worker.profile(known(worker))
    assert worker.treatment(profile, slow) == quality.TREATMENTS[Quality.GOOD]
    worker.reconfigure(dataclasses.replace(SETTINGS, streaming=Streaming(quality_adaptation=False)))
    assert worker.treatment(profile, slow) == quality.AS_EVER
    asyncio.run(closed(worker))


@pytest.mark.parametrize(
    ("changed", "want"),
    [
        ({"intelligent_chunking": False}, 2 * MiB),
        ({"intelligent_chunking": False, "max_chunk_size": MiB}, MiB),
        ({"chunk_adaptation_algorithm": "fixed"}, 2 * MiB),
        ({"chunk_adaptation_algorithm": "adaptive"}, 2 * MiB),
        ({"chunk_adaptation_algorithm": "predictive", "min_chunk_size": 5 * MiB}, 5 * MiB),
    ],
)
def test_chunks_are_advised_as_the_site_wishes(site: Site, changed: dict[str, Any], want: int) -> None:
    worker = site.worker(performing(**changed))
    assert worker.advise(UNKNOWN, None, FILE) == want
    asyncio.run(closed(worker))
