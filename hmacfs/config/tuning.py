"""The settings that tune transfers: buffers, chunks, slow clients, a storage in trouble.

As `settings`, of which they are two tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmacfs.config.keys import ValueKind, setting
from hmacfs.model import KiB, MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """Table [streaming]: what is done about slow clients, and about a storage or an index in trouble."""

    range_requests: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether a download may ask for a part of a file (206); else it gets all of it, and one "
        "that broke off begins anew.",
    )
    connection_multiplexing: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether one upload may come over several connections at the same time: as partial "
        "uploads of tus that are joined (concatenation), or in chunks, if concurrent_chunk_uploads is "
        "true.",
    )
    bandwidth_estimation: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether rates and round trips of transfers are measured, for profiles and metrics.",
    )
    quality_adaptation: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether large transfers are treated by how good their client's line is known to be: the "
        "worse, the smaller the turns of a download, the less of it waits in the kernel, and the longer "
        "a body may take to average min_rate (twice readtimeout at most, and not above 2m).",
    )
    excellent_rate: int = setting(
        ValueKind.SIZE, 10 * MiB, "Bytes a second from which on a line is excellent.", least=1
    )
    good_rate: int = setting(ValueKind.SIZE, 1 * MiB, "The same for a good one.", least=1)
    fair_rate: int = setting(
        ValueKind.SIZE, 128 * KiB, "The same for a fair one; below it a line is poor.", least=1
    )
    excellent_latency_s: float = setting(
        ValueKind.DURATION,
        0.05,
        "Round trip up to which a line is excellent; the worse of rate and round trip decides.",
        name="excellent_latency",
        least=0.001,
    )
    good_latency_s: float = setting(
        ValueKind.DURATION, 0.15, "The same for a good one.", name="good_latency", least=0.001
    )
    fair_latency_s: float = setting(
        ValueKind.DURATION,
        0.4,
        "The same for a fair one; above it a line is poor.",
        name="fair_latency",
        least=0.001,
    )

    automatic_retry: bool = setting(
        ValueKind.FLAG,
        True,
        "A step of an upload that the storage put off (EAGAIN, EBUSY, EINTR) is tried again, "
        "five times and within half a second, before the client gets 503.",
    )
    exponential_backoff: bool = setting(
        ValueKind.FLAG,
        True,
        "The waits between those tries double, each cut short by chance; else all are 45 ms.",
    )
    circuit_breaker: bool = setting(
        ValueKind.FLAG,
        True,
        "While the storage or the index keeps failing, a worker answers uploads with 503 at "
        "once, for 1 s at first and for 60 s at most; then the next upload shows whether it is well.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Table [performance]: buffers, what is remembered of clients, and the chunks advised to them."""

    adaptive_buffers: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether uploads are read with the size of buffer that has cost the least processor time here, and "
        "hold for a slow disk as much as their client has lately filled; else both are min_buffer_size.",
        fixed=True,
    )
    min_buffer_size: int = setting(
        ValueKind.SIZE,
        32 * KiB,
        "Smallest buffer; sizes are powers of two, so this and the next are rounded down to one.",
        fixed=True,
        least=16 * KiB,
        most=16 * MiB,
    )
    # Larger ones gain next to nothing: 1, 2 and 4 MiB took 0.38 to 0.40 ns of CPU a byte, 32 KiB 0.64,
    # 64 KiB 0.47, 128 KiB 0.42, 256 and 512 KiB 0.39; `python -m benches.run --only buffers` has the whole
    # server's.
    max_buffer_size: int = setting(
        ValueKind.SIZE,
        1 * MiB,
        "Largest buffer; each worker has one that all its uploads use in turn.",
        fixed=True,
        least=16 * KiB,
        most=16 * MiB,
    )
    initial_buffer_size: int = setting(
        ValueKind.SIZE,
        256 * KiB,
        "Held for a slow disk where the client has filled no buffer yet; kept between the other two.",
        fixed=True,
    )
    buffer_optimization_interval_s: float = setting(
        ValueKind.DURATION,
        300,
        "How often the size that costs the site least is looked for among all that were tried; "
        "with few fast uploads, less often.",
        name="buffer_optimization_interval",
        least=1,
    )
    max_memory_usage: int = setting(
        ValueKind.SIZE,
        256 * MiB,
        "Most memory for the buffers of all workers; each has at least 256KB. Where it is short "
        "buffers are smaller, and then uploads to a slow disk wait for one.",
        fixed=True,
        least=1 * MiB,
    )
    client_profiling: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether it is remembered how quick and how reliable each client is: by the owner that a "
        "token names, else by IPv4 address or IPv6 /64 network.",
    )
    profile_persistence_duration_s: float = setting(
        ValueKind.DURATION,
        86_400,
        "How long after its last transfer a client is remembered, over restarts too "
        "(storage_path/.hmacfs/clients.db).",
        name="profile_persistence_duration",
        least=60,
    )
    hash_client_addresses: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether clients are remembered under keyed hashes, so that the file tells nobody who "
        "was here. The key follows from the first secret; with another one all are strangers again.",
    )
    connection_type_detection: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether Save-Data, ECT, Downlink, RTT and User-Agent make a first guess at the line of "
        "a client that is not known yet.",
    )
    intelligent_chunking: bool = setting(
        ValueKind.FLAG, True, "Whether chunks are advised by what is known of the client; else they are 2MB."
    )
    min_chunk_size: int = setting(ValueKind.SIZE, 256 * KiB, "Smallest chunk that is advised.", least=1 * KiB)
    max_chunk_size: int = setting(ValueKind.SIZE, 10 * MiB, "Largest chunk that is advised.", least=1 * KiB)
    # The figures are in docs/decisions.md.
    chunk_adaptation_algorithm: str = setting(
        ValueKind.CHOICE,
        "predictive",
        '"fixed": 2MB; "adaptive": a share of the file by the kind of line; "predictive": what '
        "costs least time by rate, round trip and how often the client's connections break.",
        choices=("fixed", "adaptive", "predictive"),
    )
