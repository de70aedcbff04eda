"""The keys of the Go server's published templates: each loads and is accounted for, wrong types are named."""

from __future__ import annotations

import re
from typing import Final

import pytest
from go_keys import ROWS, STRONG

from hmacfs import config
from hmacfs.config import compat
from hmacfs.config.fates import ConfigForm
from hmacfs.config.tuning import Streaming
from hmacfs.model import KiB, MiB

SECURITY = f'[security]\nsecret = "{STRONG}"\n'


def parse(text: str) -> config.Loaded:
    return config.parse(text, name="go.toml", base_dir="/base", environ={})


def with_secret(table: str, key: str, value: str) -> str:
    """Write one key in a configuration that has nothing else but what it needs."""
    if table == "security":
        return f"{SECURITY}{key} = {value}\n"
    return f"{SECURITY}[{table}]\n{key} = {value}\n"


def said(text: str) -> dict[str, str]:
    return {notice.path: notice.words for notice in parse(text).notices}


@pytest.mark.parametrize(("table", "key", "value"), ROWS)
def test_each_key_loads_alone_and_is_accounted_for(table: str, key: str, value: str) -> None:
    words = said(with_secret(table, key, value))
    if value != "[]":  # of an empty list there is nothing to say
        assert re.match("honoured|not yet: |ignored: ", words[f"{table}.{key}"])


def test_all_keys_load_together() -> None:
    text = f'[auth]\nshared_secret = "{STRONG}"\n'
    tables = dict.fromkeys(table for table, _, _ in ROWS)
    for table in tables:
        lines = [f"{key} = {value}\n" for one, key, value in ROWS if one == table]
        text += (f"[{table}]\n" if table != "auth" else "") + "".join(lines)
    settings = parse(text).settings
    assert settings.server.listen_address == ("0.0.0.0:8082",)
    assert settings.server.storage_path == "/base/uploads"
    assert settings.server.max_upload_size == 1024 * MiB
    assert settings.server.file_ttl is None
    assert settings.server.sweep_interval_s == 6 * 3600
    assert settings.metrics.listen_address == "127.0.0.1:9091"
    assert settings.timeouts.idletimeout_s == 300
    assert settings.uploads.sessiontimeout_s == 72 * 3600
    assert settings.uploads.concurrent_chunk_uploads is True
    assert settings.performance.initial_buffer_size == 128 * KiB
    assert (settings.performance.min_buffer_size, settings.performance.max_buffer_size) == (
        32 * KiB,
        512 * KiB,
    )
    assert settings.performance.profile_persistence_duration_s == 30 * 86_400
    assert settings.streaming.connection_multiplexing is False
    assert settings.endpoints[0].protocols == ("v2", "v", "token", "bearer")


WRONG: Final = {
    ConfigForm.TEXT: ("5", "true", "['x']", "{}"),
    ConfigForm.FLAG: ("'true'", "1", "[true]"),
    ConfigForm.NUMBER: ("'many'", "true", "1.5", "[1]"),
    ConfigForm.REAL: ("'many'", "true", "[1]"),
    ConfigForm.EITHER: ("true", "1.5", "[1]", "{}"),
    ConfigForm.TEXTS: ("'x'", "true", "[1]", "['x', 1]"),
    ConfigForm.LIST: ("'x'", "{}"),
    ConfigForm.TABLE: ("'x'", "[]"),
}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        (table, key, value)
        for table, rows in compat.ROWS.items()
        for key, row in rows.items()
        for value in WRONG.get(row.form, ())
        if key != "concurrent_chunk_uploads" or value != "true"  # which is our own way to write it
    ],
)
def test_a_wrong_type_of_a_known_key_is_a_clear_fault(table: str, key: str, value: str) -> None:
    with pytest.raises(config.Faulty) as caught:
        parse(with_secret(table, key, value))
    (fault,) = caught.value.faults
    assert (fault.path, fault.line) == (f"{table}.{key}", 3 if table == "security" else 4)
    assert fault.expected


