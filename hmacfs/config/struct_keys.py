"""The keys that the Go server's code reads, by table: type and fate of each. Facts only."""

from __future__ import annotations

from typing import Final

from hmacfs.config.fates import ConfigForm, KeyFate, honoured, ignored, later, moved, rows, same
from hmacfs.model import JWT_ALGORITHM

NO_CACHE: Final = ignored("nothing is loaded before it is asked for; the page cache keeps what is")
NO_COMPRESSION: Final = ignored("files are stored and served as they are")
NO_DEDUPLICATION: Final = later("each upload is stored as a file of its own")
NO_EXTENSIONS: Final = later("a file of any extension is taken and served")
NO_LIMIT_OF_REQUESTS: Final = later("requests are not counted; the proxy in front can limit them")
NO_NETWORK: Final = ignored(
    "the server does not watch network interfaces; any address may upload with its token"
)
NO_QUOTA: Final = later("no quota is kept; the XMPP server can keep one")
NO_REDIS: Final = ignored("no Redis is used; what is remembered lies in storage_path")
NO_SESSION: Final = ignored("there are no sessions; each request is authorised by its own token")
_NO_FILE: Final = ignored("no process id file is written; use systemd or the process itself")
_NO_ROTATION: Final = ignored("the log is not rotated here; use logrotate (SIGUSR1) or the journal")
_NO_TIME: Final = ignored("the time in the token itself decides")
_WORKERS: Final = ignored("the number of processes is fixed: server.workers")

