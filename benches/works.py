"""What is measured: the works in the order in which they run, each with its contenders and its bars."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benches import contenders, figures, load, measure, memory
from benches.figures import Bar
from benches.load import Link, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.figures import Sample

    Measure = Callable[[Trial], dict[str, float]]

REQUEST: Final = "cpu_per_request_s"
VOLUME: Final = "cpu_per_gb_s"
COLUMNS: Final = ("p50_s", "p99_s", "server_busy", "client_busy")

ALL: Final = ("hmacfs", "nginx", "nginx_cache", "h2o", "caddy", "aiohttp", "granian")
FILES: Final = ("hmacfs", "nginx", "nginx_cache", "h2o", "caddy")
UPLOADS: Final = ("hmacfs", "hmacfs_relaxed", "nginx", "nginx_1m")
RESUMABLE_RELAXED: Final = ("hmacfs_ietf_relaxed", "hmacfs_tus_relaxed")
QUICK: Final = ("hmacfs", "nginx")
SLOW_RIVALS: Final = (
    Bar("caddy", 0.40, REQUEST),
    Bar("aiohttp", 0.15, REQUEST),
    Bar("granian", 0.15, REQUEST),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of work."""

    title: str
    measure: Measure
    figure: str  # what decides, of figures.FIGURES
    columns: tuple[str, ...] = ()  # what is shown beside it
    contenders: tuple[str, ...]
    quick: tuple[str, ...] = ()  # those of a quick run; none: not part of it
    bars: tuple[Bar, ...] = ()
    traced: bool = True  # whether system calls are counted
    fresh: bool = False  # whether every run needs a server just started
    repeats: bool = True  # whether runs differ, so that several are worth while


def by(client: Callable[[Trial], Sample]) -> Measure:
    """Measure the servers' CPU time while a client runs."""

    def measured(trial: Trial) -> dict[str, float]:
        pids = trial.server.pids
        before, client_before = measure.cpu_s(pids), load.client_cpu_s()
        sample = client(trial)
        measure.settle(pids)
        if sample.errors:
            raise RuntimeError(f"{trial.server.name}: {sample}")
        if not sample.requests:
            raise TimeoutError(f"{trial.server.name} has not answered a single request in time")
        return figures.of_sample(
            sample,
            server_cpu_s=measure.cpu_s(pids) - before,
            client_cpu_s=load.client_cpu_s() - client_before,
        )

    return measured


def get(size: str) -> Measure:
    """GET one file by wrk."""
    return by(lambda trial: load.wrk(trial, trial.folder.target(size)))


def listed(name: str) -> Measure:
    """GET what a list of requests says, by wrk."""
    return by(lambda trial: load.wrk(trial, str(trial.folder.requests(name))))


def unmodified(trial: Trial) -> Sample:
    """GET what the client has: 304."""
    target = trial.folder.target("1k")
    _, fields, _ = trial.server.fetch(target)
    return load.wrk(trial, target, fields=(f"If-None-Match: {fields['etag']}",))


def large(size: str, connections: int) -> Measure:
    """GET a large file by a client that costs next to nothing."""
    return by(lambda trial: load.download(trial, size, connections=connections))


def put(size: str, connections: int) -> Measure:
    """PUT new files, each unlinked as soon as it is acknowledged."""
    return by(lambda trial: load.upload(trial, size, connections=connections))


def mixed(trial: Trial) -> dict[str, float]:
    """GET 1 KiB at a steady rate while 16 large uploads and 16 large downloads run.

    The large ones' clients yield the core to the small one's, so that its p99 is the server's and not theirs.
    """
    ahead_s = 0.5
    pids = trial.server.pids
    before, client_before = measure.cpu_s(pids), load.client_cpu_s()
    longer = Trial(server=trial.server, folder=trial.folder, seconds=trial.seconds + 2 * ahead_s)
    bulk = [
        load.start_upload(longer, "32m", connections=16, nice=19),
        load.start_download(longer, "100m", connections=16, nice=19),
    ]
    time.sleep(ahead_s)
    small = load.h2load(trial, trial.folder.target("1k"), connections=8, rate=50)
    moved = [load.finish(client) for client in bulk]
    measure.settle(pids)
    if small.errors:
        raise RuntimeError(f"{trial.server.name}: {small}")
    cpu_s, seconds = measure.cpu_s(pids) - before, max(sample.seconds for sample in moved)
    total = sum(sample.bytes for sample in moved)
    return {
        "p99_s": small.p99_s,
        "p50_s": small.p50_s,
        VOLUME: cpu_s / total * figures.GB,
        "bytes_per_s": total / seconds,
        "server_busy": cpu_s / seconds,
        "client_busy": (load.client_cpu_s() - client_before) / seconds,
    }


