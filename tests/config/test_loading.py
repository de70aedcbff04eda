from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import config
from hmacfs.config import keys, render
from hmacfs.config.settings import TABLES, Settings
from hmacfs.model import Durability, Endpoint, GiB, MiB, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

STRONG = "0f3c9d8e7b6a5f4e3d2c1b0a99887766aabbccddeeff00112233445566778899"
OTHER = "5d41402abc4b2a76b9719d911017c592e4da3b7fbbce2345d7772b0674a318d5"
SECURITY = f'[security]\nsecret = "{STRONG}"\n'


def parse(text: str, environ: Mapping[str, str] | None = None, base_dir: str = "/base") -> config.Loaded:
    return config.parse(text, name="t.toml", base_dir=base_dir, environ=environ or {})


def faults(
    text: str, environ: Mapping[str, str] | None = None, base_dir: str = "/base"
) -> list[config.Fault]:
    with pytest.raises(config.Faulty) as caught:
        parse(text, environ, base_dir)
    assert str(caught.value) == "\n".join(str(fault) for fault in caught.value.faults)
    return list(caught.value.faults)


def test_a_secret_is_all_that_is_needed() -> None:
    loaded = parse(SECURITY)
    assert loaded.notices == ()
    assert loaded.settings.server.storage_path == "/base/var"
    assert loaded.settings.endpoints == (
        Endpoint(
            prefix="/upload/",
            directory="upload",
            protocols=("v2", "v", "token"),
            secrets=(Secret(STRONG.encode()),),
        ),
    )


def test_every_kind_of_value_is_read() -> None:
    settings = parse(
        SECURITY
        + f"""
delete_secret = "{OTHER}"
[server]
listen_address = ["[::1]:0", "unix:/run/hmacfs.sock", "localhost:8080"]
socket_mode = "0600"
storage_path = "/srv/files/"
workers = 3
max_upload_size = "2 GiB"
file_ttl = "7d"
durability = "relaxed"
[metrics]
listen_address = ""
[timeouts]
idletimeout = 5
min_rate = "1KB"
[logging]
level = "debug"
file = "log/hmacfs.log"
[cors]
allow_origins = ["https://chat.example", "http://localhost:3000"]
max_age = "1h"
[[endpoint]]
prefix = "/"
directory = ""
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
secret = ["{OTHER}", "{OTHER[::-1]}"]
delete_secret = ""
"""
    ).settings
    assert settings.server.listen_address == ("[::1]:0", "unix:/run/hmacfs.sock", "localhost:8080")
    assert settings.server.socket_mode == 0o600
    assert settings.server.storage_path == "/srv/files"
    assert settings.server.max_upload_size == 2 * GiB
    assert settings.server.file_ttl == 7 * 86_400
    assert settings.server.durability is Durability.RELAXED
    assert settings.metrics.listen_address == ""
    assert settings.timeouts.idletimeout_s == 5
    assert settings.timeouts.min_rate == 1024
    assert settings.logging.file == "/base/log/hmacfs.log"
    assert settings.cors.max_age_s == 3600
    assert isinstance(settings.cors.max_age_s, int)
    share, root = settings.endpoints
    assert (root.prefix, root.directory, root.delete_secret) == ("/", "", Secret(OTHER.encode()))
    assert (share.prefix, share.directory, share.delete_secret) == ("/share/", "share", None)
    assert share.secrets == (Secret(OTHER.encode()), Secret(OTHER[::-1].encode()))


ROOT = "[[endpoint]]\nprefix = "