STRUCT: Final[dict[str, dict[str, KeyFate]]] = {
    "server": {
        **same("listen_address storage_path max_upload_size max_header_bytes min_free_bytes"),
        "bind_ip": honoured(
            'the host of server.listen_address, if that has only a port; "::" is every address',
            ConfigForm.TEXT,
        ),
        "listenport": honoured("the port of server.listen_address", ConfigForm.EITHER),
        "unixsocket": honoured('true: server.listen_address becomes "unix:/path"', ConfigForm.FLAG),
        "metricsenabled": honoured("false switches metrics.listen_address off", ConfigForm.FLAG),
        "metricsport": honoured("metrics.listen_address, on 127.0.0.1 only", ConfigForm.EITHER),
        "filettl": honoured("server.file_ttl, if filettlenabled is true"),
        "filettlenabled": honoured(
            "whether filettl or max_file_age becomes server.file_ttl", ConfigForm.FLAG
        ),
        "max_file_age": honoured("server.file_ttl, if filettlenabled is true and filettl is not given"),
        "loggingjson": honoured('true is logging.format = "json"', ConfigForm.FLAG),
        "maxfilesize": moved("server", "max_upload_size"),
        "cleanup_interval": moved("server", "sweep_interval"),
        "logfile": moved("logging", "file"),
        "loglevel": moved("logging", "level"),
        **rows(ignored("metrics are always at /metrics of metrics.listen_address"), text="metrics_path"),
        **rows(_NO_FILE, text="pid_file pidfile pidfilepath"),
        **rows(NO_CACHE, flag="pre_cache precaching", number="pre_cache_workers", text="pre_cache_interval"),
        **rows(NO_EXTENSIONS, texts="global_extensions"),
        **rows(NO_DEDUPLICATION, flag="deduplication_enabled"),
        **rows(ignored("a file always keeps the name that its URL has"), text="file_naming"),
        **rows(ignored("IPv4 or IPv6 follows from server.listen_address"), text="force_protocol"),
        **rows(
            _WORKERS,
            flag="enable_dynamic_workers autoadjustworkers",
            number="worker_scale_up_thresh worker_scale_down_thresh",
        ),
        **rows(NO_NETWORK, flag="networkevents"),
        **rows(
            ignored("an unfinished upload never becomes a file, so nothing is left to clean"),
            flag="clean_upon_exit",
        ),
        **rows(ignored("an upload is unnamed inside storage_path until it is complete"), text="temppath"),
    },
    "logging": {
        **same("level file"),
        **rows(_NO_ROTATION, number="max_size max_backups max_age", flag="compress"),
    },
    "timeouts": {
        **same("readtimeout writetimeout idletimeout shutdown"),
        "read": moved("timeouts", "readtimeout"),
        "write": moved("timeouts", "writetimeout"),
        "idle": moved("timeouts", "idletimeout"),
        "header": moved("timeouts", "headertimeout"),
        "shutdowntimeout": moved("timeouts", "shutdown"),
    },
    "security": {
        **same("secret"),
        "enablejwt": honoured(
            'protocol "gojwt" of the default endpoint, if jwtsecret is the only secret', ConfigForm.FLAG
        ),
        "jwtsecret": honoured('the secret of protocol "gojwt", if enablejwt is true', ConfigForm.TEXT),
        "jwtalgorithm": honoured(f"only {JWT_ALGORITHM} is verified", ConfigForm.TEXT),
        **rows(_NO_TIME, text="jwtexpiration"),
        **rows(
            NO_SESSION,
            flag="enhanced_security challenge_on_network_change reauth_on_long_standby",
            number="standby_threshold_minutes long_standby_threshold_hours",
        ),
    },
    "uploads": {
        **same("chunked_uploads_enabled resumable_uploads_enabled sessiontimeout"),
        "chunk_size": honoured(
            "a size, or fixed:SIZE, is performance.min_chunk_size and max_chunk_size, if neither is given; "
            '"adaptive" is performance.intelligent_chunking',
            ConfigForm.EITHER,
        ),
        "maxfilesize": moved("server", "max_upload_size"),
        **rows(NO_EXTENSIONS, texts="allowed_extensions"),
        **rows(ignored("retrying is the client's part"), number="maxretries"),
        **rows(NO_NETWORK, flag="networkevents"),
    },
    "downloads": {
        "resumable_downloads_enabled": moved("streaming", "range_requests"),
        **rows(NO_EXTENSIONS, texts="allowed_extensions"),
        **rows(ignored("every download is streamed"), flag="chunked_downloads_enabled"),
        **rows(ignored("the size of a write is chosen by the server"), either="chunk_size"),
    },
    "deduplication": rows(NO_DEDUPLICATION, flag="enabled", text="directory maxsize"),
    "iso": rows(
        ignored("no ISO container is made; storage_path is a plain directory"),
        flag="enabled",
        text="mountpoint size charset containerfile",
    ),
    "versioning": rows(
        later("a stored file is never replaced; a second upload of its name gets 409"),
        flag="enableversioning",
        text="backend",
        number="maxversions",
    ),
    "clamav": rows(
        later("UPLOADS ARE NOT SCANNED for viruses"),
        flag="clamavenabled",
        text="clamavsocket maxscansize",
        number="numscanworkers",
        texts="scanfileextensions",
    ),
    "redis": rows(
        NO_REDIS,
        flag="redisenabled",
        number="redisdbindex",
        text="redisaddr redispassword redishealthcheckinterval",
    ),
    "workers": {
        **rows(ignored("it counts threads of work, not processes; see server.workers"), number="numworkers"),
        **rows(ignored("uploads do not queue"), number="uploadqueuesize"),
    },
    "file": {},
    "build": rows(ignored("it says nothing about the server"), text="version"),
    "network_resilience": rows(
        NO_NETWORK,
        flag="fast_detection quality_monitoring predictive_switching mobile_optimizations "
        "multi_interface_enabled auto_switch_enabled",
        text="detection_interval quality_check_interval max_detection_interval switch_threshold_latency "
        "switch_detection_interval",
        texts="interface_priority",
        real="switch_threshold_packet_loss quality_degradation_threshold",
        number="max_switch_attempts",
    ),
    "client_network_support": rows(
        NO_SESSION,
        flag="session_based_tracking allow_ip_changes client_connection_detection adapt_to_client_network",
        text="session_migration_timeout",
        number="max_ip_changes_per_session",
    ),
    "audit": rows(
        later("there is no separate audit log; every request is one line of the log"),
        flag="enabled",
        text="output path format",
        texts="events",
        number="max_size max_age",
    ),
    "validation": rows(
        later("the content of uploads is not examined; only images, audio, video and text show in a browser"),
        flag="check_magic_bytes strict_mode",
        texts="allowed_types blocked_types",
        text="max_file_size",
    ),
    "quotas": rows(NO_QUOTA, flag="enabled", text="default tracking", table="custom"),
    "admin": rows(
        later("there is no administration interface"), flag="enabled", text="bind path_prefix", table="auth"
    ),
    "rate_limit": rows(
        NO_LIMIT_OF_REQUESTS,
        flag="enabled by_jid by_ip",
        number="requests_per_minute burst_size",
        text="cleanup_interval",
        texts="whitelisted_ips whitelisted_jids",
    ),
    "key_rotation": rows(
        later("keys are changed by hand: security.secret takes a list meanwhile"),
        flag="enabled",
        text="rotation_interval grace_period key_storage",
    ),
    "metadata": rows(
        ignored("an index is always kept in storage_path/.hmacfs"), flag="enabled", text="db_path purge_age"
    ),
    "compression": rows(
        NO_COMPRESSION,
        flag="enabled adaptive_compression compression_negotiation",
        text="algorithm threshold",
        number="level",
    ),
}
"""By table; a table that is ours too holds the Go server's keys alone."""