def over(size: str, link: Link, connections: int) -> Measure:
    """PUT new files over a link of its own for each connection."""
    return by(lambda trial: load.upload_over(trial, size, link, connections=connections))


def everywhere(client: Callable[[Trial], Sample]) -> Measure:
    """Measure with the client on all cores, as the server is."""
    return by(
        lambda trial: client(
            Trial(
                server=trial.server, folder=trial.folder, seconds=trial.seconds, cores=contenders.BOTH_CORES
            )
        )
    )


def _get(title: str, size: str, *bars: Bar, quick: tuple[str, ...] = ()) -> Work:
    return Work(
        title=title,
        measure=get(size),
        figure=REQUEST,
        columns=("requests_per_s", *COLUMNS),
        contenders=ALL,
        quick=quick,
        bars=bars,
    )


def _large(title: str, size: str, connections: int, quick: tuple[str, ...]) -> Work:
    return Work(
        title=title,
        measure=large(size, connections),
        figure=VOLUME,
        columns=("bytes_per_s", *COLUMNS),
        contenders=ALL,
        quick=quick,
        bars=(Bar("nginx", 1.0, VOLUME),),
    )


def _put(
    title: str, size: str, connections: int, *bars: Bar, figure: str = REQUEST, quick: tuple[str, ...] = ()
) -> Work:
    return Work(
        title=title,
        measure=put(size, connections),
        figure=figure,
        columns=("requests_per_s" if figure == REQUEST else "bytes_per_s", *COLUMNS),
        contenders=UPLOADS,
        quick=quick,
        bars=bars,
    )


def _scale(title: str, client: Callable[[Trial], Sample], figure: str) -> Work:
    return Work(
        title=title,
        measure=everywhere(client),
        figure=figure,
        columns=COLUMNS,
        contenders=("hmacfs_2_of_2", "hmacfs_1_of_2"),
        bars=(Bar("hmacfs_1_of_2", 1.7, figure, ours="hmacfs_2_of_2", at_least=True),),
        traced=False,
    )


def _memory(title: str, measured: Measure, contenders: tuple[str, ...]) -> Work:
    return Work(
        title=title,
        measure=measured,
        figure="memory_bytes",
        contenders=contenders,
        traced=False,
        fresh=True,
        repeats=False,
    )


def _link(title: str, link: Link, size: str, connections: int, *bars: Bar) -> Work:
    fixed = ("hmacfs_32kb", "hmacfs_256kb", "hmacfs_1mb", "hmacfs_4mb")
    return Work(
        title=f"PUT over {title}",
        measure=over(size, link, connections),
        figure="bytes_per_s",
        columns=(VOLUME, *COLUMNS),
        contenders=("hmacfs_relaxed", *fixed, "nginx"),
        bars=(
            *(Bar(one, 0.95, "bytes_per_s", ours="hmacfs_relaxed", at_least=True) for one in fixed),
            *bars,
        ),
        traced=False,
    )