FAULTS = [
    # text after SECURITY, line after it, key path, words of the report
    ("[server]\nworkesr = 1", 2, "server.workesr", 'mean "workers"'),
    ("[sever]\nworkers = 1", 1, "sever", 'mean "server"'),
    ("[server]\nworkers = -1", 2, "server.workers", "from 0"),
    ("[server]\nworkers = 1.5", 2, "server.workers", "whole number"),
    ("[server]\nworkers = true", 2, "server.workers", "true; expected a whole number"),
    ("[server]\nmax_upload_size = '10 PB'", 2, "server.max_upload_size", '"10GB"'),
    ("[server]\nmax_upload_size = 0", 2, "server.max_upload_size", "from 1B"),
    ("[server]\nmax_header_bytes = '1GB'", 2, "server.max_header_bytes", "1KB to 1MB"),
    ("[server]\nsocket_mode = 640", 2, "server.socket_mode", "in quotes"),
    ("[server]\nfile_mode = '0777'", 2, "server.file_mode", "0666"),
    ("[server]\ndirectory_mode = '0070'", 2, "server.directory_mode", "bits of 0700"),
    ("[server]\ndurability = 'ful'", 2, "server.durability", 'mean "full"'),
    ("[server]\nstorage_path = ''", 2, "server.storage_path", "directory"),
    ("[server]\nlisten_address = '8080'", 2, "server.listen_address", None),
    ("[server]\nlisten_address = '/run/x'", 2, "server.listen_address", '"unix:/run/x"'),
    ("[server]\nlisten_address = '::1:8080'", 2, "server.listen_address", "brackets"),
    ("[server]\nlisten_address = ['a:1',\n 'b']", 3, "server.listen_address[1]", "host:port"),
    ("[server]\nlisten_address = ['a:1', 'a:1']", 2, "server.listen_address[1]", "once"),
    ("[server]\nlisten_address = []", 2, "server.listen_address", "host:port"),
    ("[server]\nlisten_address = 'a:65536'", 2, "server.listen_address", "65535"),
    ("[server]\nlisten_address = '300.1.1.1:80'", 2, "server.listen_address", "IPv4"),
    ("[server]\nlisten_address = 'unix:relative'", 2, "server.listen_address", "absolute"),
    ("[server]\ntrusted_proxies = '::1'", 2, "server.trusted_proxies", "list of networks"),
    ("[server]\ntrusted_proxies = ['all']", 2, "server.trusted_proxies[0]", '"10.0.0.0/8"'),
    ("[server]\ntrusted_proxies = ['10.1.0.0/8']", 2, "server.trusted_proxies[0]", 'mean "10.0.0.0/8"'),
    ("[server]\noffload = 'x-send'", 2, "server.offload", '"x-accel-redirect"'),
    ("[server]\noffload = 'x-accel-redirect'", 2, "server.offload", "server.trusted_proxies"),
    (
        "[server]\nproxy_protocol = true\ntrusted_proxies = ['unix']\noffload = 'x-accel-redirect'",
        4,
        "server.offload",
        "proxy_protocol = false",
    ),
    ("[server]\noffload_prefix = 'files/'", 2, "server.offload_prefix", '"/files/"'),
    ("[server]\noffload_prefix = '/'", 2, "server.offload_prefix", '"/protected/"'),
    ("[server]\noffload_prefix = '/a%20b/'", 2, "server.offload_prefix", "letters"),
    ("[server]\nproxy_protocol = true", 2, "server.proxy_protocol", "server.trusted_proxies"),
    (
        "[performance]\nchunk_adaptation_algorithm = 'adaptiv'",
        2,
        "performance.chunk_adaptation_algorithm",
        "mean",
    ),
    ("[performance]\nmax_chunk_size = '100KB'", 2, "performance.max_chunk_size", "not above the largest"),
    ("[performance]\nmin_chunk_size = '20MB'", 2, "performance.min_chunk_size", "not above the largest"),
    ("[streaming]\ngood_rate = '64KB'", 2, "streaming.good_rate", "fair, good, excellent"),
    ("[streaming]\nexcellent_latency = '1s'", 2, "streaming.excellent_latency", "excellent, good, fair"),
    ("[server]\nfile_ttl = 'soon'", 2, "server.file_ttl", "30s"),
    ("[server]\n[server.workers]\nx = 1", 2, "server.workers", "a table"),
    ("server = 3", None, "server", None),
    ("[metrics]\nlisten_address = '127.0.0.1:8080'", 2, "metrics.listen_address", "of its own"),
    ("[metrics]\nlisten_address = ':8080'", 2, "metrics.listen_address", "of its own"),
    ("[metrics]\nlisten_address = 9090", 2, "metrics.listen_address", "host:port"),
    ("[timeouts]\nidletimeout = 0", 2, "timeouts.idletimeout", "at least 0.001s"),
    ("[performance]\nmin_buffer_size = '2MB'", 2, "performance.min_buffer_size", "not above the largest"),
    ("[performance]\nmax_buffer_size = '16KB'", 2, "performance.max_buffer_size", "not above the largest"),
    ("[performance]\nmax_buffer_size = '1GB'", 2, "performance.max_buffer_size", "from 16KB to 16MB"),
    ("[performance]\nmax_memory_usage = '64KB'", 2, "performance.max_memory_usage", "from 1MB"),
    ("[logging]\nlevel = 'loud'", 2, "logging.level", '"debug"'),
    ("[cors]\nallow_origins = ['https://a.example/']", 2, "cors.allow_origins[0]", "without a path"),
    ("[cors]\nallow_origin = ['*']", 2, "cors.allow_origin", 'mean "allow_origins"'),
    ("[endpoint]\nprefix = '/'", 1, "endpoint", "[[endpoint]]"),
    ("[[endpoint]]\ndirectory = ''", 1, "endpoint[0]", "no prefix"),
    (ROOT + "'upload/'", 2, "endpoint[0].prefix", '"/upload/"'),
    (ROOT + "'/upload'", 2, "endpoint[0].prefix", '"/upload/"'),
    (ROOT + "'/a//b/'", 2, "endpoint[0].prefix", "empty"),
    (ROOT + "'/a/../b/'", 2, "endpoint[0].prefix", '".."'),
    (ROOT + "'/a%20b/'", 2, "endpoint[0].prefix", "not encoded"),
    (ROOT + "'/a@HOST@/'", 2, "endpoint[0].prefix", "a segment of its own"),
    (ROOT + "'/@HOST@/@HOST@/'", 2, "endpoint[0].prefix", "once"),
    (ROOT + "'/a/'\ndirectory = 'a/@HOST@'", 3, "endpoint[0].directory", "without @HOST@"),
    (ROOT + "'/a/@HOST@/'\nprotocols = ['tus']", 3, "endpoint[0].protocols", "of its own for tus"),
    (
        ROOT + "'/a/@HOST@/'\nprotocols = ['v']\n" + ROOT + "'/a/'\nprotocols = ['v2']",
        5,
        "endpoint[1].prefix",
        "paths tell apart",
    ),
    (ROOT + "'/.hmacfs/'", 2, "endpoint[0].prefix", "private"),
    (ROOT + "'/a/'\ndirectory = '.hmacfs/x'", 3, "endpoint[0].directory", "private"),
    (ROOT + "'/a/'\ndirectory = '../x'", 3, "endpoint[0].directory", '".."'),
    (ROOT + "'/a/'\ndirectory = '/x'", 3, "endpoint[0].directory", "below storage_path"),
    (ROOT + "'/a/'\n" + ROOT + "'/a/'", 4, "endpoint[1].prefix", "once"),
    (ROOT + "'/a/'\nprotocols = ['v4']", 3, "endpoint[0].protocols[0]", "one of v2"),
    (ROOT + "'/a/'\nprotocols = []", 3, "endpoint[0].protocols", "some of v2"),
    (ROOT + "'/a/'\nprotocol = ['v']", 3, "endpoint[0].protocol", 'mean "protocols"'),
    (ROOT + "'/a/'\nsecret = 'changeme'", 3, "endpoint[0].secret", "example"),
    (ROOT + "'/a/'\nsecret_file = '/does/not/exist'", 3, "endpoint[0].secret_file", "No such file"),
]


