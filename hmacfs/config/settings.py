"""The settings: one frozen class per TOML table, every key with its default and its meaning.

The meaning stands in the annotation, not in a docstring, because `gen-config` and
docs/configuration.md are made from it. Sizes are bytes, durations seconds. Values only: `load` makes
them and has checked them.
"""

# No `from __future__ import annotations` here: the annotations are data.
from dataclasses import dataclass
from typing import Annotated, Final

from hmacfs.config.keys import Key, ValueKind
from hmacfs.model import Durability, Endpoint, GiB, KiB, MiB, Secret

PROTOCOLS: Final = ("v2", "v", "token", "jwt", "v3", "bearer", "gojwt", "tus")
"""What an endpoint may name: `hmacfs.auth.DIALECTS` and `TUS`, which may not be imported here."""

DEFAULT_PROTOCOLS: Final = ("v2", "v", "token")
"""What an endpoint accepts that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Table [server]: sockets, storage and limits."""

    listen_address: Annotated[
        tuple[str, ...],
        Key(
            kind=ValueKind.LISTENS,
            fixed=True,
            meaning='"host:port" (":8080": every address; "[::1]:8080": IPv6) or "unix:/path"; or a list.',
        ),
    ] = ("127.0.0.1:8080",)
    socket_mode: Annotated[
        int,
        Key(kind=ValueKind.MODE, fixed=True, most=0o777, meaning="Mode of unix sockets."),
    ] = 0o660
    socket_group: Annotated[
        str,
        Key(
            kind=ValueKind.TEXT,
            fixed=True,
            meaning='Group that owns unix sockets; "" leaves the process\'s own.',
        ),
    ] = ""
    storage_path: Annotated[
        str,
        Key(
            kind=ValueKind.PATH,
            fixed=True,
            meaning="Directory of the files; a relative one starts at the working directory.",
        ),
    ] = "./var"
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            kind=ValueKind.NETWORKS,
            meaning='Networks of your own proxies, such as "127.0.0.1" or "10.1.0.0/16", and "unix" for '
            "every peer on a unix socket. Only they are believed about a client; by default nobody is.",
        ),
    ] = ()
    proxy_protocol: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            fixed=True,
            meaning="Whether connections from trusted_proxies begin with a PROXY protocol header (version "
            "1 or 2), whose source is then the client in the log. Others have none.",
        ),
    ] = False
    offload: Annotated[
        str,
        Key(
            kind=ValueKind.CHOICE,
            choices=("", "x-accel-redirect", "x-sendfile"),
            meaning="A download that came through a proxy in trusted_proxies is answered without its bytes, "
            'and the proxy sends the file itself: nginx with "x-accel-redirect" (deploy/nginx-offload.conf), '
            'Apache with "x-sendfile" (deploy/apache-offload.conf).',
        ),
    ] = ""
    offload_prefix: Annotated[
        str,
        Key(
            kind=ValueKind.TEXT,
            meaning='nginx\'s internal location whose alias is storage_path; "x-sendfile" needs none.',
        ),
    ] = "/protected/"
    workers: Annotated[
        int,
        Key(
            kind=ValueKind.COUNT,
            most=1024,
            fixed=True,
            meaning="Worker processes; 0 is one per core that the process may use, by its affinity and by "
            "the quota of its control groups (a container's CPUs), rounded up.",
        ),
    ] = 0
    max_upload_size: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1, meaning="Largest file taken; larger ones are refused with 413."),
    ] = 10 * GiB
    min_free_bytes: Annotated[
        int,
        Key(kind=ValueKind.SIZE, meaning="Disk space kept free; an upload that would go below it gets 507."),
    ] = 1 * GiB
    max_header_bytes: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1 * KiB, most=1 * MiB, meaning="Largest request head; above it 431."),
    ] = 16 * KiB
    max_header_fields: Annotated[
        int,
        Key(
            kind=ValueKind.COUNT,
            least=8,
            most=10_000,
            meaning="Most header fields of a request; above it 431.",
        ),
    ] = 100
    max_pipelined: Annotated[
        int,
        Key(
            kind=ValueKind.COUNT,
            least=1,
            most=1024,
            meaning="Most requests of one connection that may wait for their answers; more are not read yet.",
        ),
    ] = 16
    max_connections: Annotated[
        int,
        Key(
            kind=ValueKind.COUNT,
            most=10_000_000,
            meaning="Most connections of one worker; 0 follows from the limit of open files.",
        ),
    ] = 0
    durability: Annotated[
        Durability,
        Key(
            kind=ValueKind.CHOICE,
            choices=("full", "relaxed"),
            meaning='What 201 promises: "full" survives a power cut, "relaxed" only a crash of the server.',
        ),
    ] = Durability.FULL
    file_ttl: Annotated[
        float | None,
        Key(
            kind=ValueKind.DURATION,
            meaning='Files are deleted at this age unless their token says otherwise; "0" keeps them.',
        ),
    ] = None
    sweep_interval_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="sweep_interval",
            least=1,
            meaning="How often expired files are looked for.",
        ),
    ] = 60
    file_mode: Annotated[
        int,
        Key(
            kind=ValueKind.MODE, least=0o400, most=0o666, meaning="Mode of stored files; the owner must read."
        ),
    ] = 0o640
    directory_mode: Annotated[
        int,
        Key(
            kind=ValueKind.MODE,
            least=0o700,
            most=0o2777,
            meaning="Mode of directories made below storage_path; the owner needs all of 7.",
        ),
    ] = 0o750


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Table [metrics]: the listener for operators."""

    listen_address: Annotated[
        str,
        Key(
            kind=ValueKind.LISTEN,
            fixed=True,
            meaning='Serves /metrics, /livez and /readyz; "" switches them off. Never a public address.',
        ),
    ] = "127.0.0.1:9090"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Table [security]: the keys shared with the XMPP server."""

    secrets: Annotated[
        tuple[Secret, ...],
        Key(
            kind=ValueKind.SECRETS,
            name="secret",
            meaning='Shared with the XMPP server, >= 32 bytes; "${NAME}" reads the environment. '
            "In a list, while one replaces another, the first signs and all verify.",
        ),
    ] = ()
    secret_file: Annotated[
        str,
        Key(
            kind=ValueKind.PATH,
            meaning="File that holds the secret instead; one newline at its end is dropped.",
        ),
    ] = ""
    delete_secret: Annotated[
        Secret | None,
        Key(kind=ValueKind.SECRET, meaning='Metronome\'s http_file_delete_secret; "" allows no DELETE.'),
    ] = None
    allow_weak_secret: Annotated[
        bool,
        Key(kind=ValueKind.FLAG, meaning="Accept short, example and guessable secrets. For tests only."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Table [tls]: HTTPS without a proxy, for small sites; nginx's TLS is cheaper and speaks HTTP/2."""

    listen_address: Annotated[
        tuple[str, ...],
        Key(
            kind=ValueKind.LISTENS,
            fixed=True,
            meaning='Addresses for HTTPS, such as ":8443", beside those of [server]; "" is none.',
        ),
    ] = ()
    certificate: Annotated[
        str,
        Key(
            kind=ValueKind.PATH,
            meaning="PEM file with the certificate and those between it and its root. SIGHUP reads it again.",
        ),
    ] = ""
    key: Annotated[
        str,
        Key(
            kind=ValueKind.PATH,
            meaning='PEM file with the private key; "" if the certificate\'s file holds it.',
        ),
    ] = ""
    min_version: Annotated[
        str,
        Key(kind=ValueKind.CHOICE, choices=("1.2", "1.3"), meaning="The oldest version of TLS spoken."),
    ] = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Table [timeouts]: when a slow client is given up; 0 is not "never"."""

    headertimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="headertimeout",
            least=0.001,
            meaning="A whole request head must arrive within it; else 408.",
        ),
    ] = 15
    readtimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="readtimeout",
            least=0.001,
            meaning="Window over which a body must average min_rate; else 408. No limit of the total time.",
        ),
    ] = 30
    min_rate: Annotated[
        int,
        Key(
            kind=ValueKind.SIZE,
            meaning="Bytes a second that a body must average over readtimeout, an answer over writetimeout.",
        ),
    ] = 512
    writetimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="writetimeout",
            least=0.001,
            meaning="Window over which a client must take min_rate of an answer; else it is dropped.",
        ),
    ] = 60
    idletimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="idletimeout",
            least=0.001,
            meaning="How long a connection may wait between two requests.",
        ),
    ] = 75
    shutdown_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="shutdown",
            meaning="How long transfers in flight may take to end after SIGTERM.",
        ),
    ] = 30
    linger_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="linger",
            meaning="How long a client may be silent after its last answer before the connection is closed. "
            "One that goes on sending is read for six times as long, so that a refusal reaches it.",
        ),
    ] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Table [logging]: one line per request and event."""

    level: Annotated[
        str,
        Key(
            kind=ValueKind.CHOICE,
            choices=("debug", "info", "warn", "error"),
            meaning="The least that is logged.",
        ),
    ] = "info"
    file: Annotated[
        str,
        Key(kind=ValueKind.PATH, meaning='File to append to; "" is standard error.'),
    ] = ""
    format: Annotated[
        str,
        Key(kind=ValueKind.CHOICE, choices=("logfmt", "json"), meaning="How a line is written."),
    ] = "logfmt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Table [cors]: which web pages may use the server (Fetch standard, CORS protocol)."""

    allow_origins: Annotated[
        tuple[str, ...],
        Key(kind=ValueKind.ORIGINS, meaning='Origins allowed, such as "https://chat.example"; "*" is any.'),
    ] = ("*",)
    max_age_s: Annotated[
        int,
        Key(
            kind=ValueKind.WHOLE_SECONDS,
            name="max_age",
            most=31_536_000,
            meaning="How long a browser may remember the answer of a preflight.",
        ),
    ] = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointTable:
    """Table [[endpoint]]: one public door; without any, the one below with [security]'s secret."""

    # As it is written; `endpoints` makes a `model.Endpoint` of it.

    prefix: Annotated[
        str,
        Key(
            kind=ValueKind.TEXT,
            meaning='Start of the URL path, "/" at both ends; not part of the MAC. The longest match wins. '
            'A segment "@HOST@" is any host, as in ejabberd\'s put_url: "/upload/@HOST@/".',
        ),
    ] = "/upload/"
    directory: Annotated[
        str,
        Key(
            kind=ValueKind.TEXT,
            meaning='Directory below storage_path; by default the prefix without its outer "/". '
            '"" adopts a store that lies in storage_path itself.',
        ),
    ] = "upload"
    protocols: Annotated[
        tuple[str, ...],
        Key(
            kind=ValueKind.NAMES,
            choices=PROTOCOLS,
            meaning='Token dialects accepted. "tus" makes the prefix itself take resumable uploads, of tus '
            'and of the IETF, from whoever holds a JWT of its secret; "/files/" is its usual prefix.',
        ),
    ] = DEFAULT_PROTOCOLS
    secrets: Annotated[
        tuple[Secret, ...],
        Key(kind=ValueKind.SECRETS, name="secret", meaning="Its own secret; by default that of [security]."),
    ] = ()
    secret_file: Annotated[
        str,
        Key(kind=ValueKind.PATH, meaning="File that holds its own secret."),
    ] = ""
    delete_secret: Annotated[
        Secret | None,
        Key(kind=ValueKind.SECRET, meaning="Its own delete_secret; by default that of [security]."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Table [uploads]: uploads that may take many requests."""

    resumable_uploads_enabled: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether an upload that broke off is kept and may be gone on with: every signed PUT URL "
            "then speaks tus, the IETF's resumable uploads and PUT with Content-Range. Endpoints of "
            'protocol "tus" do so in any case.',
        ),
    ] = True
    chunked_uploads_enabled: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether the Go server's /chunked-upload and /upload-status are served, to clients "
            'with a token of "gojwt" or a signed PUT URL.',
        ),
    ] = True
    concurrent_chunk_uploads: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether several chunks of one such upload may come at the same time.",
        ),
    ] = True
    sessiontimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="sessiontimeout",
            least=1,
            meaning="How long an unfinished upload is kept after its last use.",
        ),
    ] = 86_400
    max_unfinished: Annotated[
        int,
        Key(
            kind=ValueKind.COUNT,
            least=1,
            most=100_000,
            meaning="Most unfinished uploads of one owner, as its token names it; more get 429.",
        ),
    ] = 100
    bodytimeout_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="bodytimeout",
            least=1,
            meaning="How long the body of one request may take in all, however steadily it comes; then 408, "
            "and what has come is kept for whoever goes on.",
        ),
    ] = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """Table [streaming]: what is done about slow clients, and about a storage or an index in trouble."""

    range_requests: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether a download may ask for a part of a file (206); else it gets all of it, and one "
            "that broke off begins anew.",
        ),
    ] = True
    connection_multiplexing: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether one upload may come over several connections at the same time: as partial "
            "uploads of tus that are joined (concatenation), or in chunks, if concurrent_chunk_uploads is "
            "true.",
        ),
    ] = True
    bandwidth_estimation: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether rates and round trips of transfers are measured, for profiles and metrics.",
        ),
    ] = True
    quality_adaptation: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether large transfers are treated by how good their client's line is known to be: the "
            "worse, the smaller the turns of a download, the less of it waits in the kernel, and the longer "
            "a body may take to average min_rate (twice readtimeout at most, and not above 2m).",
        ),
    ] = True
    excellent_rate: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1, meaning="Bytes a second from which on a line is excellent."),
    ] = 10 * MiB
    good_rate: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1, meaning="The same for a good one."),
    ] = 1 * MiB
    fair_rate: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1, meaning="The same for a fair one; below it a line is poor."),
    ] = 128 * KiB
    excellent_latency_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="excellent_latency",
            least=0.001,
            meaning="Round trip up to which a line is excellent; the worse of rate and round trip decides.",
        ),
    ] = 0.05
    good_latency_s: Annotated[
        float,
        Key(kind=ValueKind.DURATION, name="good_latency", least=0.001, meaning="The same for a good one."),
    ] = 0.15
    fair_latency_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="fair_latency",
            least=0.001,
            meaning="The same for a fair one; above it a line is poor.",
        ),
    ] = 0.4

    automatic_retry: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="A step of an upload that the storage put off (EAGAIN, EBUSY, EINTR) is tried again, "
            "five times and within half a second, before the client gets 503.",
        ),
    ] = True
    exponential_backoff: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="The waits between those tries double, each cut short by chance; else all are 45 ms.",
        ),
    ] = True
    circuit_breaker: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="While the storage or the index keeps failing, a worker answers uploads with 503 at "
            "once, for 1 s at first and for 60 s at most; then the next upload shows whether it is well.",
        ),
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Table [performance]: buffers, what is remembered of clients, and the chunks advised to them."""

    adaptive_buffers: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            fixed=True,
            meaning="Whether the size of an upload's buffer is chosen, and changed while it runs, by what is "
            "measured of its client and of the site; else it is min_buffer_size.",
        ),
    ] = True
    min_buffer_size: Annotated[
        int,
        Key(
            kind=ValueKind.SIZE,
            fixed=True,
            least=16 * KiB,
            most=16 * MiB,
            meaning="Smallest buffer; sizes are powers of two, so this and the next are rounded down to one.",
        ),
    ] = 32 * KiB
    # Larger ones gain next to nothing: 1, 2 and 4 MiB took 0.38 to 0.40 ns of CPU a byte, 32 KiB 0.64,
    # 64 KiB 0.47, 128 KiB 0.42, 256 and 512 KiB 0.39; `python -m benches.run --only buffers` has the whole
    # server's.
    max_buffer_size: Annotated[
        int,
        Key(
            kind=ValueKind.SIZE,
            fixed=True,
            least=16 * KiB,
            most=16 * MiB,
            meaning="Largest buffer; each worker has one that all its uploads use in turn.",
        ),
    ] = 1 * MiB
    initial_buffer_size: Annotated[
        int,
        Key(
            kind=ValueKind.SIZE,
            fixed=True,
            meaning="Buffer for the first client, of which nothing is known; kept between the other two.",
        ),
    ] = 256 * KiB
    buffer_optimization_interval_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="buffer_optimization_interval",
            least=1,
            meaning="How often the size that costs the site least is looked for among all that were tried; "
            "with few fast uploads, less often.",
        ),
    ] = 300
    max_memory_usage: Annotated[
        int,
        Key(
            kind=ValueKind.SIZE,
            fixed=True,
            least=1 * MiB,
            meaning="Most memory for the buffers of all workers; each has at least 256KB. Where it is short "
            "buffers are smaller, and then uploads to a slow disk wait for one.",
        ),
    ] = 256 * MiB
    client_profiling: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether it is remembered how quick and how reliable each client is: by the owner that a "
            "token names, else by IPv4 address or IPv6 /64 network.",
        ),
    ] = True
    profile_persistence_duration_s: Annotated[
        float,
        Key(
            kind=ValueKind.DURATION,
            name="profile_persistence_duration",
            least=60,
            meaning="How long after its last transfer a client is remembered, over restarts too "
            "(storage_path/.hmacfs/clients.db).",
        ),
    ] = 86_400
    hash_client_addresses: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether clients are remembered under keyed hashes, so that the file tells nobody who "
            "was here. The key follows from the first secret; with another one all are strangers again.",
        ),
    ] = True
    connection_type_detection: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether Save-Data, ECT, Downlink, RTT and User-Agent make a first guess at the line of "
            "a client that is not known yet.",
        ),
    ] = True
    intelligent_chunking: Annotated[
        bool,
        Key(
            kind=ValueKind.FLAG,
            meaning="Whether chunks are advised by what is known of the client; else they are 2MB.",
        ),
    ] = True
    min_chunk_size: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1 * KiB, meaning="Smallest chunk that is advised."),
    ] = 256 * KiB
    max_chunk_size: Annotated[
        int,
        Key(kind=ValueKind.SIZE, least=1 * KiB, meaning="Largest chunk that is advised."),
    ] = 10 * MiB
    # The figures are in docs/decisions.md.
    chunk_adaptation_algorithm: Annotated[
        str,
        Key(
            kind=ValueKind.CHOICE,
            choices=("fixed", "adaptive", "predictive"),
            meaning='"fixed": 2MB; "adaptive": a share of the file by the kind of line; "predictive": what '
            "costs least time by rate, round trip and how often the client's connections break.",
        ),
    ] = "predictive"


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