WORKS: Final = {
    "get_1k": _get(
        "GET 1 KiB, keep-alive",
        "1k",
        *(Bar("nginx", 0.65, REQUEST), Bar("nginx_cache", 0.90, REQUEST), Bar("h2o", 1.00, REQUEST)),
        *SLOW_RIVALS,
        quick=ALL[:4],
    ),
    "get_1k_h2load": Work(
        title="GET 1 KiB, keep-alive, by h2load",
        measure=by(lambda trial: load.h2load(trial, trial.folder.target("1k"))),
        figure=REQUEST,
        columns=("requests_per_s", *COLUMNS),
        contenders=FILES,
    ),
    "get_16k": _get("GET 16 KiB", "16k"),
    "get_64k": _get("GET 64 KiB", "64k", Bar("nginx", 0.80, REQUEST), *SLOW_RIVALS, quick=QUICK),
    "get_1m": _large("GET 1 MiB", "1m", 16, QUICK),
    "get_100m": _large("GET 100 MiB", "100m", 4, ()),
    "get_zipf": Work(
        title="GET 1 KiB of 10,000 files (Zipf)",
        measure=listed("zipf"),
        figure=REQUEST,
        columns=("requests_per_s", *COLUMNS),
        contenders=ALL,
    ),
    "unmodified": Work(
        title="GET 1 KiB that has not changed (304)",
        measure=by(unmodified),
        figure=REQUEST,
        columns=("requests_per_s", *COLUMNS),
        contenders=ALL,
        quick=QUICK,
        bars=(Bar("nginx", 0.70, REQUEST),),
    ),
    "range_64k": Work(
        title="GET 64 KiB of 1 GiB (Range)",
        measure=listed("ranges"),
        figure=REQUEST,
        columns=("requests_per_s", *COLUMNS),
        contenders=ALL,
        quick=QUICK,
        bars=(Bar("nginx", 0.90, REQUEST),),
    ),
    "put_1k": _put("PUT 1 KiB", "1k", 16),
    "put_64k": _put(
        "PUT 64 KiB",
        "64k",
        16,
        Bar("nginx", 0.80, REQUEST, ours="hmacfs_relaxed"),
        quick=("hmacfs_relaxed", "nginx"),
    ),
    "put_1m": _put("PUT 1 MiB", "1m", 8, figure=VOLUME),
    "put_100m": _put("PUT 100 MiB", "100m", 4, Bar("nginx", 0.40, VOLUME), figure=VOLUME, quick=QUICK),
    "put_pieces": Work(
        title="PUT 100 MiB, whole and in resumable requests of 5 MiB",
        measure=put("100m", 4),
        figure=VOLUME,
        columns=("bytes_per_s", *COLUMNS),
        contenders=("hmacfs", "hmacfs_ietf", "hmacfs_tus", "hmacfs_relaxed", *RESUMABLE_RELAXED),
        bars=(
            *(Bar("hmacfs", 1.3, VOLUME, ours=ours) for ours in ("hmacfs_ietf", "hmacfs_tus")),
            *(Bar("hmacfs_relaxed", 1.3, VOLUME, ours=ours) for ours in RESUMABLE_RELAXED),
        ),
    ),
    "buffers": Work(
        title="PUT 100 MiB with adaptive buffers and with fixed ones",
        measure=put("100m", 4),
        figure=VOLUME,
        columns=("bytes_per_s", *COLUMNS),
        contenders=("hmacfs_relaxed", *contenders.FIXED),
        bars=(
            Bar("hmacfs_32kb", 0.5, VOLUME, ours="hmacfs_relaxed"),
            Bar("hmacfs_32kb", 1.5, "bytes_per_s", ours="hmacfs_relaxed", at_least=True),
            *(Bar(fixed, 1.05, VOLUME, ours="hmacfs_relaxed") for fixed in contenders.FIXED),
        ),
    ),
    "link_slow": _link(
        "slow links: 8 of 1 MB/s, 40 ms",
        Link(rate=1e6, delay_s=0.04),
        "1m",
        8,
        Bar("nginx", 1.0, VOLUME, ours="hmacfs_relaxed"),
    ),
    "link_fast": _link("fast links: 2 of 100 MB/s, 2 ms", Link(rate=1e8, delay_s=0.002), "32m", 2),
    "link_stalls": _link(
        "links that stall: 4 of 10 MB/s, 0.2 s in each 0.5 s",
        Link(rate=1e7, delay_s=0.02, stall_s=0.2, every_s=0.5),
        "1m",
        4,
    ),
    "mixed": Work(
        title="GET 1 KiB beside 16 large uploads and 16 large downloads",
        measure=mixed,
        figure="p99_s",
        columns=("p50_s", VOLUME, "bytes_per_s", "server_busy", "client_busy"),
        contenders=QUICK,
        quick=QUICK,
        bars=(Bar("nginx", 1.0, "p99_s"),),
        traced=False,
    ),
    "scale_1k": _scale(
        "2 workers, GET 1 KiB",
        lambda trial: load.wrk(trial, trial.folder.target("1k"), connections=64, threads=2),
        "requests_per_s",
    ),
    "scale_1m": _scale(
        "2 workers, GET 1 MiB", lambda trial: load.download(trial, "1m", connections=32), "bytes_per_s"
    ),
    "memory_idle": _memory("Memory of an idle connection", memory.idle, ALL),
    "memory_upload": _memory("Memory of an upload under way", memory.uploading, UPLOADS),
}
"""Every work by its name: what ONLY= takes."""