@pytest.mark.parametrize(("text", "line", "path", "words"), [row for row in FAULTS if row[3]])
def test_a_fault_has_its_line_and_advice(text: str, line: int, path: str, words: str) -> None:
    for gap in ("", "# comment\n\n"):
        (fault,) = faults(SECURITY + gap + text)
        assert fault.line == line + 2 + gap.count("\n")
        assert fault.path == path
        assert words in str(fault)
        assert str(fault).startswith(f"t.toml:{fault.line}: {path}: ")


def test_a_fixed_buffer_may_be_larger_than_the_largest_of_others() -> None:
    text = SECURITY + "[performance]\nadaptive_buffers = false\nmin_buffer_size = '2MB'"
    assert parse(text).settings.performance.min_buffer_size == 2 * MiB


def test_every_fault_comes_at_once_in_the_order_of_lines() -> None:
    text = """
[timeouts]
readtimeout = "soon"
[server]
worker = 1
max_upload_size = "big"
[security]
secret = "changeme"
[[endpoint]]
prefix = "x"
"""
    assert [(fault.line, fault.path) for fault in faults(text)] == [
        (3, "timeouts.readtimeout"),
        (5, "server.worker"),
        (6, "server.max_upload_size"),
        (8, "security.secret"),
        (10, "endpoint[0].prefix"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[server]\nworkers = \n", 2, "not TOML"),
        ("[server]\n[server]\n", 2, "not TOML"),
        ("x = " + "[" * 5000, 0, "nested too deeply"),
        ("x = " + "9" * 5000, 0, "not TOML"),
        ("x = 2024-13-45", 0, "not TOML"),
    ],
)
def test_what_is_not_toml(text: str, line: int, words: str) -> None:
    (fault,) = faults(text)
    assert words in fault.found or "not TOML" in fault.found
    if line:
        assert fault.line == line


