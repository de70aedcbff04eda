"""What becomes of each key of the Go hmac-file-server's configuration: facts only; `adopt` acts on them.

Keys that bear our own names are not listed: they are simply honoured. Neither are variants of
spelling (metricsenabled and metrics_enabled are one key here).
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Fate(enum.Enum):
    """What happens to a key; the value is the word of the report."""

    HONOURED = "honoured"
    LATER = "not yet"
    IGNORED = "ignored"


class Row(NamedTuple):
    """One key's fate."""

    fate: Fate
    words: str
    """Why; of an honoured key, what it becomes."""


def _honoured(words: str) -> Row:
    return Row(Fate.HONOURED, words)


def _later(words: str) -> Row:
    return Row(Fate.LATER, words)


def _ignored(words: str) -> Row:
    return Row(Fate.IGNORED, words)


_NO_EXTENSIONS: Final = _later("a file of any extension is taken and served")
_NO_FILE: Final = _ignored("no process id file is written; use systemd or the process itself")
_WORKERS: Final = _ignored("the number of processes is fixed: server.workers")
_NO_CACHE: Final = _ignored("nothing is loaded before it is asked for; the page cache keeps what is")
_NO_ROTATION: Final = _ignored("the log is not rotated here; use logrotate or the journal")
_NO_NETWORK: Final = _ignored(
    "the server does not watch network interfaces; any address may upload with its token"
)
_NO_SESSION: Final = _ignored("there are no sessions; each request is authorised by its own token")
_NO_DEDUPLICATION: Final = _later("each upload is stored as a file of its own")
_NO_ISO: Final = _ignored("no ISO container is made; storage_path is a plain directory")
_NO_REDIS: Final = _ignored("no Redis is used; what is remembered lies in storage_path")
_ALWAYS_RANGES: Final = _honoured("ranges are always served, so that downloads can resume")

MOVED: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("server", "maxfilesize"): ("server", "max_upload_size"),
    ("server", "cleanup_interval"): ("server", "sweep_interval"),
    ("server", "logfile"): ("logging", "file"),
    ("server", "loglevel"): ("logging", "level"),
    ("timeouts", "read"): ("timeouts", "readtimeout"),
    ("timeouts", "write"): ("timeouts", "writetimeout"),
    ("timeouts", "idle"): ("timeouts", "idletimeout"),
    ("timeouts", "header"): ("timeouts", "headertimeout"),
    ("timeouts", "shutdowntimeout"): ("timeouts", "shutdown"),
}
"""Keys whose value is honoured as it is, under another name."""