def test_the_value_of_a_wrong_type_is_not_shown() -> None:
    with pytest.raises(config.Faulty) as caught:
        parse(f"{SECURITY}[redis]\nredispassword = 123456789\n")
    assert "123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "text", "near"),
    [
        ("server", "portt = 1", "port"),
        ("uploads", "max_upload_sizes = '1GB'", "max_upload_size"),
        ("metrics", "prot = 9090", "port"),
        ("streaming", "quality_threshold = []", "quality_thresholds"),
        ("timeouts", "max_timeouts = '5s'", "max_timeout"),
    ],
)
def test_keys_that_neither_server_has_are_faults(table: str, text: str, near: str) -> None:
    with pytest.raises(config.Faulty) as caught:
        parse(f"{SECURITY}[{table}]\n{text}\n")
    assert [fault.nearest for fault in caught.value.faults] == [near]


LISTENING = [
    # keys of [server], the address
    ("port = 8082", ":8082"),
    ("port = '8082'\nbind_all_interfaces = true", ":8082"),
    ("port = 8082\ninterface = '127.0.0.1'", "127.0.0.1:8082"),
    ("port = 8082\ninterface = '127.0.0.1'\nbind_all_interfaces = true", "127.0.0.1:8082"),
    ("port = 8082\ninterface = 'eth0'", ":8082"),
    ("port = 8082\nbind_ip = '::'", "[::]:8082"),
    ("port = 8082\nbind_ip = '127.0.0.1'\ninterface = '127.0.0.2'", "127.0.0.1:8082"),
    ("listen_address = '8081'\nport = 8082", ":8081"),
    ("bind_all_interfaces = true", ":8080"),
    ("bind_all_interfaces = false", "127.0.0.1:8080"),
]


@pytest.mark.parametrize(("text", "address"), LISTENING)
def test_where_it_listens(text: str, address: str) -> None:
    loaded = parse(f"{SECURITY}[server]\n{text}\n")
    assert loaded.settings.server.listen_address == (address,)
    paths = {notice.path for notice in loaded.notices}
    for key in re.findall(r"^\w+", text, re.MULTILINE):
        assert f"server.{key}" in paths


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("enabled = true\nport = '9095'", "127.0.0.1:9095"),
        ("port = 9095", "127.0.0.1:9095"),
        ("enabled = false\nport = 9095", ""),
        ("listen_address = ':7'\nenabled = false\nport = 9095", ":7"),
    ],
)
def test_where_metrics_are(text: str, address: str) -> None:
    assert parse(f"{SECURITY}[metrics]\n{text}\n").settings.metrics.listen_address == address


@pytest.mark.parametrize(
    ("text", "ttl"),
    [
        ("[uploads]\nttl = '168h'\nttl_enabled = true", 168 * 3600),
        ("[uploads]\nttl = '168h'\nttl_enabled = false", None),
        ("[uploads]\nttl = '168h'", None),
        ("[server]\nfile_ttl = '1h'\n[uploads]\nttl = '168h'\nttl_enabled = true", 3600),
    ],
)
def test_how_long_files_are_kept(text: str, ttl: float | None) -> None:
    assert parse(SECURITY + text).settings.server.file_ttl == ttl


CHUNKS = [
    # keys, the smallest and the largest chunk
    ("[uploads]\nchunk_size = '5MB'", 5 * MiB, 5 * MiB),
    ("[uploads]\nchunk_size = 5242880", 5 * MiB, 5 * MiB),
    ("[uploads]\nchunksize = 'fixed:2MB'", 2 * MiB, 2 * MiB),
    ("[uploads]\nchunk_size = 'adaptive'", 256 * KiB, 10 * MiB),
    ("[uploads]\nchunk_size = '16B'", KiB, KiB),
    ("[uploads]\nchunk_size = '5MB'\nmin_chunk_size = '1MB'\nmax_chunk_size = '8MB'", MiB, 8 * MiB),
    ("[uploads]\nmin_chunk_size = '1MB'\n[performance]\nmin_chunk_size = '2MB'", 2 * MiB, 10 * MiB),
    (
        (
            "[client_optimization.strategy_mobile]\nchunk_size = '512KB'\n"
            "[client_optimization.strategy_server]\nchunk_size = '20MB'"
        ),
        512 * KiB,
        20 * MiB,
    ),
    (
        "[client_optimization]\nenabled = false\n[client_optimization.strategy_mobile]\nchunk_size = '1KB'",
        256 * KiB,
        10 * MiB,
    ),
]


