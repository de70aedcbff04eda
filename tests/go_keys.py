"""The keys of the Go server's configuration with values as sites have them.

Those that its code reads, and those that only its published templates hold; made of names and types.
"""

from __future__ import annotations

import re
from typing import Final

STRONG: Final = "0f3c9d8e7b6a5f4e3d2c1b0a99887766aabbccddeeff00112233445566778899"
OTHER: Final = "5d41402abc4b2a76b9719d911017c592e4da3b7fbbce2345d7772b0674a318d5"

# Every key of the Go server with a value of its type: server.bind_ip to compression.level.
STRINGS = {
    "server": """bind_ip=0.0.0.0 listen_address=:8080 storage_path=/srv/up metrics_path=/metrics
        pid_file=/run/x.pid
        max_upload_size=10GB cleanup_interval=24h max_file_age=720h pre_cache_interval=1h min_free_bytes=1GB
        file_naming=original force_protocol=auto metricsport=9091 filettl=1y pidfilepath=/run/x.pid""",
    "logging": "level=WARNING file=/var/log/x.log",
    "deduplication": "directory=./d maxsize=1GB",
    "iso": "mountpoint=/mnt size=1GB charset=utf-8 containerfile=/mnt/x.iso",
    "timeouts": "readtimeout=4800s writetimeout=4800s idletimeout=4800s shutdown=30s",
    "security": f"secret={STRONG} jwtsecret={OTHER} jwtalgorithm=HS256 jwtexpiration=24h",
    "versioning": "backend=simple",
    "uploads": "chunk_size=8MB sessiontimeout=30m",
    "downloads": "chunk_size=8MB",
    "clamav": "clamavsocket=/run/clamd maxscansize=100MB",
    "redis": "redisaddr=localhost:6379 redispassword= redishealthcheckinterval=120s",
    "build": "version=3.4.0",
    "network_resilience": "detection_interval=5s quality_check_interval=5s max_detection_interval=5s "
    "switch_threshold_latency=5s switch_detection_interval=5s",
    "client_network_support": "session_migration_timeout=5m",
    "audit": "output=file path=/var/log/a.log format=json",
    "validation": "max_file_size=1GB",
    "quotas": "default=100MB tracking=memory",
    "admin": "bind=127.0.0.1 path_prefix=/admin",
    "rate_limit": "cleanup_interval=1m",
    "key_rotation": "rotation_interval=30d grace_period=48h key_storage=/var/keys",
    "metadata": "db_path=/var/m.db purge_age=30d",
    "compression": "algorithm=zstd threshold=1KB",
}
OTHERS = {
    "server": """metricsenabled=true max_header_bytes=1048576 pre_cache=true pre_cache_workers=4
        global_extensions=[".txt"] deduplication_enabled=true enable_dynamic_workers=true
        worker_scale_up_thresh=50
        worker_scale_down_thresh=10 unixsocket=false filettlenabled=true autoadjustworkers=true
        networkevents=false         clean_upon_exit=true precaching=true""",
    "logging": "max_size=100 max_backups=7 max_age=30 compress=true",
    "deduplication": "enabled=true",
    "iso": "enabled=false",
    "security": """enablejwt=false enhanced_security=true challenge_on_network_change=true
        reauth_on_long_standby=true standby_threshold_minutes=30 long_standby_threshold_hours=24""",
    "versioning": "enableversioning=false maxversions=1",
    "uploads": """allowed_extensions=[".a"] maxretries=3 chunked_uploads_enabled=true
        resumable_uploads_enabled=true""",
    "downloads": 'allowed_extensions=[".a"] chunked_downloads_enabled=true resumable_downloads_enabled=true',
    "clamav": 'clamavenabled=true numscanworkers=2 scanfileextensions=[".exe"]',
    "redis": "redisenabled=false redisdbindex=0",
    "workers": "numworkers=4 uploadqueuesize=5000",
    "file": "filerevision=1",
    "network_resilience": """fast_detection=true quality_monitoring=true predictive_switching=true
        mobile_optimizations=true multi_interface_enabled=true interface_priority=["eth0"]
        auto_switch_enabled=true switch_threshold_packet_loss=5.0 quality_degradation_threshold=1
        max_switch_attempts=3""",
    "client_network_support": """session_based_tracking=true allow_ip_changes=true
        max_ip_changes_per_session=10
        client_connection_detection=true adapt_to_client_network=true""",
    "audit": 'enabled=true events=["upload"] max_size=100 max_age=30',
    "validation": 'check_magic_bytes=true allowed_types=["image/*"] blocked_types=["x"] strict_mode=false',
    "quotas": 'enabled=true custom={"a@b"="1GB"}',
    "admin": 'enabled=true auth={type="bearer"}',
    "rate_limit": """enabled=true requests_per_minute=60 burst_size=10 by_jid=true by_ip=true
        whitelisted_ips=["::1"]         whitelisted_jids=[]""",
    "key_rotation": "enabled=true",
    "metadata": "enabled=true",
    "compression": "enabled=true level=3 adaptive_compression=true compression_negotiation=true",
}

