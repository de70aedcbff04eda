"""The keys that only the Go server's published templates hold, by table: type and fate of each. Facts only.

Its code reads few of them, yet the files of sites begin as these templates. A table in a table is named with
a dot.
"""

from __future__ import annotations

from typing import Final

from hmacfs.config.fates import ConfigForm, KeyFate, honoured, ignored, moved, rows, same
from hmacfs.config.struct_keys import (
    NO_COMPRESSION,
    NO_DEDUPLICATION,
    NO_EXTENSIONS,
    NO_LIMIT_OF_REQUESTS,
    NO_NETWORK,
    NO_QUOTA,
    NO_REDIS,
    NO_SESSION,
)

_AGE: Final = ignored("an unfinished upload is kept for uploads.sessiontimeout, wherever its client is")
_ALL_FIGURES: Final = ignored("all metrics are always told at metrics.listen_address")
_ALWAYS: Final = ignored("it is always so")
_CLIENT: Final = ignored("retrying is the client's part")
_FIGURES: Final = ignored(
    "Prometheus keeps what it reads at metrics.listen_address, as long as it is told to"
)
_GRACE: Final = ignored("a token ends when it says so; there is no grace")
_LINES: Final = ignored("every request is one line of the log, whatever came of it")
_MEASURED: Final = ignored("it follows from what is measured of the client")
_NOT_HERE: Final = ignored("there is no such experiment here")
_PATIENCE: Final = ignored("a slow client is given up by timeouts.min_rate, not by a total time")
_STRATEGY: Final = ignored("timeouts follow the client's line: streaming.quality_adaptation")
_SWEPT: Final = ignored("expired uploads are always removed, every server.sweep_interval")
_TOKENS: Final = ignored("the time in the token itself decides")
_BEARER: Final = honoured('true adds protocol "bearer" to the default endpoint', ConfigForm.FLAG)
_HMAC: Final = honoured('protocols "v2", "v" and "token" of the default endpoint', ConfigForm.FLAG)
_JWT: Final = honoured("the same as security.enablejwt", ConfigForm.FLAG)

_INTERFACE: Final = rows(
    NO_NETWORK, text="buffer_size chunk_size", number="priority", real="timeout_multiplier"
)


def _strategy(which: str) -> dict[str, KeyFate]:
    """Return the rows of a table [client_optimization.strategy_...]."""
    return {
        "buffer_size": honoured(
            f"one of the sizes between which a buffer is chosen; {which}", ConfigForm.EITHER
        ),
        "chunk_size": honoured(
            "the smallest and the largest of the three are performance.min_chunk_size and max_chunk_size",
            ConfigForm.EITHER,
        ),
        **rows(_STRATEGY, real="timeout_multiplier"),
        **rows(_CLIENT, real="retry_multiplier"),
    }


_ENDS: Final = "the smallest and the largest of the three are performance.min_buffer_size and max_buffer_size"