@pytest.mark.parametrize(("text", "least", "most"), CHUNKS)
def test_sizes_of_chunks(text: str, least: int, most: int) -> None:
    performance = parse(SECURITY + text).settings.performance
    assert (performance.min_chunk_size, performance.max_chunk_size) == (least, most)


def test_sizes_of_buffers_are_kept_within_what_there_is() -> None:
    text = "".join(
        f"[client_optimization.strategy_{name}]\nbuffer_size = '{size}'\n"
        for name, size in (("mobile", "1KB"), ("desktop", "64KB"), ("server", "1GB"))
    )
    performance = parse(SECURITY + text).settings.performance
    sizes = (performance.min_buffer_size, performance.initial_buffer_size, performance.max_buffer_size)
    assert sizes == (16 * KiB, 64 * KiB, 16 * MiB)


QUALITIES = """quality_thresholds = [
  { name = "excellent", min_throughput = "20MB/s", max_latency = "40ms" },
  { name = "good", min_throughput = "2 MB/s", max_latency = "100ms" },
  { name = "fair", min_throughput = "200KB/s", max_latency = "300ms" },
  { name = "poor", min_throughput = "1KB/s", max_latency = "2s" },
]
"""


def test_the_qualities_of_lines() -> None:
    streaming = parse(f"{SECURITY}[streaming]\n{QUALITIES}").settings.streaming
    assert streaming == Streaming(
        excellent_rate=20 * MiB,
        good_rate=2 * MiB,
        fair_rate=200 * KiB,
        excellent_latency_s=0.04,
        good_latency_s=0.1,
        fair_latency_s=0.3,
    )


def test_a_key_of_ours_wins_over_a_quality() -> None:
    assert (
        parse(f"{SECURITY}[streaming]\ngood_rate = '3MB'\n{QUALITIES}").settings.streaming.good_rate
        == 3 * MiB
    )


@pytest.mark.parametrize(
    ("written", "path", "words"),
    [
        ("[5]", "[0]", "a table such as"),
        ("[{min_throughput = '1MB/s'}]", "[0]", "excellent, good, fair, poor"),
        ("[{name = 'god'}]", "[0].name", 'mean "good"'),
        ("[{name = 5}]", "[0].name", "excellent, good, fair, poor"),
        ("[{name = 'good'}, {name = 'good'}]", "[1].name", "once"),
        ("[{name = 'good', min_throughput = 'fast'}]", "[0].min_throughput", "10MB/s"),
        ("[{name = 'poor', max_latency = 'soon'}]", "[0].max_latency", "30s"),
        ("[{name = 'good', min_troughput = '1MB/s'}]", "[0].min_troughput", 'mean "min_throughput"'),
        ("[{name = 'good', min_throughput = '1GB/s'}]", "[0].min_throughput", "each at least"),
    ],
)
def test_faults_of_qualities(written: str, path: str, words: str) -> None:
    with pytest.raises(config.Faulty) as caught:
        parse(f"{SECURITY}[streaming]\nquality_thresholds = {written}\n")
    (fault,) = caught.value.faults
    assert fault.path == f"streaming.quality_thresholds{path}"
    assert words in str(fault)


@pytest.mark.parametrize(("written", "several"), [("0", False), ("1", False), ("2", True), ("true", True)])
def test_how_many_chunks_at_once(written: str, several: bool) -> None:  # noqa: FBT001 - a table
    uploads = parse(f"{SECURITY}[uploads]\nconcurrent_chunk_uploads = {written}\n").settings.uploads
    assert uploads.concurrent_chunk_uploads is several


@pytest.mark.parametrize(
    ("text", "protocols"),
    [
        ("hmac_enabled = true", ("v2", "v", "token")),
        ("bearer_tokens_enabled = true", ("v2", "v", "token", "bearer")),
        ("bearer_tokens_enabled = true\nhmac_enabled = false", ("bearer",)),
        ("hmac_enabled = false", ("v2", "v", "token")),
    ],
)
def test_which_tokens_are_taken(text: str, protocols: tuple[str, ...]) -> None:
    loaded = parse(f"{SECURITY}{text}\n")
    assert loaded.settings.endpoints[0].protocols == protocols