# Key by key, with a value of its type: what the templates hold beyond what the code reads.
KEYS: Final = """
auth: bearer_tokens_enabled=true extended_validation=true grace_period=7200 hmac_enabled=true jwt_enabled=true
 token_expiry=86400
client_network: adapt_to_client_network=true allow_ip_changes=true max_ip_changes_per_session=20
 session_based_tracking=true session_migration_timeout='10m'
client_optimization: adaptation_speed='medium' connection_fingerprinting=true enabled=true
 learning_enabled=true performance_classification=true user_agent_analysis=true
client_optimization.strategy_desktop: buffer_size='128KB' chunk_size='2MB' retry_multiplier=1.0
 timeout_multiplier=1.0
client_optimization.strategy_mobile: buffer_size='32KB' chunk_size='512KB' retry_multiplier=1.5
 timeout_multiplier=2.0
client_optimization.strategy_server: buffer_size='512KB' chunk_size='8MB' retry_multiplier=0.5
 timeout_multiplier=0.5
ejabberd: extended_compatibility=true max_file_size='500MB' module_type='x' payload_format_flexibility=true
 quota_per_user='5GB' xep0363_enabled=true
experimental: adaptive_compression=true compression_negotiation=true http3_support=false
 intelligent_prefetching=false io_uring_support=false memory_mapped_files=false ml_optimization=false
 predictive_caching=false quic_protocol=false zero_copy_optimization=true
handoff: chunk_retry_on_switch=true enabled=true handoff_cooldown='30s' handoff_hysteresis=10.0
 handoff_strategy='x' handoff_timeout='10s' interface_quality_history=50 min_quality_threshold=70.0
 pause_transfers_on_switch=false performance_comparison_window='5m' quality_excellent=90.0 quality_fair=50.0
 quality_good=70.0 quality_poor=30.0 seamless_handoff=true seamless_switching=true
 switch_notification_enabled=true
logging: log_auth_failures=true log_ip_changes=true log_network_events=true log_session_recovery=true
 log_token_refresh=true log_token_validation=true log_upload_sessions=true
metrics: enabled=true expose_network_metrics=true expose_upload_metrics=true port=9091
 track_network_changes=true track_network_switches=true track_session_recovery=true
monitoring: aggregate_interval='1m' client_analytics=true client_profile_retention='30d' detailed_metrics=true
 metrics_retention='7d' performance_history='24h' performance_tracking=true realtime_interval='1s'
 summary_interval='1h'
network_interfaces: interface_discovery_enabled=true interface_monitoring_interval='10s'
 interface_priorities=[{name='eth0',priority=10}] interface_quality_samples=10 multi_interface_enabled=true
 primary_interface='auto'
network_interfaces.cellular: buffer_size='128KB' chunk_size='512KB' priority=40 timeout_multiplier=3.0
network_interfaces.ethernet: buffer_size='1MB' chunk_size='10MB' priority=10 timeout_multiplier=1.0
network_interfaces.lte: buffer_size='256KB' chunk_size='2MB' priority=30 timeout_multiplier=2.0
network_interfaces.vpn: buffer_size='256KB' chunk_size='2MB' priority=50 timeout_multiplier=1.5
network_interfaces.wifi: buffer_size='512KB' chunk_size='5MB' priority=20 timeout_multiplier=1.2
performance: buffer_pool_preallocation=true gc_optimization=true performance_history_samples=100
security: bearer_tokens_enabled=true block_suspicious_ips=false hmac_enabled=true jwt_enabled=true
 max_requests_per_minute=120 max_uploads_per_user_per_hour=100 mobile_grace_period='12h' rate_limiting=true
 standby_grace_period='24h' token_grace_period='8h' trust_proxy_headers=true ultra_max_grace='72h'
server: adapt_to_client_network=true allow_ip_changes=true bind_all_interfaces=true
 client_multi_interface=true interface='0.0.0.0' port=8082 upload_path='./uploads'
session_store: backend='memory' cleanup_interval='30m' enabled=true max_session_age='72h' max_sessions=50000
 max_token_refreshes=10 redis_url='' session_recovery_enabled=true upload_resumption_enabled=true
sessionstore: backend='memory' cleanup_interval_minutes=60 enabled=true expiry_hours=72
storage: cleanup_expired_sessions=true cleanup_interval='6h' compress_old_logs=true retention_days=7
streaming: adaptive_streaming=true latency_optimization=true max_retry_attempts=5
 network_condition_monitoring=true quality_thresholds=[] retry_backoff_multiplier=2.0
 throughput_optimization=true
timeouts: adaptive_timeouts=true handshake_timeout='120s' keep_alive_timeout='300s' max_timeout='300s'
 min_timeout='5s' timeout_adaptation_factor=1.2
uploads: adaptive_compression=true allow_ip_changes=true allow_session_resume=true
 chunk_adaptation_algorithm='predictive' cleanup_expired_sessions=true client_reconnect_window='300s'
 compression_threshold='1MB' concurrent_chunk_uploads=3 dedupe=true max_chunk_size='10MB'
 max_files_per_user=1000 max_resumable_age='72h' max_upload_retries=8 max_upload_size='1GB'
 min_chunk_size='256KB' network_aware_chunking=true network_change_grace_period='120s'
 retry_failed_uploads=true session_persistence=true session_recovery_timeout='600s'
 session_storage_path='./sessions' ttl='168h' ttl_enabled=false upload_acceleration=true
 upload_pause_timeout='10m' upload_slot_ttl='86400s' upload_timeout='3600s'
downloads: range_requests=true connection_multiplexing=false bandwidth_estimation=true quality_adaptation=true
"""
ROWS: Final = [
    (table, *pair.split("=", 1))
    for table, pairs in re.findall(r"^([a-z_.]+): (.*(?:\n .*)*)", KEYS, re.MULTILINE)
    for pair in pairs.split()
]
"""Table, key and value of what the templates hold beside the rest."""

