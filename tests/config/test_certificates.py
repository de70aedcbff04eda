"""Table [tls]: every way in which files make no certificate is a fault with a name."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import selfsigned

from hmacfs import config
from hmacfs.config import certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hmacfs.config.settings import Settings

SECRET = "0f3c9d8e7b6a5f4e3d2c1b0a99887766aabbccddeeff00112233445566778899"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Path:
    """Return a folder with good and bad files."""
    folder = tmp_path_factory.mktemp("certificates")
    openssl = program("openssl")
    crt, key = selfsigned.make(openssl, folder)
    _, rsa = selfsigned.make(openssl, folder / "rsa", kind="rsa")
    _, other = selfsigned.make(openssl, folder / "other")
    (folder / "rsa.pem").write_bytes(rsa.read_bytes())
    (folder / "other.pem").write_bytes(other.read_bytes())
    (folder / "both.pem").write_bytes(crt.read_bytes() + key.read_bytes())
    (folder / "text.pem").write_text("nothing")
    (folder / "torn.pem").write_bytes(crt.read_bytes()[:300] + crt.read_bytes()[400:])
    locked = ["pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(folder / "locked.pem")]
    subprocess.run([openssl, *locked], check=True, capture_output=True)
    return folder


def load(files: Path, table: str) -> Settings:
    text = f'[security]\nsecret = "{SECRET}"\n[tls]\nlisten_address = ":8443"\n{table}'
    return config.parse(text, name="t.toml", base_dir=files, environ={}).settings


@pytest.mark.parametrize(
    "table", ['certificate = "crt.pem"\nkey = "key.pem"', 'certificate = "both.pem"\nmin_version = "1.3"']
)
def test_a_pair_and_a_single_file_are_read_and_not_shown(files: Path, table: str) -> None:
    settings = load(files, table)
    oldest = settings.tls.min_version
    assert settings.tls.listen_address == (":8443",)
    assert settings.pem is not None
    assert b"PRIVATE KEY" in settings.pem.reveal()
    assert "PRIVATE" not in repr(settings)
    made = certificates.context(settings.pem, oldest)
    assert made.minimum_version.name == f"TLSv{oldest.replace('.', '_')}"


@pytest.mark.parametrize(
    ("table", "path", "words"),
    [
        ('certificate = "gone.pem"\nkey = "key.pem"', "tls.certificate", "No such file"),
        ('certificate = "crt.pem"\nkey = "gone.pem"', "tls.key", "No such file"),
        ('certificate = "text.pem"\nkey = "key.pem"', "tls.certificate", "no certificate in PEM"),
        ('certificate = "torn.pem"\nkey = "key.pem"', "tls.certificate", "refused by OpenSSL"),
        ('certificate = "crt.pem"\nkey = "text.pem"', "tls.key", "no private key in PEM"),
        ('certificate = "crt.pem"', "tls.certificate", "no private key in PEM"),
        ('certificate = "crt.pem"\nkey = "other.pem"', "tls.key", "not the private key"),
        ('certificate = "crt.pem"\nkey = "rsa.pem"', "tls.key", "not the private key"),
        ('certificate = "crt.pem"\nkey = "locked.pem"', "tls.key", "behind a password"),
        ('key = "key.pem"', "tls.listen_address", "without tls.certificate"),
        ('certificate = "both.pem"\nmin_version = "1.1"', "tls.min_version", '"1.2" or "1.3"'),
        (
            'certificate = "both.pem"\n[server]\nlisten_address = ":8443"',
            "tls.listen_address",
            "of its own",
        ),
        (
            'certificate = "both.pem"\n[metrics]\nlisten_address = ":8443"',
            "metrics.listen_address",
            "of its own",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_key(files: Path, table: str, path: str, words: str) -> None:
    with pytest.raises(config.Faulty) as caught:
        load(files, table)
    (fault,) = caught.value.faults
    assert fault.path == path
    assert words in str(fault)


def test_files_that_are_not_used_are_not_read() -> None:
    text = f'[security]\nsecret = "{SECRET}"\n[tls]\nlisten_address = ""\ncertificate = "/gone"'
    settings = config.parse(text, name="t.toml", base_dir="/", environ={}).settings
    assert (settings.tls.listen_address, settings.pem) == ((), None)


def test_a_unix_socket_speaks_no_tls(files: Path) -> None:
    table = 'listen_address = "unix:/run/x"\ncertificate = "both.pem"'
    with pytest.raises(config.Faulty) as caught:
        config.parse(
            f'[security]\nsecret = "{SECRET}"\n[tls]\n{table}',
            name="t.toml",
            base_dir=files,
            environ={},
        )
    assert "a TCP address" in str(caught.value)