def test_a_server_that_is_a_number() -> None:
    assert [fault.path for fault in faults("server = 3\n" + SECURITY)] == ["server"]


def test_a_key_outside_its_table_is_shown_its_table() -> None:
    (fault,) = faults("workers = 2\n" + SECURITY)
    assert fault.nearest == "server.workers"


def test_no_secret_is_a_fault() -> None:
    (fault,) = faults("[server]\nworkers = 1\n")
    assert "openssl rand" in fault.expected


def test_endpoints_with_their_own_secrets_need_no_other() -> None:
    text = f'[[endpoint]]\nprefix = "/a/"\nsecret = "{OTHER}"\n'
    assert parse(text).settings.endpoints[0].secrets == (Secret(OTHER.encode()),)
    (fault,) = faults(text + '[[endpoint]]\nprefix = "/b/"\n')
    assert (fault.line, fault.path) == (4, "endpoint[1]")


def test_the_longest_prefix_comes_first() -> None:
    text = SECURITY + "".join(f'[[endpoint]]\nprefix = "{prefix}"\n' for prefix in ("/", "/a/b/", "/a/"))
    assert [one.prefix for one in parse(text).settings.endpoints] == ["/a/b/", "/a/", "/"]


@pytest.mark.parametrize(
    ("protocols", "told"),
    [(["v", "v2", "token"], False), (["jwt"], False), (["v2", "jwt"], True), (["v3", "bearer"], True)],
)
def test_one_secret_for_unlike_protocols_is_noticed(protocols: list[str], told: bool) -> None:  # noqa: FBT001 - a table
    notices = parse(SECURITY + f'[[endpoint]]\nprefix = "/"\nprotocols = {protocols}\n').notices
    assert [notice.path for notice in notices] == ["endpoint[0].protocols"] * told