TEMPLATE: Final[dict[str, dict[str, KeyFate]]] = {
    "auth": {
        "shared_secret": moved("security", "secret"),
        "bearer_tokens_enabled": _BEARER,
        "hmac_enabled": _HMAC,
        "jwt_enabled": _JWT,
        **rows(_GRACE, flag="extended_validation", number="grace_period"),
        **rows(_TOKENS, number="token_expiry"),
    },
    "client_network": rows(
        NO_SESSION,
        flag="adapt_to_client_network allow_ip_changes session_based_tracking",
        number="max_ip_changes_per_session",
        text="session_migration_timeout",
    ),
    "client_optimization": {
        "enabled": honoured(
            "false: the strategies' sizes and learning_enabled are not followed", ConfigForm.FLAG
        ),
        "learning_enabled": moved("performance", "client_profiling"),
        "user_agent_analysis": moved("performance", "connection_type_detection"),
        **rows(_MEASURED, text="adaptation_speed", flag="connection_fingerprinting"),
        **rows(
            ignored("every client is classified by its line: streaming.quality_adaptation"),
            flag="performance_classification",
        ),
    },
    "client_optimization.strategy_desktop": _strategy(
        f"this one is performance.initial_buffer_size, and {_ENDS}"
    ),
    "client_optimization.strategy_mobile": _strategy(_ENDS),
    "client_optimization.strategy_server": _strategy(_ENDS),
    "client_optimizations": rows(
        _MEASURED,
        text="mobile_chunk_size wifi_chunk_size ethernet_chunk_size",
        real="mobile_timeout_multiplier wifi_timeout_multiplier ethernet_timeout_multiplier",
        number="mobile_retry_attempts wifi_retry_attempts ethernet_retry_attempts",
    ),
    "downloads": {
        "range_requests": moved("streaming", "range_requests"),
        "connection_multiplexing": moved("streaming", "connection_multiplexing"),
        "bandwidth_estimation": moved("streaming", "bandwidth_estimation"),
        "quality_adaptation": moved("streaming", "quality_adaptation"),
    },
    "ejabberd": {
        **rows(ignored("it tells of ejabberd, not of this server"), text="module_type"),
        **rows(_ALWAYS, flag="xep0363_enabled"),
        **rows(
            ignored("each endpoint's protocols say which tokens are taken"),
            flag="extended_compatibility payload_format_flexibility",
        ),
        **rows(
            ignored("ejabberd's own limit stands in its configuration; ours is server.max_upload_size"),
            text="max_file_size",
        ),
        **rows(NO_QUOTA, text="quota_per_user"),
    },
    "experimental": rows(
        _NOT_HERE,
        flag="adaptive_compression compression_negotiation http3_support intelligent_prefetching "
        "io_uring_support memory_mapped_files ml_optimization predictive_caching quic_protocol "
        "zero_copy_optimization",
    ),
    "handoff": rows(
        NO_NETWORK,
        flag="chunk_retry_on_switch enabled pause_transfers_on_switch seamless_handoff seamless_switching "
        "switch_notification_enabled",
        text="handoff_cooldown handoff_strategy handoff_timeout performance_comparison_window",
        real="handoff_hysteresis min_quality_threshold quality_excellent quality_fair quality_good "
        "quality_poor",
        number="interface_quality_history",
    ),
    "logging": rows(
        _LINES,
        flag="log_auth_failures log_ip_changes log_network_events log_session_recovery log_token_refresh "
        "log_token_validation log_upload_sessions",
    ),
    "metrics": {
        "enabled": honoured("false switches metrics.listen_address off", ConfigForm.FLAG),
        "port": honoured("metrics.listen_address, on 127.0.0.1 only", ConfigForm.EITHER),
        **rows(_ALL_FIGURES, flag="expose_network_metrics expose_upload_metrics"),
        **rows(NO_NETWORK, flag="track_network_changes track_network_switches"),
        **rows(NO_SESSION, flag="track_session_recovery"),
    },
    "monitoring": {
        "client_profile_retention": moved("performance", "profile_persistence_duration"),
        **rows(_ALL_FIGURES, flag="detailed_metrics performance_tracking client_analytics"),
        **rows(
            _FIGURES,
            text="aggregate_interval metrics_retention performance_history realtime_interval "
            "summary_interval",
        ),
    },
    "network_interfaces": rows(
        NO_NETWORK,
        flag="interface_discovery_enabled multi_interface_enabled",
        text="interface_monitoring_interval primary_interface",
        list_="interface_priorities",
        number="interface_quality_samples",
    ),
    **{f"network_interfaces.{kind}": _INTERFACE for kind in ("cellular", "ethernet", "lte", "vpn", "wifi")},
    "performance": {
        **same(
            "adaptive_buffers min_buffer_size max_buffer_size initial_buffer_size "
            "buffer_optimization_interval max_memory_usage client_profiling profile_persistence_duration "
            "connection_type_detection intelligent_chunking min_chunk_size max_chunk_size "
            "chunk_adaptation_algorithm"
        ),
        **rows(
            ignored("buffers are lent while a transfer needs them"),
            flag="buffer_pool_preallocation gc_optimization",
        ),
        **rows(_MEASURED, number="performance_history_samples"),
    },
    "security": {
        "bearer_tokens_enabled": _BEARER,
        "hmac_enabled": _HMAC,
        "jwt_enabled": _JWT,
        **rows(
            NO_LIMIT_OF_REQUESTS,
            flag="block_suspicious_ips rate_limiting",
            number="max_requests_per_minute max_uploads_per_user_per_hour",
        ),
        **rows(_GRACE, text="mobile_grace_period standby_grace_period token_grace_period ultra_max_grace"),
        **rows(
            ignored("nobody is trusted who is not named: your own proxies in server.trusted_proxies"),
            flag="trust_proxy_headers",
        ),
    },
    "server": {
        "port": honoured("the port of server.listen_address", ConfigForm.EITHER),
        "interface": honoured("the same as bind_ip, if it is an address", ConfigForm.TEXT),
        "bind_all_interfaces": honoured(
            "true: every address, unless bind_ip or interface names one", ConfigForm.FLAG
        ),
        "upload_path": moved("server", "storage_path"),
        **rows(NO_SESSION, flag="adapt_to_client_network allow_ip_changes client_multi_interface"),
    },
    "session_store": {
        "max_session_age": moved("uploads", "sessiontimeout"),
        "upload_resumption_enabled": moved("uploads", "resumable_uploads_enabled"),
        **rows(NO_REDIS, text="backend redis_url"),
        **rows(_SWEPT, text="cleanup_interval"),
        **rows(
            NO_SESSION, flag="enabled session_recovery_enabled", number="max_sessions max_token_refreshes"
        ),
    },
    "sessionstore": {
        "expiry_hours": honoured("uploads.sessiontimeout, in hours", ConfigForm.NUMBER),
        **rows(NO_REDIS, text="backend"),
        **rows(_SWEPT, number="cleanup_interval_minutes"),
        **rows(NO_SESSION, flag="enabled"),
    },
    "storage": {
        "cleanup_interval": moved("server", "sweep_interval"),
        **rows(_SWEPT, flag="cleanup_expired_sessions"),
        **rows(ignored("the log is not rotated here; use logrotate"), flag="compress_old_logs"),
        **rows(
            ignored("files are kept unless server.file_ttl says otherwise, since to delete is final"),
            number="retention_days",
        ),
    },
    "streaming": {
        **same("automatic_retry exponential_backoff circuit_breaker"),
        "quality_thresholds": honoured("the rates and latencies of streaming, by name", ConfigForm.LIST),
        "adaptive_streaming": moved("streaming", "quality_adaptation"),
        "network_condition_monitoring": moved("streaming", "bandwidth_estimation"),
        **rows(ignored("five tries within half a second; see automatic_retry"), number="max_retry_attempts"),
        **rows(ignored("the waits double; see exponential_backoff"), real="retry_backoff_multiplier"),
        **rows(_ALWAYS, flag="latency_optimization throughput_optimization"),
    },
    "timeouts": {
        "keep_alive_timeout": moved("timeouts", "idletimeout"),
        **rows(ignored("a handshake must be done within headertimeout"), text="handshake_timeout"),
        **rows(
            _STRATEGY,
            flag="adaptive_timeouts",
            text="max_timeout min_timeout",
            real="timeout_adaptation_factor",
        ),
    },
    "uploads": {
        "concurrent_chunk_uploads": honoured(
            "more than 1 is true: the number itself bounds nothing", ConfigForm.EITHER
        ),
        "max_chunk_size": moved("performance", "max_chunk_size"),
        "min_chunk_size": moved("performance", "min_chunk_size"),
        "chunk_adaptation_algorithm": moved("performance", "chunk_adaptation_algorithm"),
        "network_aware_chunking": moved("performance", "intelligent_chunking"),
        "max_upload_size": moved("server", "max_upload_size"),
        "max_resumable_age": moved("uploads", "sessiontimeout"),
        "ttl": honoured("server.file_ttl, if ttl_enabled is true and server.filettl is not given"),
        "ttl_enabled": honoured("whether ttl becomes server.file_ttl", ConfigForm.FLAG),
        **rows(NO_COMPRESSION, flag="adaptive_compression", text="compression_threshold"),
        **rows(NO_DEDUPLICATION, flag="dedupe detect_duplicate_uploads"),
        **rows(NO_EXTENSIONS, texts="blocked_extensions"),
        **rows(NO_QUOTA, number="max_files_per_user"),
        **rows(NO_SESSION, flag="allow_ip_changes allow_session_resume merge_duplicate_sessions"),
        **rows(
            _AGE,
            text="client_reconnect_window network_change_grace_period session_recovery_timeout "
            "upload_pause_timeout session_persistence_duration",
        ),
        **rows(_CLIENT, flag="retry_failed_uploads", number="max_upload_retries"),
        **rows(_PATIENCE, text="upload_timeout"),
        **rows(_SWEPT, flag="cleanup_expired_sessions"),
        **rows(_TOKENS, text="upload_slot_ttl"),
        **rows(
            ignored("unfinished uploads lie in storage_path/.hmacfs and outlive a restart"),
            flag="session_persistence",
            text="session_storage_path",
        ),
        **rows(_ALWAYS, flag="upload_acceleration"),
    },
}
"""By table, to be read beside `struct_keys.STRUCT`."""
