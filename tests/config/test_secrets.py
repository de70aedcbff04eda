from __future__ import annotations

import concurrent.futures
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import config
from hmacfs.config import invisible, weakness
from hmacfs.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

STRONG = "0f3c9d8e7b6a5f4e3d2c1b0a99887766aabbccddeeff00112233445566778899"
OTHER = "5d41402abc4b2a76b9719d911017c592e4da3b7fbbce2345d7772b0674a318d5"


def parse(
    text: str, environ: Mapping[str, str] | None = None, base_dir: str | Path = "/base"
) -> config.Loaded:
    return config.parse("[security]\n" + text, name="t.toml", base_dir=base_dir, environ=environ or {})


def fault(
    text: str, environ: Mapping[str, str] | None = None, base_dir: str | Path = "/base"
) -> config.Fault:
    with pytest.raises(config.Faulty) as caught:
        parse(text, environ, base_dir)
    (only,) = caught.value.faults
    return only


WEAK = [
    "changeme",
    "your-secure-secret",
    "a-very-secure-secret",
    "secret string",
    "it-is-secret",
    "anothersecretkey",
    "hmac-file-server-is-the-win",
    "test-secret-key-32-characters",
    "CHANGE-THIS-SECRET-KEY-MINIMUM-32-CHARACTERS",
    "replace_with_a_very_secure_secret_key_of_yours",
    "f6g4ldPvQM7O2UTFeBEUUj33VrXypDAcsDt0yqKrLiOr5oQW",
    STRONG[:31],
    "x" * 64,
    "ab" * 32,
    "0123456789abcdef" * 4,
    "0123456789abcdefghijklmnopqrstuvwxyz",
    STRONG[:20] * 2,
]


@pytest.mark.parametrize("secret", WEAK)
def test_a_weak_secret_is_refused_unless_allowed(secret: str) -> None:
    refused = fault(f'secret = "{secret}"')
    assert (refused.line, refused.path) == (2, "security.secret")
    assert "openssl" in refused.expected
    assert secret not in str(refused)
    loaded = parse(f'secret = "{secret}"\nallow_weak_secret = true')
    assert loaded.settings.security.secrets == (Secret(secret.encode()),)
    (notice,) = loaded.notices
    assert "allow_weak_secret" in notice.words
    assert secret not in str(notice)


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 24))
def test_random_keys_are_not_weak(key: bytes) -> None:
    assert weakness.of(os.urandom(32).hex().encode()) == ""
    assert weakness.of(key) in {"", "a regular sequence"}


def test_a_list_of_secrets_keeps_its_order() -> None:
    assert parse(f'secret = ["{STRONG}", "{OTHER}"]').settings.security.secrets == (
        Secret(STRONG.encode()),
        Secret(OTHER.encode()),
    )
    assert fault(f'secret = ["{STRONG}",\n "short"]').path == "security.secret[1]"