def test_one_secret_for_unlike_endpoints_is_noticed() -> None:
    text = SECURITY + '[[endpoint]]\nprefix = "/a/"\n[[endpoint]]\nprefix = "/b/"\nprotocols = ["jwt"]\n'
    (notice,) = parse(text).notices
    assert (notice.line, notice.path) == (7, "endpoint[1].protocols")


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (["v2"], ["v2"], "v2"),
        (["v", "v2"], ["v2", "token"], "v2"),
        (["jwt"], ["jwt"], "jwt"),
        (["tus"], ["tus"], "tus"),
        (["v"], ["v2"], ""),
    ],
)
def test_one_secret_for_one_protocol_at_two_endpoints_is_noticed(
    one: list[str], other: list[str], told: str
) -> None:
    """No token names the prefix: it would store a file at each."""
    text = "".join(
        f'[[endpoint]]\nprefix = "{prefix}"\nprotocols = {protocols}\n'
        for prefix, protocols in (("/a/", one), ("/b/", other))
    )
    notices = parse(SECURITY + text).notices
    assert [notice.path for notice in notices] == ["endpoint[1].protocols"] * bool(told)
    if told:
        assert f"one secret for {told} here and at endpoint[0]" in notices[0].words
    own = text.replace('prefix = "/b/"', f'prefix = "/b/"\nsecret = "{OTHER}"')
    assert parse(SECURITY + own).notices == ()


def test_all_hosts_share_one_directory() -> None:
    """Were there one for each, a token, which names none, would store a file in every one."""
    (endpoint,) = parse(SECURITY + ROOT + "'/upload/@HOST@/'\n").settings.endpoints
    assert (endpoint.prefix, endpoint.directory) == ("/upload/@HOST@/", "upload")
    (endpoint,) = parse(SECURITY + ROOT + "'/@HOST@/'\n").settings.endpoints
    assert endpoint.directory == ""


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SECURITY)
    assert config.load(path).settings.server.storage_path == str(Path.cwd() / "var")


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (None, 0, "No such file"),
        (b"x = 1\ny = \xff\n", 2, "not UTF-8"),
        (b"\xef\xbb\xbf[server]\n", 1, "not TOML"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, line: int, words: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(config.Faulty) as caught:
        config.load(path)
    (fault,) = caught.value.faults
    assert (fault.line, words in fault.found) == (line, True)


def as_defaults(settings: Settings) -> Settings:
    """Undo what loading adds to defaults: the absolute path, the secret and the endpoint."""
    return dataclasses.replace(
        settings,
        server=dataclasses.replace(settings.server, storage_path="./var"),
        security=dataclasses.replace(settings.security, secrets=()),
        endpoints=(),
    )


@pytest.mark.parametrize("text", [render.short(STRONG), render.full(STRONG)])
def test_generated_configurations_load_back_to_the_defaults(text: str) -> None:
    loaded = parse(text)
    assert loaded.notices == ()
    assert as_defaults(loaded.settings) == Settings()
    assert loaded.settings.endpoints == parse(SECURITY).settings.endpoints


def test_one_place_of_the_storage_everywhere() -> None:
    deploy = Path(__file__).parents[2] / "deploy"
    for name, words in [
        ("hmacfs.service", f"ReadWritePaths={render.STORAGE}\n"),
        ("container.toml", f'storage_path = "{render.STORAGE}"\n'),
        ("nginx-offload.conf", f"alias {render.STORAGE}/;"),
        ("apache-offload.conf", f"XSendFilePath {render.STORAGE}\n"),
        ("../Dockerfile", f"VOLUME {render.STORAGE}\n"),
    ]:
        assert words in (deploy / name).read_text()
    for text in (render.short(STRONG), render.full(STRONG)):
        assert tomli.loads(text)["server"]["storage_path"] == render.STORAGE


def test_the_full_configuration_has_every_key() -> None:
    document = tomli.loads(render.full(STRONG))
    for table, cls in TABLES.items():
        assert list(document[table]) == [entry.name for entry in keys.entries(cls)]


def test_the_reference_is_the_generated_one() -> None:
    committed = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert committed.read_text() == render.reference()


def test_every_field_has_its_key() -> None:
    for cls in TABLES.values():
        assert [entry.field for entry in keys.entries(cls)] == [
            field.name for field in dataclasses.fields(cls)
        ]


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ("", []),
        ("[server]\nworkers = 5\nmax_pipelined = 3", ["server.workers"]),
        (
            "[server]\nlisten_address = ':1'\nsocket_mode = '0600'",
            ["server.listen_address", "server.socket_mode"],
        ),
        ("[metrics]\nlisten_address = ''", ["metrics.listen_address"]),
        (
            "[server]\nstorage_path = 'x'\nsocket_group = 'www'",
            ["server.socket_group", "server.storage_path"],
        ),
        ("[timeouts]\nidletimeout = 1\n[logging]\nlevel = 'debug'", []),
    ],
)
def test_what_needs_a_restart(change: str, want: list[str]) -> None:
    old, new = parse(SECURITY).settings, parse(SECURITY + change).settings
    assert config.restart_needed(old, new) == want


