"""A documented proxy, running beside others: its certificate, its address and its process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import fronts
import loopback
import pytest
import selfsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def certificate(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a self-signed certificate for upload.example.org and its key."""
    return selfsigned.make(program("openssl"), tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def free_address() -> Callable[[], str]:
    """Return a maker of addresses that nobody else can take."""
    return loopback.free_address


@pytest.fixture(params=fronts.PROXIES)
def proxy_name(request: pytest.FixtureRequest) -> str:
    """Return each documented proxy in turn."""
    return str(request.param)


@pytest.fixture
def write_proxy(
    proxy_name: str,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    free_address: Callable[[], str],
    program: Callable[[str], str],
) -> Callable[[str], tuple[fronts.Proxy, str]]:
    """Return a function of the upstream's address to a proxy and where it will listen."""

    def prepare(upstream: str) -> tuple[fronts.Proxy, str]:
        folder = tmp_path / "proxy"
        folder.mkdir()
        place = fronts.Place(
            folder=folder,
            listen=free_address(),
            upstream=upstream,
            certificate=certificate[0],
            key=certificate[1],
            storage=tmp_path / "store",
        )
        return fronts.PROXIES[proxy_name](place, program), place.listen

    return prepare


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[str], str], None]]:
    """Return a function that starts a server and returns once it accepts connections at the address.

    What hmacfs itself logs at level error, or writes beside its log, fails the test.
    """
    home = os.environ | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    with contextlib.ExitStack() as stack:

        def run(command: list[str], address: str) -> None:
            log = tmp_path / f"{Path(command[0]).name}.log"
            stack.enter_context(loopback.served(command, address, log, env=home))

        yield run
    for log in tmp_path.glob("python*.log"):
        lines = log.read_text().splitlines()
        assert not [line for line in lines if not line.startswith("ts=") or " level=error " in line]