def test_a_variable_is_expanded() -> None:
    assert parse('secret = "${KEY}"', {"KEY": STRONG}).settings.security.secrets == (Secret(STRONG.encode()),)


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ('secret = "${KEY}"', {}, "KEY is not set"),
        ('secret = "${KEY}"', {"KEY": ""}, "KEY is not set"),
        ('secret = "${KEY}"', {"KEY": "changeme"}, "example"),
        ('secret = "x${KEY}"', {"KEY": STRONG}, "alone"),
        ("secret = 5", {}, "string in quotes"),
        ("secret = [['x']]", {}, "string in quotes"),
        ("secret_file = 5", {}, "a path in quotes"),
    ],
)
def test_secrets_that_are_faults(text: str, environ: Mapping[str, str], words: str) -> None:
    with pytest.raises(config.Faulty) as caught:
        parse(text, environ)
    assert words in str(caught.value.faults[0])


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (STRONG, STRONG),
        (STRONG + "\n", STRONG),
        (STRONG + "\n\n", STRONG + "\n"),
        (f" {STRONG}", f" {STRONG}"),
    ],
)
def test_a_secret_file_loses_one_newline(tmp_path: Path, content: str, secret: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(0o600)
    for written in (str(path), "secret", "${DIR}/secret"):
        loaded = parse(f'secret_file = "{written}"', {"DIR": str(tmp_path)}, tmp_path)
        assert loaded.settings.security.secrets == (Secret(secret.encode()),)
        assert bool(loaded.notices) is (secret != STRONG)


def test_a_secret_file_that_others_may_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(STRONG)
    path.chmod(0o644)
    (notice,) = parse('secret_file = "secret"', base_dir=tmp_path).notices
    assert "chmod 600" in notice.words


def test_secret_files_that_are_faults(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "weak").write_text("changeme\n")
    os.mkfifo(tmp_path / "pipe")
    for name, words in [
        ("none", "No such file"),
        ("empty", "empty"),
        ("weak", "example"),
        ("pipe", "not a readable file"),
        (".", "Is a directory"),
        ("/dev/zero", "not a readable file"),
    ]:
        assert words in fault(f'secret_file = "{name}"', base_dir=tmp_path).found
    assert "either" in fault(f'secret = "{STRONG}"\nsecret_file = "weak"', base_dir=tmp_path).expected


def test_settings_do_not_show_secrets() -> None:
    assert STRONG not in repr(parse(f'secret = "{STRONG}"').settings)


def test_the_embedded_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = config.embedded(tmp_path)
    path = tmp_path / "hmacfs.secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.security.secrets == (Secret(path.read_bytes().rstrip()),)
    assert len(path.read_text().strip()) == 64
    assert [entry.name for entry in tmp_path.iterdir()] == ["hmacfs.secret"]
    assert config.embedded(tmp_path) == first
    assert first.server.storage_path == str(tmp_path / "var")
    assert first.server.listen_address == ("127.0.0.1:8080",)
    assert first.endpoints[0].secrets == first.security.secrets


def test_the_embedded_secret_is_not_among_what_may_be_deleted(tmp_path: Path) -> None:
    settings = config.embedded(tmp_path)
    storage = Path(settings.server.storage_path)
    secret = Path(settings.security.secret_file or tmp_path / "hmacfs.secret")
    assert storage not in secret.parents


def test_an_older_embedded_secret_is_taken_over(tmp_path: Path) -> None:
    before = tmp_path / "var/.hmacfs/secret"
    before.parent.mkdir(parents=True)
    before.write_text(f"{STRONG}\n")
    for _ in range(2):
        assert config.embedded(tmp_path).security.secrets == (Secret(STRONG.encode()),)
        assert not before.exists()
    assert stat.S_IMODE((tmp_path / "hmacfs.secret").stat().st_mode) == 0o600


def test_racing_servers_agree_on_one_embedded_secret(tmp_path: Path) -> None:
    for older in (False, True):
        where = tmp_path / str(older)
        (where / "var/.hmacfs").mkdir(parents=True)
        if older:
            (where / "var/.hmacfs/secret").write_text(f"{STRONG}\n")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = list(pool.map(config.embedded, [where] * 16))
        assert len({settings.security.secrets for settings in found}) == 1
        assert sorted(entry.name for entry in where.iterdir()) == ["hmacfs.secret", "var"]
        assert (found[0].security.secrets == (Secret(STRONG.encode()),)) is older


def test_an_embedded_secret_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(config.Faulty, match="cannot be made"):
        config.embedded(tmp_path / "none")


ENDS = [
    # what stands around the secret, what check-config says of it
    ("", "\n", "ends in LF"),
    ("", "\r\n", "ends in CR LF"),
    ("", "\r", "ends in CR"),
    ("", " ", "ends in a blank"),
    ("", "\t", "ends in a tab"),
    ("", "\0", "ends in NUL"),
    (" ", "", "begins with a blank"),
    ("\ufeff", "", "begins with a byte order mark"),
    ("\ufeff", "\r\n", "begins with a byte order mark and ends in CR LF"),
    ("", "\u00a0", "ends in U+00A0"),
    ("", "\u200b", "ends in U+200B"),
    ("", " " * 9, "ends in a blank a blank a blank a blank and more"),
]


@pytest.mark.parametrize(("start", "end", "words"), ENDS)
@pytest.mark.parametrize("where", ["text", "list", "variable", "file", "endpoint", "delete"])
def test_invisible_ends_are_told_by_the_key_that_has_them(
    tmp_path: Path, where: str, start: str, end: str, words: str
) -> None:
    secret = f"{start}{STRONG}{end}"
    quoted = f'"{secret.encode("unicode_escape").decode()}"'.replace("\\x", "\\u00")
    environ = {}
    path = "security.secret"
    if where == "text":
        text = f"secret = {quoted}"
    elif where == "list":
        text, path = f'secret = ["{OTHER}", {quoted}]', "security.secret[1]"
    elif where == "variable":
        text, environ = 'secret = "${KEY}"', {"KEY": secret}
    elif where == "file":
        (tmp_path / "secret").write_bytes(f"{secret}\n".encode())
        (tmp_path / "secret").chmod(0o600)
        text, path = 'secret_file = "secret"', "security.secret_file"
    elif where == "endpoint":
        text, path = f'[[endpoint]]\nprefix = "/a/"\nsecret = {quoted}', "endpoint[0].secret"
    else:
        text, path = f'secret = "{OTHER}"\ndelete_secret = {quoted}', "security.delete_secret"
    loaded = parse(text, environ, tmp_path)
    (notice,) = loaded.notices
    assert notice.path == path
    assert f"the secret {words}, " in notice.words
    assert STRONG not in notice.words
    endpoint = loaded.settings.endpoints[0]
    assert Secret(secret.encode()) in (*endpoint.secrets, endpoint.delete_secret)


@pytest.mark.parametrize("text", [STRONG, "a b\tc\nd" + STRONG, STRONG + "\u0301"])
def test_what_is_seen_or_lies_inside_is_no_end(text: str) -> None:
    assert invisible.trim(text.encode()) == (text.encode(), "")


@given(st.binary(max_size=64))
def test_trimming_takes_from_the_ends_alone(secret: bytes) -> None:
    inner, words = invisible.trim(secret)
    assert inner in secret
    assert bool(words) == (inner != secret)
    assert invisible.trim(inner) == (inner, "")