NAMES = st.sampled_from(
    [name for cls in TABLES.values() for name in (entry.name for entry in keys.entries(cls))]
    + [
        "prefix",
        "directory",
        "protocols",
        "bind_ip",
        "metricsport",
        "filettl",
        "filettlenabled",
        "max_file_age",
    ]
    + ["unixsocket", "listenport", "metricsenabled", "loggingjson", "enablejwt", "jwtsecret", "x"]
)
LITERALS = st.sampled_from(
    [
        "1",
        "-1",
        "0xffffffffffffffffffffffff",
        "1.5",
        "nan",
        "inf",
        "true",
        "false",
        "[]",
        "{}",
        "['a', 1]",
        "''",
        "'10GB'",
        "'7d'",
        "'0640'",
        "'127.0.0.1:1'",
        "['v']",
        "'${X}'",
        "'${Y}'",
        "07:32:00",
        "{a.b = 1}",
        "[[[1]]]",
        "'/a/'",
        "'8080'",
        "'a\u202eb'",
        '"\\u0000"',
        '"\\u001b[2J"',
        "'" + "x" * 5000 + "'",
        "'/dev/null'",
        "'/'",
    ]
)
HEADERS = st.sampled_from(
    [
        *(f"[{table}]" for table in TABLES),
        "[[endpoint]]",
        "[endpoint]",
        "[redis]",
        "[quotas.custom]",
        "[nope]",
    ]
)
PAIRS = st.builds("{} = {}".format, NAMES, LITERALS)


@given(st.lists(HEADERS | PAIRS | st.text(max_size=10), max_size=25).map("\n".join))
def test_no_document_raises_anything_but_faulty(text: str) -> None:
    attempt(text)


@given(st.dictionaries(st.sampled_from([*TABLES, "redis"]), st.dictionaries(NAMES, LITERALS, max_size=4)))
def test_no_document_of_known_tables_raises_anything_but_faulty(tables: dict[str, dict[str, str]]) -> None:
    text = ""
    for table, pairs in tables.items():
        text += f"[{table}]\n" + "".join(f"{key} = {literal}\n" for key, literal in pairs.items())
    attempt(text)


@given(st.lists(st.dictionaries(NAMES, LITERALS, max_size=4), max_size=3))
def test_no_endpoints_raise_anything_but_faulty(tables: list[dict[str, str]]) -> None:
    text = SECURITY
    for pairs in tables:
        text += "[[endpoint]]\n" + "".join(f"{key} = {literal}\n" for key, literal in pairs.items())
    attempt(text)


def attempt(text: str) -> Any:
    """Parse; what is said is printable, complete and names lines that exist."""
    try:
        said: tuple[config.Fault | config.Notice, ...] = parse(text, {"X": "\udcff", "Y": STRONG}).notices
    except config.Faulty as faulty:
        said = (*faulty.faults, *faulty.notices)
    for one in said:
        assert str(one).isprintable(), str(one)
        assert 0 <= one.line <= text.count("\n") + 1


def test_settings_travel_to_a_worker() -> None:
    settings = parse(SECURITY).settings
    assert pickle.loads(pickle.dumps(settings)) == settings
