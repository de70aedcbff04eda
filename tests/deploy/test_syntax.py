"""Every documented configuration is accepted by the program it is for."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hmacfs.config.settings import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from fronts import Proxy

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ["hmacfs.service", "hmacfs.socket"]
# systemd-analyze security: 10.0 is a service without any restriction, 9.2 systemd's default.
EXPOSURE_LIMIT = 1.8

# Caddy: what the test itself changed. nginx: the only spelling that releases before 1.25 know, too.
FORGIVEN = re.compile(r"OCSP|redirects are disabled|not formatted|http2. directive is deprecated")


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_proxy_accepts_its_configuration(
    write_proxy: Callable[[str], tuple[Proxy, str]],
) -> None:
    proxy, _ = write_proxy("127.0.0.1:8080")
    said = run(proxy.check)
    warnings = re.findall(r"^.*\b(?:warn|warning|alert)\b.*$", said, re.IGNORECASE | re.MULTILINE)
    assert not [line for line in warnings if not FORGIVEN.search(line)], said


def test_the_caddyfile_has_caddys_own_format(program: Callable[[str], str]) -> None:
    assert run([program("caddy"), "fmt", str(DEPLOY / "Caddyfile")]) == (DEPLOY / "Caddyfile").read_text()


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Return copies of the units, whose commands are there (verify looks for them)."""
    for name in UNITS:
        text = (DEPLOY / name).read_text().replace("/opt/hmacfs/bin/hmacfs", "/bin/true")
        (tmp_path / name).write_text(text)
    return [str(tmp_path / name) for name in UNITS]


def test_systemd_accepts_the_units(units: list[str], program: Callable[[str], str]) -> None:
    said = run([program("systemd-analyze"), "verify", "--man=no", *units])
    assert not [line for line in said.splitlines() if "hmacfs" in line], said


def test_the_service_is_confined(units: list[str], program: Callable[[str], str]) -> None:
    limit = f"--threshold={EXPOSURE_LIMIT * 10:.0f}"
    run([program("systemd-analyze"), "security", "--offline=yes", "--no-pager", limit, units[0]])


def test_the_service_never_dies_of_its_own_shutdown() -> None:
    """The stop timeout leaves room for the default drain of 30 s."""
    text = (DEPLOY / "hmacfs.service").read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)[0]) > 30


def test_the_container_configuration_is_toml() -> None:
    text = (DEPLOY / "container.toml").read_text()
    assert tomllib.loads(text)["server"]["storage_path"] == "/srv/hmacfs"


KEPT_ALIVE = [
    # how long each proxy keeps a connection that hmacfs could be closing
    ("nginx.conf", r"^    keepalive_timeout (\d+)s;"),
    ("haproxy.cfg", r"^    timeout http-keep-alive (\d+)s"),
    ("Caddyfile", r"^\s+keepalive (\d+)s"),
    ("apache.conf", r"^    ProxyPass .* ttl=(\d+)"),
]


@pytest.mark.parametrize(("name", "pattern"), KEPT_ALIVE)
def test_no_proxy_writes_into_a_connection_that_is_just_being_closed(name: str, pattern: str) -> None:
    """An upload cannot be sent a second time, so there is a margin."""
    (found,) = re.findall(pattern, (DEPLOY / name).read_text(), re.MULTILINE)
    assert int(found) <= Timeouts().idletimeout_s - 10


def test_nothing_tells_to_install_what_others_may_publish_under_our_name() -> None:
    """No package index has a hmacfs of ours."""
    root = DEPLOY.parent
    files = [*DEPLOY.iterdir(), *(root / "docs").iterdir(), root / "README.md", root / "Dockerfile"]
    for path in files:
        if path.is_file():
            for line in path.read_text().splitlines():
                asked = re.search(r"pip install (?!.*--no-index).*\bhmacfs\b(?![-./])", line)
                assert asked is None, f"{path.name}: {line}"
