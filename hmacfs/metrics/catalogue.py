"""The static table of everything that is counted: names, kinds, words, labels and the column of each.

Knows nothing of memory or of rendering. Names and units follow Prometheus' naming conventions; label
values come from closed lists only, since one made from a client's text would grow without bound.
"""

from __future__ import annotations

from typing import Final

from hmacfs import errors, model
from hmacfs.metrics.columns import Families, Metric, MetricKind
from hmacfs.model import NANOSECONDS, Dependency, GiB, KiB, MiB

OTHER: Final = "other"
"""Label value of everything that is on no list."""
METHODS: Final = (*model.METHODS, OTHER)
SUCCESSES: Final = ("ok", "created", "partial", "not_modified", "no_content", "temporary_redirect")
REFUSALS: Final = (*dict.fromkeys(refusal.code for refusal in errors.CATALOGUE), OTHER)
CODES: Final = (*SUCCESSES, *REFUSALS)
RESUMABLE: Final = tuple(protocol.value for protocol in model.UploadProtocol)
"""Languages of resumable uploads: their requests are not uploads each."""
DIALECTS: Final = (*model.DIALECTS, *RESUMABLE, OTHER)
CHANGES: Final = ("up", "down", "site")
BUFFER_CLASSES: Final = model.BUFFER_CLASSES

# A row holds integers: sums of seconds are kept in nanoseconds, enough for 292 years.
_FAMILIES = Families()

# From an avatar on a good line to 10 GiB on a bad one.
_TRANSFER_BOUNDS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
)
# From a write cache with a battery to a disk in trouble.
_COMMIT_BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
# Steps of 4, with the sizes that XMPP clients announce as their limits among them.
_SIZE_BOUNDS_BYTES = (
    KiB,
    4 * KiB,
    16 * KiB,
    64 * KiB,
    256 * KiB,
    MiB,
    4 * MiB,
    16 * MiB,
    64 * MiB,
    256 * MiB,
    GiB,
    4 * GiB,
    10 * GiB,
)
# What is advised lies between 256 KiB and 10 MiB; some clients choose for themselves.
_CHUNK_BOUNDS_BYTES = (
    16 * KiB,
    64 * KiB,
    256 * KiB,
    512 * KiB,
    MiB,
    2 * MiB,
    4 * MiB,
    6 * MiB,
    8 * MiB,
    10 * MiB,
    64 * MiB,
    GiB,
)
# Steps of 4, from a phone at the edge of its cell to loopback.
_THROUGHPUT_BOUNDS = (
    16 * KiB,
    64 * KiB,
    256 * KiB,
    MiB,
    4 * MiB,
    16 * MiB,
    64 * MiB,
    256 * MiB,
    GiB,
    4 * GiB,
)
_SHARE_BOUNDS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1)
_LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

