"""The clients that this worker knows: what is seen of them is noted here, and shared with other workers.

Noting costs a few additions. What follows from them is worked out when somebody asks, and every few seconds
on a thread, where all workers bring what they have seen to one file and read what the others brought.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from hmacfs.http.target import host_of
from hmacfs.metrics import catalogue
from hmacfs.policy import client_key, profiles, quality
from hmacfs.policy.profiles import UNKNOWN, Observations, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hmacfs import log, metrics
    from hmacfs.config.settings import Settings
    from hmacfs.connection.tcp_info import TcpInfo
    from hmacfs.http.hints import Hints
    from hmacfs.policy import chunks
    from hmacfs.store import ProfileDatabase

MOST: Final = 4096
"""Clients that a worker remembers, and the file of all; each takes 1 KiB here."""

# Renewed in one go: reading, judging and writing one takes 80 us, mostly with the interpreter held.
BATCH: Final = 256
# How often they are: a client that comes back meanwhile is known to its worker, and to others then.
SHARE_S: Final = 5.0
# The gauges' sums lose half in a minute.
KEPT_SHARE: Final = 0.5 ** (SHARE_S / 60.0)


class DecayingMean:
    """The sum of something over the last minute or so, and how much of it there was."""

    __slots__ = ("total", "weight")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total = 0.0
        self.weight = 0.0

    def add(self, total: float, weight: float) -> None:
        """Take `weight` more into account, which add up to `total`."""
        self.total += total
        self.weight += weight

    def fade(self) -> None:
        """Let what is older count for less; called each time that clients are shared."""
        self.total *= KEPT_SHARE
        self.weight *= KEPT_SHARE


class ClientProfiles:
    """One worker's memory of clients. For the event loop's thread, but where it says otherwise."""

    def __init__(
        self,
        settings: Settings,
        shared: ProfileDatabase,
        row: metrics.CounterRow,
        *,
        journal: log.Log,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Share by `shared`, count in `row`; `journal` hears why that fails, `now` is the wall clock."""
        self._shared = shared
        self._row = row
        self._journal = journal
        self._now = now
        self._thread = ThreadPoolExecutor(1, "hmacfs-clients")
        self._known: OrderedDict[bytes, Profile] = OrderedDict()
        self._fresh: OrderedDict[bytes, Observations] = OrderedDict()
        self._sharing: dict[bytes, Observations] | None = None  # what is on its way to the others
        self._version = 0  # of what is shared, as far as it has been read
        self._failed = False
        self.speed = DecayingMean()
        """Bytes moved, and the seconds that it took."""
        self.latency = DecayingMean()
        """Round trips, and how many."""
        self.reliability = DecayingMean()
        """Uploads that did not break off, and all."""
        self.reconfigure(settings)

    def reconfigure(self, settings: Settings) -> None:
        """Go by other settings from the next transfer on."""
        performance, streaming = settings.performance, settings.streaming
        secret = None
        if performance.hash_client_addresses:
            secret = client_key.derive(settings.endpoints[0].secrets[0].reveal())
        self._key = functools.lru_cache(MOST)(functools.partial(client_key.key, secret=secret))
        self._keep_s = performance.profile_persistence_duration_s
        self._bounds = quality.LineThresholds(
            rates=(streaming.excellent_rate, streaming.good_rate, streaming.fair_rate),
            latencies_s=(streaming.excellent_latency_s, streaming.good_latency_s, streaming.fair_latency_s),
        )
        self._chunks = profiles.chunk_rules(
            intelligent=performance.intelligent_chunking,
            algorithm=performance.chunk_adaptation_algorithm,
            least=performance.min_chunk_size,
            most=performance.max_chunk_size,
        )
        self.remembers = performance.client_profiling
        """Whether profiles are kept."""
        if not self.remembers:
            self._known.clear()
            self._fresh.clear()
        self.measures = streaming.bandwidth_estimation
        """Whether rates and round trips are to be noted."""
        self.adapts = streaming.quality_adaptation
        """Whether clients are treated by what is known of them."""
        self.takes_hints = performance.connection_type_detection
        """Whether a guess may be made of what a client says itself."""

    def key(self, client: str, owner: str) -> bytes | None:
        """Return the key of `owner` ("" if not known) at `client`, as the log has it; None if unknown."""
        return self._key(host_of(client), owner) if self.remembers else None

    def observations(self, key: bytes) -> Observations:
        """Return what was lately seen of a client, to be added to."""
        observed = self._fresh.get(key)
        if observed is None:
            observed = self._fresh[key] = Observations()
            if len(self._fresh) > MOST:
                self._fresh.popitem(last=False)
        return observed

    def measured(self, client: str, reading: TcpInfo, observed: Observations | None) -> None:
        """Take what the kernel knows of a line into account, for a client's profile if it has one."""
        self.latency.add(reading.round_trip_s, 1)
        if observed is not None:
            observed.round_trips_s += reading.round_trip_s
            observed.round_trips += 1
        self._journal.event("debug", "tcp-info", client=client, **reading._asdict())

    def profile(self, key: bytes | None) -> Profile:
        """Return what is known of a client; UNKNOWN if nothing is."""
        if key is None:
            return UNKNOWN
        now = self._now()
        profile = self._known.get(key, UNKNOWN)
        if now - profile.seen > self._keep_s:
            profile = UNKNOWN
        for seen in (self._sharing or {}, self._fresh):
            if (observed := seen.get(key)) is not None:
                profile = profiles.updated(profile, observed, self._bounds, now)
        return profile

    def treatment(self, profile: Profile, hints: Hints | None) -> quality.Treatment:
        """Return what is to be done for a client; `hints` count while its rate is not known."""
        if not self.adapts:
            return quality.AS_EVER
        found = profile.quality
        if found is None and hints is not None:
            found = quality.judge(hints.rate, profile.round_trip_s or hints.round_trip_s, self._bounds)
            if hints.frugal:
                found = quality.Quality.FAIR if found is None else min(found, quality.Quality.FAIR)
        return quality.AS_EVER if found is None else quality.TREATMENTS[found]

    def advise(self, profile: Profile, hints: Hints | None, upload: chunks.ChunkedUpload) -> int:
        """Return the bytes of the next chunk of `upload`."""
        if hints is not None:
            profile = profiles.suspected(profile, hints.rate, hints.round_trip_s)
        return profiles.advise(profile, upload, self._chunks)

    async def synchronize(self) -> None:
        """Bring what was seen to the others, and read what others brought; not while that is under way."""
        self._show()
        if not self.remembers or self._sharing is not None:
            return
        count = min(BATCH, len(self._fresh))
        self._sharing = dict(self._fresh.popitem(last=False) for _ in range(count))
        work = functools.partial(self._exchange, self._sharing, self._now())
        try:
            found, self._version = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                self._journal.event("warn", "client-profiles-unsaved", error=str(error))
            self._failed = True
            # All the same they are known here.
            for key, observed in self._sharing.items():
                known = self._known.get(key, UNKNOWN)
                self._keep(key, profiles.updated(known, observed, self._bounds, self._now()))
        else:
            self._failed = False
            for key, profile in found:
                self._keep(key, profile)
        finally:
            self._sharing = None

    async def close(self) -> None:
        """Share what is left, and let go of the file."""
        while self._fresh and not self._failed:
            await self.synchronize()
        self._thread.shutdown()
        self._shared.close()

    def _exchange(
        self, seen: Mapping[bytes, Observations], now: float
    ) -> tuple[list[tuple[bytes, Profile]], int]:
        """Renew the profiles of those `seen`, and give all that are new, and the version of that.

        Runs on the thread. The last one is the one last seen.
        """

        def renewed(key: bytes, text: str | None) -> str:
            return profiles.dump(profiles.updated(_load(text), seen[key], self._bounds, now))

        news = self._shared.exchange(
            seen, renewed, since=self._version, now=now, forget_before=now - self._keep_s
        )
        return [(key, _load(text)) for key, text in reversed(news.rows)], news.version

    def _keep(self, key: bytes, profile: Profile) -> None:
        self._known[key] = profile
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _show(self) -> None:
        for mean, recent in (
            (catalogue.NETWORK_SPEED, self.speed),
            (catalogue.NETWORK_LATENCY, self.latency),
            (catalogue.NETWORK_RELIABILITY, self.reliability),
        ):
            self._row.set_mean(mean, recent.total, recent.weight)
            recent.fade()


def _load(text: str | None) -> Profile:
    """Return a profile that was shared; one that cannot be read is nothing known."""
    try:
        return UNKNOWN if text is None else profiles.load(text)
    except ValueError:
        return UNKNOWN
