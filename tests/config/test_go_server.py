"""Configurations of the Go hmac-file-server: shapes as its templates have them, written anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli
from go_keys import OTHER, OTHERS, STRINGS, STRONG

from hmacfs import config
from hmacfs.config import compat, keys
from hmacfs.config.settings import TABLES
from hmacfs.model import MiB, Secret
from tools import go_server_reference

SECURITY = f'[security]\nsecret = "{STRONG}"\n'


def everything() -> str:
    text = ""
    for table in {**STRINGS, **OTHERS}:
        text += f"[{table}]\n"
        text += "".join("{} = '{}'\n".format(*pair.split("=", 1)) for pair in STRINGS.get(table, "").split())
        text += "".join("{} = {}\n".format(*pair.split("=", 1)) for pair in OTHERS.get(table, "").split())
    return text


def parse(text: str) -> config.Loaded:
    return config.parse(text, name="go.toml", base_dir="/base", environ={})


def said(loaded: config.Loaded) -> dict[str, str]:
    return {notice.path: notice.words for notice in loaded.notices}


def test_every_key_of_the_go_server_loads_and_is_accounted_for() -> None:
    text = everything()
    loaded = parse(text)
    words = said(loaded)
    native = {table: [entry.name for entry in keys.entries(cls)] for table, cls in TABLES.items()}
    for table, pairs in tomli.loads(text).items():
        for key in pairs:
            assert f"{table}.{key}" in words or key in native.get(table, ()), f"{table}.{key}"
    assert all(re.match("honoured|not yet: |ignored: ", one) for path, one in words.items() if path)
    lines = text.splitlines()
    for notice in loaded.notices:
        if notice.path:
            assert notice.path.endswith("." + lines[notice.line - 1].split(" = ")[0])


def test_what_the_go_servers_keys_become() -> None:
    settings = parse(everything()).settings
    assert settings.server.listen_address == ("0.0.0.0:8080",)
    assert settings.metrics.listen_address == "127.0.0.1:9091"
    assert settings.server.file_ttl == 365 * 86_400
    assert settings.server.sweep_interval_s == 86_400
    assert settings.server.max_header_bytes == MiB
    assert settings.logging.level == "warn"
    assert settings.timeouts.readtimeout_s == 4800
    assert settings.endpoints[0].protocols == ("v2", "v", "token")


def test_the_facts_name_every_key_that_the_test_has() -> None:
    native = {table: {entry.name for entry in keys.entries(cls)} for table, cls in TABLES.items()}
    for table, pairs in tomli.loads(everything()).items():
        for key in pairs:
            known = {*compat.ROWS.get(table, {}), *native.get(table, ()), "filettl", "cleanup_interval"}
            assert table == "file" or key in known, f"{table}.{key}"


SERVER = [
    # keys of [server], the setting, its value
    ('listen_address = "8080"', "listen_address", (":8080",)),
    ("listenport = 8080", "listen_address", (":8080",)),
    ('listenport = "8080"\nbind_ip = "10.0.0.1"', "listen_address", ("10.0.0.1:8080",)),
    ('listen_address = ":8080"\nbind_ip = "::1"', "listen_address", ("[::1]:8080",)),
    ('listen_address = "1.2.3.4:80"\nbind_ip = "::1"', "listen_address", ("1.2.3.4:80",)),
    ('bind_ip = "10.0.0.1"', "listen_address", ("127.0.0.1:8080",)),
    ('listen_address = "/run/x.sock"\nunixsocket = true', "listen_address", ("unix:/run/x.sock",)),
    ('listen_address = ":1"\nunixsocket = false', "listen_address", (":1",)),
    ('storagepath = "./up"', "storage_path", "/base/up"),
    ('maxfilesize = "5MB"', "max_upload_size", 5 * MiB),
    ('max_file_size = "5MB"\nmax_upload_size = "7MB"', "max_upload_size", 7 * MiB),
    ('filettl = "1h"\nfilettlenabled = true', "file_ttl", 3600),
    ('file_ttl = "1h"\nfile_ttl_enabled = true\nmax_file_age = "2h"', "file_ttl", 3600),
    ('max_file_age = "2h"\nfilettlenabled = true', "file_ttl", 7200),
    ('max_file_age = "2h"', "file_ttl", None),
    ('filettl = "1h"', "file_ttl", None),
    ('filettl = "1h"\nfilettlenabled = false', "file_ttl", None),
    ('file_ttl = "1h"\nfilettlenabled = false', "file_ttl", None),
    ('file_ttl = "1h"', "file_ttl", 3600),
]


@pytest.mark.parametrize(("text", "name", "value"), SERVER)
def test_keys_of_the_server_table(text: str, name: str, value: object) -> None:
    loaded = parse(SECURITY + "[server]\n" + text)
    assert getattr(loaded.settings.server, name) == value
    for key in re.findall(r"^\w+", text, re.MULTILINE):
        assert f"server.{key}" in said(loaded) or key == name


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[server]\nmetricsenabled = false\nmetricsport = '9'", ""),
        ("[server]\nmetrics_enabled = true\nmetrics_port = 9", "127.0.0.1:9"),
        ("[server]\nmetricsport = '9'\n[metrics]\nlisten_address = ':7'", ":7"),
        ("[server]\nmetricsenabled = false\n[metrics]\nlisten_address = ':7'", ":7"),
    ],
)
def test_metrics(text: str, address: str) -> None:
    assert parse(SECURITY + text).settings.metrics.listen_address == address


@pytest.mark.parametrize(
    "text",
    [
        "[logging]\nfile = '/a'\n[server]\nlogfile = '/b'",
        "[server]\nlogfile = '/b'\n[logging]\nfile = '/a'",
        "[server]\nlog_file = '/a'\nlogfile = '/b'",
    ],
)
def test_of_two_spellings_the_report_names_the_winner(text: str) -> None:
    loaded = parse(SECURITY + text)
    assert loaded.settings.logging.file == "/a"
    assert re.fullmatch(
        r"ignored: (logging.file|server.log_file) \(line \d\) .*wins", said(loaded)["server.logfile"]
    )


def test_jwt_alone_becomes_an_endpoint() -> None:
    (endpoint,) = parse(f'[security]\nenablejwt = true\njwtsecret = "{OTHER}"\n').settings.endpoints
    assert (endpoint.protocols, endpoint.secrets) == (("gojwt",), (Secret(OTHER.encode()),))


def test_jwt_beside_a_secret_is_reported() -> None:
    loaded = parse(SECURITY + f'enablejwt = true\njwtsecret = "{OTHER}"\n')
    assert loaded.settings.endpoints[0].protocols == ("v2", "v", "token")
    assert "[[endpoint]]" in said(loaded)["security.jwtsecret"]


def test_a_weak_jwt_secret_counts_only_if_it_is_used() -> None:
    assert parse(SECURITY + 'enablejwt = false\njwtsecret = "changeme"').settings
    with pytest.raises(config.Faulty, match=r"security\.jwtsecret: the secret is an example"):
        parse('[security]\nenablejwt = true\njwtsecret = "changeme"')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SECURITY, False),
        (SECURITY + "[server]\nmetricsport = '9'", True),
        (SECURITY + "[redis]\nredisenabled = false", True),
        (SECURITY + "[redis]\nredisenabled = false\n[[endpoint]]\nprefix = '/'\ndirectory = ''", False),
        (SECURITY + "[performance]\nadaptive_buffers = true", False),
        (SECURITY + "[streaming]\nrange_requests = true\ncircuit_breaker = false", False),
    ],
)
def test_a_site_of_the_go_server_is_told_how_to_keep_its_store(text: str, told: bool) -> None:  # noqa: FBT001 - a table
    assert ('directory = ""' in said(parse(text)).get("", "")) is told


def test_what_is_off_needs_no_regret() -> None:
    words = said(parse(SECURITY + "[clamav]\nclamavenabled = false\n[audit]\nenabled = true"))
    assert words["clamav.clamavenabled"].startswith("ignored: it is off")
    assert words["audit.enabled"].startswith("not yet: ")


def test_a_key_that_neither_server_has_is_a_fault() -> None:
    with pytest.raises(config.Faulty, match='did you mean "metricsport"'):
        parse(SECURITY + "[server]\nmetricport = '9'")


def test_the_reference_is_the_generated_one() -> None:
    committed = Path(__file__).parents[2] / "docs" / "go-server.md"
    assert committed.read_text() == go_server_reference.reference()