REQUESTS: Final = _FAMILIES.by_method_and_code(
    Metric(
        "hmacfs_requests_total",
        MetricKind.COUNTER,
        "Requests answered, by method and by the stable word of the answer.",
        labels=("method", "code"),
        sparse=True,
    ),
    METHODS,
    CODES,
)
RECEIVED_BYTES: Final = _FAMILIES.counter(
    "hmacfs_received_bytes_total", "Bytes received from clients, heads included.", "bytes"
)
SENT_BYTES: Final = _FAMILIES.counter(
    "hmacfs_sent_bytes_total", "Bytes given to the kernel for clients, heads included.", "bytes"
)
UPLOADS: Final = _FAMILIES.by_label(
    Metric(
        "hmacfs_uploads_total",
        MetricKind.COUNTER,
        "Uploads stored and acknowledged, by token dialect or language of resumable uploads.",
        labels=("dialect",),
    ),
    DIALECTS,
)
UPLOAD_ERRORS: Final = _FAMILIES.by_label(
    Metric(
        "hmacfs_upload_errors_total",
        MetricKind.COUNTER,
        "Uploads refused or broken off, by the refusal's code.",
        labels=("code",),
    ),
    REFUSALS,
)
DOWNLOAD_ERRORS: Final = _FAMILIES.by_label(
    Metric(
        "hmacfs_download_errors_total",
        MetricKind.COUNTER,
        "Downloads refused or broken off, by the refusal's code.",
        labels=("code",),
    ),
    REFUSALS,
)
RANGE_REQUESTS: Final = _FAMILIES.counter(
    "hmacfs_range_requests_total", "Downloads that asked for a part of the file."
)
CONNECTIONS: Final = _FAMILIES.gauge("hmacfs_connections", "Client connections open now.")
ACCEPTED_CONNECTIONS: Final = _FAMILIES.counter(
    "hmacfs_accepted_connections_total", "Client connections accepted."
)
ACTIVE_UPLOADS: Final = _FAMILIES.gauge("hmacfs_active_uploads", "Uploads whose body is being received now.")
ACTIVE_DOWNLOADS: Final = _FAMILIES.gauge(
    "hmacfs_active_downloads", "Downloads whose body is being sent now."
)
BUFFER_POOL_BYTES: Final = _FAMILIES.gauge(
    "hmacfs_buffer_pool_bytes", "Memory lent now to transfers that wait for a slow disk.", "bytes"
)
BUFFER_UTILIZATION: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_buffer_utilization_ratio",
        MetricKind.HISTOGRAM,
        "What came of each large upload, as a share of what its buffers would have held.",
        "ratio",
        bounds=_SHARE_BOUNDS,
        scale=MiB,
    )
)
OPTIMAL_BUFFER: Final = _FAMILIES.gauge(
    "hmacfs_optimal_buffer_size_bytes",
    "Size of the buffer with which the site receives fast uploads at least cost, as found so far.",
    "bytes",
)
BUFFER_CHANGES: Final = _FAMILIES.by_value(
    Metric(
        "hmacfs_buffer_size_changes_total",
        MetricKind.COUNTER,
        'Changes of buffer sizes: of running uploads that turned out faster ("up") or slower ("down"), '
        'and of the size that costs the site least ("site").',
        labels=("change",),
    ),
    CHANGES,
)
BUFFER_TRIAL_BYTES: Final = _FAMILIES.by_value(
    Metric(
        "hmacfs_buffer_trial_bytes_total",
        MetricKind.COUNTER,
        "Bytes of fast uploads (1 MiB or more at a time), by the size of buffer in bytes that received them.",
        "bytes",
        labels=("size",),
    ),
    BUFFER_CLASSES,
)
BUFFER_TRIAL_SECONDS: Final = _FAMILIES.by_value(
    Metric(
        "hmacfs_buffer_trial_seconds_total",
        MetricKind.COUNTER,
        "Processor time for receiving, digesting and writing those bytes, by the same size.",
        "seconds",
        labels=("size",),
        scale=NANOSECONDS,
    ),
    BUFFER_CLASSES,
)
UPLOAD_LATENCY: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_upload_latency_seconds",
        MetricKind.HISTOGRAM,
        "Time from the end of an upload's head to its acknowledgement.",
        "seconds",
        bounds=_TRANSFER_BOUNDS_S,
        scale=NANOSECONDS,
    )
)
DOWNLOAD_LATENCY: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_download_latency_seconds",
        MetricKind.HISTOGRAM,
        "Time from the end of a download's head to its last byte given to the kernel.",
        "seconds",
        bounds=_TRANSFER_BOUNDS_S,
        scale=NANOSECONDS,
    )
)
UPLOAD_THROUGHPUT: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_upload_throughput_bytes_per_second",
        MetricKind.HISTOGRAM,
        "Rate of each finished upload of at least 256 KiB, from the end of its head to its acknowledgement; "
        "that of a smaller one would say more of latency than of the line.",
        "bytes_per_second",
        bounds=_THROUGHPUT_BOUNDS,
    )
)
DOWNLOAD_THROUGHPUT: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_download_throughput_bytes_per_second",
        MetricKind.HISTOGRAM,
        "Rate of each finished download of at least 256 KiB, until the kernel had its last byte; "
        "that of a smaller one would say more of latency than of the line.",
        "bytes_per_second",
        bounds=_THROUGHPUT_BOUNDS,
    )
)
UPLOAD_SIZE: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_upload_size_bytes",
        MetricKind.HISTOGRAM,
        "Sizes of the files stored.",
        "bytes",
        bounds=_SIZE_BOUNDS_BYTES,
    )
)
COMMIT_SECONDS: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_commit_seconds",
        MetricKind.HISTOGRAM,
        "Time that publishing one upload took, from its last byte to durable on disk and in the index.",
        "seconds",
        bounds=_COMMIT_BOUNDS_S,
        scale=NANOSECONDS,
    )
)
EXPIRED_FILES: Final = _FAMILIES.counter(
    "hmacfs_expired_files_total", "Files removed because their time was over."
)
EXPIRED_UPLOADS: Final = _FAMILIES.counter(
    "hmacfs_expired_uploads_total",
    "Unfinished uploads dropped because nobody went on with them for long enough.",
)
DELETED_FILES: Final = _FAMILIES.counter("hmacfs_deleted_files_total", "Files removed by a signed DELETE.")
LOOP_LAG: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_loop_lag_seconds",
        MetricKind.HISTOGRAM,
        "How late each worker's tick came: time for which its event loop answered nobody.",
        "seconds",
        bounds=_LAG_BOUNDS_S,
        scale=NANOSECONDS,
    )
)
LOG_DROPPED_LINES: Final = _FAMILIES.counter(
    "hmacfs_log_dropped_lines_total", "Log lines given up because the log took no more."
)
BREAKER_OPEN: Final = _FAMILIES.by_value(
    Metric(
        "hmacfs_breaker_open",
        MetricKind.GAUGE,
        "Workers that refuse uploads now, because what they need keeps failing.",
        labels=("dependency",),
    ),
    Dependency,
)
BREAKER_OPENED: Final = _FAMILIES.by_value(
    Metric(
        "hmacfs_breaker_opened_total",
        MetricKind.COUNTER,
        "How often a worker began to refuse uploads, because what they need kept failing.",
        labels=("dependency",),
    ),
    Dependency,
)
UPLOADS_BARRED: Final = _FAMILIES.gauge(
    "hmacfs_uploads_barred",
    "Workers that refuse uploads now, because something of the storage is missing; /readyz says what.",
)
DENIED_FILES: Final = _FAMILIES.counter(
    "hmacfs_denied_files_total",
    "Requests answered 404 for a file that is there, but may not be read by the server's user.",
)
WORKER_STARTS: Final = _FAMILIES.counter(
    "hmacfs_worker_starts_total", "Workers started, replacements included."
)
WORKER_DEATHS: Final = _FAMILIES.counter(
    "hmacfs_worker_deaths_total", "Workers that ended without being told to."
)
PROXY_HEADER_ERRORS: Final = _FAMILIES.counter(
    "hmacfs_proxy_header_errors_total",
    "Connections of trusted proxies closed because their PROXY header was malformed or late.",
)
TLS_HANDSHAKE_ERRORS: Final = _FAMILIES.counter(
    "hmacfs_tls_handshake_errors_total", "Connections to [tls] that ended before their handshake did."
)
NETWORK_SPEED: Final = _FAMILIES.mean(
    Metric(
        "hmacfs_network_speed_bytes_per_second",
        MetricKind.GAUGE,
        "Mean rate of the bodies moved in the last minute or so, both ways; absent if there were none.",
        "bytes_per_second",
    )
)
NETWORK_LATENCY: Final = _FAMILIES.mean(
    Metric(
        "hmacfs_network_latency_seconds",
        MetricKind.GAUGE,
        "Mean round trip to the clients of the last minute or so (TCP_INFO); absent if there were none that "
        "are not behind a proxy.",
        "seconds",
    )
)
NETWORK_RELIABILITY: Final = _FAMILIES.mean(
    Metric(
        "hmacfs_network_reliability_ratio",
        MetricKind.GAUGE,
        "Share of the uploads begun in the last minute or so that did not break off; absent if there were "
        "none.",
        "ratio",
    )
)
CHUNK_UPLOAD_SIZE: Final = _FAMILIES.histogram(
    Metric(
        "hmacfs_chunk_upload_size_bytes",
        MetricKind.HISTOGRAM,
        "Bytes of each request of a resumable upload.",
        "bytes",
        bounds=_CHUNK_BOUNDS_BYTES,
    )
)
HEARTBEAT_MS: Final = _FAMILIES.plain(
    Metric(
        "hmacfs_heartbeat_milliseconds",
        MetricKind.INTERNAL,
        "Monotonic time of the worker's last tick, by which the supervisor knows a stuck one.",
        "milliseconds",
    )
)
INDEX_INODES: Final = _FAMILIES.add(
    Metric(
        "hmacfs_index_inodes",
        MetricKind.INTERNAL,
        "Inodes of the index's files that the worker has open, by which one that was replaced is known.",
        labels=("file",),
    ),
    (("index",), ("wal",), ("shm",)),
)

METRICS: Final = tuple(_FAMILIES.metrics)
"""Every family, in the order of the scrape."""
COLUMNS: Final = tuple(_FAMILIES.columns)
"""Every integer of a row, in order."""
GAUGES: Final = tuple(n for n, column in enumerate(COLUMNS) if column.metric.kind is MetricKind.GAUGE)
"""Columns that mean nothing once their worker is gone."""
