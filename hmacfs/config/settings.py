"""The settings: one frozen class per TOML table, every key with its default and its meaning.

The meaning stands in the key and not in a docstring, because `gen-config` and
docs/configuration.md are made from it. Sizes are bytes, durations seconds. Values only: `load` makes
them and has checked them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hmacfs.config.keys import ValueKind, setting
from hmacfs.config.tuning import Performance, Streaming
from hmacfs.model import PROTOCOLS, XMPP_DIALECTS, Durability, Endpoint, GiB, KiB, MiB, Secret

DEFAULT_PROTOCOLS: Final = XMPP_DIALECTS
"""What an endpoint accepts that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Table [server]: sockets, storage and limits."""

    listen_address: tuple[str, ...] = setting(
        ValueKind.LISTENS,
        ("127.0.0.1:8080",),
        '"host:port" (":8080": every address; "[::1]:8080": IPv6) or "unix:/path"; or a list.',
        fixed=True,
    )
    socket_mode: int = setting(ValueKind.MODE, 0o660, "Mode of unix sockets.", fixed=True, most=0o777)
    socket_group: str = setting(
        ValueKind.TEXT, "", 'Group that owns unix sockets; "" leaves the process\'s own.', fixed=True
    )
    storage_path: str = setting(
        ValueKind.PATH,
        "./var",
        "Directory of the files; a relative one starts at the working directory.",
        fixed=True,
    )
    trusted_proxies: tuple[str, ...] = setting(
        ValueKind.NETWORKS,
        (),
        'Networks of your own proxies, such as "127.0.0.1" or "10.1.0.0/16", and "unix" for '
        "every peer on a unix socket. Only they are believed about a client; by default nobody is.",
    )
    proxy_protocol: bool = setting(
        ValueKind.FLAG,
        False,
        "Whether connections from trusted_proxies begin with a PROXY protocol header (version "
        "1 or 2), whose source is then the client in the log. Others have none.",
        fixed=True,
    )
    offload: str = setting(
        ValueKind.CHOICE,
        "",
        "A download that came through a proxy in trusted_proxies is answered without its bytes, "
        'and the proxy sends the file itself: nginx with "x-accel-redirect" (deploy/nginx-offload.conf), '
        'Apache with "x-sendfile" (deploy/apache-offload.conf).',
        choices=("", "x-accel-redirect", "x-sendfile"),
    )
    offload_prefix: str = setting(
        ValueKind.TEXT,
        "/protected/",
        'nginx\'s internal location whose alias is storage_path; "x-sendfile" needs none.',
    )
    workers: int = setting(
        ValueKind.COUNT,
        0,
        "Worker processes; 0 is one per core that the process may use, by its affinity and by "
        "the quota of its control groups (a container's CPUs), rounded up.",
        most=1024,
        fixed=True,
    )
    max_upload_size: int = setting(
        ValueKind.SIZE, 10 * GiB, "Largest file taken; larger ones are refused with 413.", least=1
    )
    min_free_bytes: int = setting(
        ValueKind.SIZE, 1 * GiB, "Disk space kept free; an upload that would go below it gets 507."
    )
    max_header_bytes: int = setting(
        ValueKind.SIZE, 16 * KiB, "Largest request head; above it 431.", least=1 * KiB, most=1 * MiB
    )
    max_header_fields: int = setting(
        ValueKind.COUNT, 100, "Most header fields of a request; above it 431.", least=8, most=10_000
    )
    max_pipelined: int = setting(
        ValueKind.COUNT,
        16,
        "Most requests of one connection that may wait for their answers; more are not read yet.",
        least=1,
        most=1024,
    )
    max_connections: int = setting(
        ValueKind.COUNT,
        0,
        "Most connections of one worker; 0 follows from the limit of open files.",
        most=10_000_000,
    )
    durability: Durability = setting(
        ValueKind.CHOICE,
        Durability.FULL,
        'What 201 promises: "full" survives a power cut, "relaxed" only a crash of the server.',
        choices=("full", "relaxed"),
    )
    file_ttl: float | None = setting(
        ValueKind.DURATION,
        None,
        'Files are deleted at this age unless their token says otherwise; "0" keeps them.',
    )
    sweep_interval_s: float = setting(
        ValueKind.DURATION, 60, "How often expired files are looked for.", name="sweep_interval", least=1
    )
    file_mode: int = setting(
        ValueKind.MODE, 0o640, "Mode of stored files; the owner must read.", least=0o400, most=0o666
    )
    directory_mode: int = setting(
        ValueKind.MODE,
        0o750,
        "Mode of directories made below storage_path; the owner needs all of 7.",
        least=0o700,
        most=0o2777,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Table [metrics]: the listener for operators."""

    listen_address: str = setting(
        ValueKind.LISTEN,
        "127.0.0.1:9090",
        'Serves /metrics, /livez and /readyz; "" switches them off. Never a public address.',
        fixed=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Table [security]: the keys shared with the XMPP server."""

    secrets: tuple[Secret, ...] = setting(
        ValueKind.SECRETS,
        (),
        'Shared with the XMPP server, >= 32 bytes; "${NAME}" reads the environment. '
        "In a list, while one replaces another, the first signs and all verify.",
        name="secret",
    )
    secret_file: str = setting(
        ValueKind.PATH, "", "File that holds the secret instead; one newline at its end is dropped."
    )
    delete_secret: Secret | None = setting(
        ValueKind.SECRET, None, 'Metronome\'s http_file_delete_secret; "" allows no DELETE.'
    )
    allow_weak_secret: bool = setting(
        ValueKind.FLAG, False, "Accept short, example and guessable secrets. For tests only."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Table [tls]: HTTPS without a proxy, for small sites; nginx's TLS is cheaper and speaks HTTP/2."""

    listen_address: tuple[str, ...] = setting(
        ValueKind.LISTENS,
        (),
        'Addresses for HTTPS, such as ":8443", beside those of [server]; "" is none.',
        fixed=True,
    )
    certificate: str = setting(
        ValueKind.PATH,
        "",
        "PEM file with the certificate and those between it and its root. SIGHUP reads it again.",
    )
    key: str = setting(
        ValueKind.PATH, "", 'PEM file with the private key; "" if the certificate\'s file holds it.'
    )
    min_version: str = setting(
        ValueKind.CHOICE, "1.2", "The oldest version of TLS spoken.", choices=("1.2", "1.3")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Table [timeouts]: when a slow client is given up; 0 is not "never"."""

    headertimeout_s: float = setting(
        ValueKind.DURATION,
        15,
        "A whole request head must arrive within it; else 408.",
        name="headertimeout",
        least=0.001,
    )
    readtimeout_s: float = setting(
        ValueKind.DURATION,
        30,
        "Window over which a body must average min_rate; else 408. No limit of the total time.",
        name="readtimeout",
        least=0.001,
    )
    min_rate: int = setting(
        ValueKind.SIZE,
        512,
        "Bytes a second that a body must average over readtimeout, an answer over writetimeout.",
    )
    writetimeout_s: float = setting(
        ValueKind.DURATION,
        60,
        "Window over which a client must take min_rate of an answer; else it is dropped.",
        name="writetimeout",
        least=0.001,
    )
    idletimeout_s: float = setting(
        ValueKind.DURATION,
        75,
        "How long a connection may wait between two requests.",
        name="idletimeout",
        least=0.001,
    )
    shutdown_s: float = setting(
        ValueKind.DURATION, 30, "How long transfers in flight may take to end after SIGTERM.", name="shutdown"
    )
    linger_s: float = setting(
        ValueKind.DURATION,
        5,
        "How long a client may be silent after its last answer before the connection is closed. "
        "One that goes on sending is read for six times as long, so that a refusal reaches it.",
        name="linger",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Table [logging]: one line per request and event."""

    level: str = setting(
        ValueKind.CHOICE, "info", "The least that is logged.", choices=("debug", "info", "warn", "error")
    )
    file: str = setting(ValueKind.PATH, "", 'File to append to; "" is standard error.')
    format: str = setting(ValueKind.CHOICE, "logfmt", "How a line is written.", choices=("logfmt", "json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Table [cors]: which web pages may use the server (Fetch standard, CORS protocol)."""

    allow_origins: tuple[str, ...] = setting(
        ValueKind.ORIGINS, ("*",), 'Origins allowed, such as "https://chat.example"; "*" is any.'
    )
    max_age_s: int = setting(
        ValueKind.WHOLE_SECONDS,
        86_400,
        "How long a browser may remember the answer of a preflight.",
        name="max_age",
        most=31_536_000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTable:
    """Table [[endpoint]]: one public door; without any, the one below with [security]'s secret."""

    # As it is written; `endpoints` makes a `model.Endpoint` of it.

    prefix: str = setting(
        ValueKind.TEXT,
        "/upload/",
        'Start of the URL path, "/" at both ends; not part of the MAC. The longest match wins. '
        'A segment "@HOST@" is any host, as in ejabberd\'s put_url: "/upload/@HOST@/".',
    )
    directory: str = setting(
        ValueKind.TEXT,
        "upload",
        'Directory below storage_path; by default the prefix without its outer "/". '
        '"" adopts a store that lies in storage_path itself.',
    )
    protocols: tuple[str, ...] = setting(
        ValueKind.NAMES,
        DEFAULT_PROTOCOLS,
        'Token dialects accepted. "tus" makes the prefix itself take resumable uploads, of tus '
        'and of the IETF, from whoever holds a JWT of its secret; "/files/" is its usual prefix.',
        choices=PROTOCOLS,
    )
    secrets: tuple[Secret, ...] = setting(
        ValueKind.SECRETS, (), "Its own secret; by default that of [security].", name="secret"
    )
    secret_file: str = setting(ValueKind.PATH, "", "File that holds its own secret.")
    delete_secret: Secret | None = setting(
        ValueKind.SECRET, None, "Its own delete_secret; by default that of [security]."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Table [uploads]: uploads that may take many requests."""

    resumable_uploads_enabled: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether an upload that broke off is kept and may be gone on with: every signed PUT URL "
        "then speaks tus, the IETF's resumable uploads and PUT with Content-Range. Endpoints of "
        'protocol "tus" do so in any case.',
    )
    chunked_uploads_enabled: bool = setting(
        ValueKind.FLAG,
        True,
        "Whether the Go server's /chunked-upload and /upload-status are served, to clients "
        'with a token of "gojwt" or a signed PUT URL.',
    )
    concurrent_chunk_uploads: bool = setting(
        ValueKind.FLAG, True, "Whether several chunks of one such upload may come at the same time."
    )
    sessiontimeout_s: float = setting(
        ValueKind.DURATION,
        86_400,
        "How long an unfinished upload is kept after its last use.",
        name="sessiontimeout",
        least=1,
    )
    max_unfinished: int = setting(
        ValueKind.COUNT,
        100,
        "Most unfinished uploads of one owner, as its token names it; more get 429.",
        least=1,
        most=100_000,
    )
    bodytimeout_s: float = setting(
        ValueKind.DURATION,
        86_400,
        "How long the body of one request may take in all, however steadily it comes; then 408, "
        "and what has come is kept for whoever goes on.",
        name="bodytimeout",
        least=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the server may know of its site; nothing reads the environment later."""

    server: Server = Server()
    """Table [server]."""
    metrics: Metrics = Metrics()
    """Table [metrics]."""
    security: Security = Security()
    """Table [security]."""
    tls: Tls = Tls()
    """Table [tls]."""
    pem: Secret | None = None
    """What the two files of [tls] held when they were checked; None if it listens nowhere."""
    timeouts: Timeouts = Timeouts()
    """Table [timeouts]."""
    logging: Logging = Logging()
    """Table [logging]."""
    cors: Cors = Cors()
    """Table [cors]."""
    uploads: Uploads = Uploads()
    """Table [uploads]."""
    streaming: Streaming = Streaming()
    """Table [streaming]."""
    performance: Performance = Performance()
    """Table [performance]."""
    endpoints: tuple[Endpoint, ...] = ()
    """Tables [[endpoint]], longest prefix first; `load` never leaves it empty."""


TABLES: Final[dict[str, type]] = {
    "server": Server,
    "metrics": Metrics,
    "security": Security,
    "tls": Tls,
    "timeouts": Timeouts,
    "logging": Logging,
    "cors": Cors,
    "uploads": Uploads,
    "streaming": Streaming,
    "performance": Performance,
}
"""The single tables by name, in the order in which they are printed."""