_ALL: Final = "client_optimization client_optimization.strategy_mobile client_optimization.strategy_desktop "
TEMPLATES: Final = {
    "adaptive": "server performance uploads downloads streaming security logging network_resilience "
    "network_interfaces network_interfaces.ethernet network_interfaces.wifi network_interfaces.lte "
    f"network_interfaces.cellular network_interfaces.vpn handoff {_ALL} client_optimization.strategy_server "
    "monitoring experimental timeouts deduplication iso versioning clamav",
    "production": "server performance uploads downloads network_resilience network_interfaces handoff "
    "security logging deduplication iso timeouts versioning clamav redis workers file build",
    "mobile": "server security uploads timeouts logging workers metrics ejabberd",
    "switching": "server security session_store uploads network_resilience timeouts logging workers metrics "
    "client_network build",
    "security": "server security sessionstore uploads downloads logging build",
    "ejabberd": "server auth uploads network_resilience downloads timeouts logging workers metrics storage",
    "features": "server security uploads downloads logging workers timeouts clamav redis audit validation "
    "quotas admin rate_limit key_rotation metadata compression client_network_support",
}
"""The tables of each published template."""


def template(name: str, changes: dict[str, str]) -> str:
    """Return a configuration with every key of a template's tables; in `changes` "" leaves one out."""
    lines: dict[str, dict[str, str]] = {table: {} for table in TEMPLATES[name].split()}
    for table, keys in lines.items():
        for pair in STRINGS.get(table, "").split():
            key, value = pair.split("=", 1)
            keys[key] = f"'{value}'"
        keys |= dict(pair.split("=", 1) for pair in OTHERS.get(table, "").split())
        keys |= {key: value for at, key, value in ROWS if at == table}
    for path, value in changes.items():
        table, _, key = path.rpartition(".")
        if table in lines:
            lines[table].pop(key, None)
            lines[table] |= {key: value} if value else {}
    return "".join(
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for table, keys in lines.items()
    )