ROWS: Final[dict[str, dict[str, Row]]] = {
    "server": {
        "bind_ip": _honoured("the host of server.listen_address, if that has only a port"),
        "listenport": _honoured("the port of server.listen_address"),
        "unixsocket": _honoured('server.listen_address becomes "unix:/path"'),
        "metricsenabled": _honoured("false switches metrics.listen_address off"),
        "metricsport": _honoured("metrics.listen_address, on 127.0.0.1 only"),
        "metrics_path": _ignored("metrics are always at /metrics of metrics.listen_address"),
        "filettlenabled": _honoured("whether filettl or max_file_age becomes server.file_ttl"),
        "max_file_age": _honoured("server.file_ttl, if filettlenabled is true and filettl is not given"),
        "loggingjson": _honoured('true is logging.format = "json"'),
        "pid_file": _NO_FILE,
        "pidfile": _NO_FILE,
        "pidfilepath": _NO_FILE,
        "pre_cache": _NO_CACHE,
        "pre_cache_workers": _NO_CACHE,
        "pre_cache_interval": _NO_CACHE,
        "precaching": _NO_CACHE,
        "global_extensions": _NO_EXTENSIONS,
        "deduplication_enabled": _NO_DEDUPLICATION,
        "file_naming": _ignored("a file always keeps the name that its URL has"),
        "force_protocol": _ignored("IPv4 or IPv6 follows from server.listen_address"),
        "enable_dynamic_workers": _WORKERS,
        "worker_scale_up_thresh": _WORKERS,
        "worker_scale_down_thresh": _WORKERS,
        "autoadjustworkers": _WORKERS,
        "networkevents": _NO_NETWORK,
        "clean_upon_exit": _ignored("an unfinished upload never becomes a file, so nothing is left to clean"),
        "temppath": _ignored("an upload is unnamed inside storage_path until it is complete"),
    },
    "logging": {
        "max_size": _NO_ROTATION,
        "max_backups": _NO_ROTATION,
        "max_age": _NO_ROTATION,
        "compress": _NO_ROTATION,
    },
    "security": {
        "enablejwt": _honoured('protocol "gojwt" of the default endpoint, if jwtsecret is the only secret'),
        "jwtsecret": _honoured('the secret of protocol "gojwt", if enablejwt is true'),
        "jwtalgorithm": _honoured("only HS256 is verified"),
        "jwtexpiration": _ignored("the time in the token itself decides"),
        "enhanced_security": _NO_SESSION,
        "challenge_on_network_change": _NO_SESSION,
        "reauth_on_long_standby": _NO_SESSION,
        "standby_threshold_minutes": _NO_SESSION,
        "long_standby_threshold_hours": _NO_SESSION,
    },
    "deduplication": dict.fromkeys(("enabled", "directory", "maxsize"), _NO_DEDUPLICATION),
    "iso": dict.fromkeys(("enabled", "mountpoint", "size", "charset", "containerfile"), _NO_ISO),
    "versioning": dict.fromkeys(
        ("enableversioning", "backend", "maxversions"),
        _later("a stored file is never replaced; a second upload of its name gets 409"),
    ),
    "uploads": {
        "allowed_extensions": _NO_EXTENSIONS,
        "maxfilesize": _ignored("server.max_upload_size is the limit"),
        "chunk_size": _ignored("the size of a chunk is advised by the server"),
        "maxretries": _ignored("retrying is the client's part"),
        "networkevents": _NO_NETWORK,
    },
    "downloads": {
        "allowed_extensions": _NO_EXTENSIONS,
        "chunked_downloads_enabled": _ALWAYS_RANGES,
        "resumable_downloads_enabled": _ALWAYS_RANGES,
        "chunk_size": _ignored("the size of a write is chosen by the server"),
    },
    "clamav": dict.fromkeys(
        ("clamavenabled", "clamavsocket", "numscanworkers", "scanfileextensions", "maxscansize"),
        _later("UPLOADS ARE NOT SCANNED for viruses"),
    ),
    "redis": dict.fromkeys(
        ("redisenabled", "redisdbindex", "redisaddr", "redispassword", "redishealthcheckinterval"), _NO_REDIS
    ),
    "workers": {
        "numworkers": _ignored("it counts threads of work, not processes; see server.workers"),
        "uploadqueuesize": _ignored("uploads do not queue"),
    },
    "file": {},
    "build": {"version": _ignored("it says nothing about the server")},
    "network_resilience": dict.fromkeys(
        (
            "fast_detection",
            "quality_monitoring",
            "predictive_switching",
            "mobile_optimizations",
            "detection_interval",
            "quality_check_interval",
            "max_detection_interval",
            "multi_interface_enabled",
            "interface_priority",
            "auto_switch_enabled",
            "switch_threshold_latency",
            "switch_threshold_packet_loss",
            "quality_degradation_threshold",
            "max_switch_attempts",
            "switch_detection_interval",
        ),
        _NO_NETWORK,
    ),
    "client_network_support": dict.fromkeys(
        (
            "session_based_tracking",
            "allow_ip_changes",
            "session_migration_timeout",
            "max_ip_changes_per_session",
            "client_connection_detection",
            "adapt_to_client_network",
        ),
        _NO_SESSION,
    ),
    "audit": dict.fromkeys(
        ("enabled", "output", "path", "format", "events", "max_size", "max_age"),
        _later("there is no separate audit log; every request is one line of the log"),
    ),
    "validation": dict.fromkeys(
        ("check_magic_bytes", "allowed_types", "blocked_types", "max_file_size", "strict_mode"),
        _later(
            "the content of uploads is not examined; only images, audio, video and text show in a browser"
        ),
    ),
    "quotas": dict.fromkeys(
        ("enabled", "default", "tracking", "custom"),
        _later("no quota is kept; the XMPP server can keep one"),
    ),
    "admin": dict.fromkeys(
        ("enabled", "bind", "path_prefix", "auth"), _later("there is no administration interface")
    ),
    "rate_limit": dict.fromkeys(
        (
            "enabled",
            "requests_per_minute",
            "burst_size",
            "cleanup_interval",
            "by_jid",
            "by_ip",
            "whitelisted_ips",
            "whitelisted_jids",
        ),
        _later("requests are not counted; the proxy in front can limit them"),
    ),
    "key_rotation": dict.fromkeys(
        ("enabled", "rotation_interval", "grace_period", "key_storage"),
        _later("keys are changed by hand: security.secret takes a list meanwhile"),
    ),
    "metadata": dict.fromkeys(
        ("enabled", "db_path", "purge_age"),
        _ignored("an index is always kept in storage_path/.hmacfs"),
    ),
    "compression": dict.fromkeys(
        (
            "enabled",
            "algorithm",
            "level",
            "threshold",
            "adaptive_compression",
            "compression_negotiation",
        ),
        _ignored("files are stored and served as they are"),
    ),
}
"""Every other key of the Go server, by table; a table of ours holds only its foreign keys."""

OWN: Final = frozenset({"performance", "streaming"})
"""Tables of which the Go server knows nothing, so that they tell nothing about where files lie."""

FOREIGN: Final[dict[str, Row]] = {
    table: next(iter(rows.values()), _ignored("it says nothing about the server"))
    for table, rows in ROWS.items()
    if table not in {"server", "logging", "timeouts", "security", "uploads", *OWN}
}
"""What to say of further keys in tables that only the Go server has: its templates are full of them."""
