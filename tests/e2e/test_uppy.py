"""Uppy in a real browser, on a page of another site than hmacfs: a file is dropped, and the network fails.

The page may do no more than the answers' CORS fields let it.
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from cutting import Break, Weather
from e2e import browser as browsers
from e2e import resumable
from e2e.resumable import NAME, SIZE, TYPE, MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cutting import Relay
    from e2e.browser import Browser
    from e2e.resumable import Ticket

PAGE = Path(__file__).with_name("pages") / "uppy.html"
RETRY_MS = [100] * 50
SPEED = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}  # no limits


@pytest.fixture(scope="module")
def browser(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsers.running(tmp_path_factory.mktemp("browser"), program) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(js: Path, program: Callable[[str], str]) -> Iterator[str]:
    """Return the page's address."""
    bundling = [
        program("node"),
        str(js / "node_modules/esbuild/bin/esbuild"),
        str(js / "uppy.js"),
        "--bundle",
    ]
    script = subprocess.check_output([*bundling, "--log-level=error"], text=True)
    with browsers.pages({"/uppy": PAGE.read_text(), "/uppy.js": script}) as pages:
        yield f"{pages.origin}/uppy"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file to drop."""
    path = tmp_path / NAME
    path.write_bytes(secrets.token_bytes(SIZE))
    return path


@pytest.fixture
def page(browser: Browser, address: str, ticket: Ticket) -> Browser:
    """Show the page, ready for a file."""
    browser.open(address)
    options = {"endpoint": ticket.endpoint, "headers": ticket.fields, "retryDelays": RETRY_MS}
    browser.run("prepare(arguments[0])", options)
    return browser


def check(page: Browser, path: Path) -> None:
    """Wait for the end; the file must be the one that was dropped, and the bar must have moved on the way."""
    done = page.run("return page.done")
    kept = resumable.read(done["url"])
    assert kept.url == urljoin(done["url"], done["content"])
    assert (kept.body, kept.content_type) == (path.read_bytes(), TYPE)
    progress = page.run("return page.progress")
    assert any(0 < sent < SIZE for sent in progress)
    assert page.run("return document.querySelector('progress').value") == 1


def test_a_dropped_file_arrives_though_every_connection_is_cut(
    page: Browser, relay: Relay, path: Path
) -> None:
    relay.change(Weather(cut_every_bytes=MiB))
    page.drop(path)
    check(page, path)
    assert relay.cuts >= 4


def test_the_server_cannot_be_reached_for_a_while(page: Browser, relay: Relay, path: Path) -> None:
    relay.change(Weather(cut_every_bytes=2 * MiB, deadly=True))
    page.drop(path)
    page.run("await page.retried")
    relay.change(Weather())
    check(page, path)
    assert relay.passed_bytes < SIZE - MiB


def test_the_browser_is_offline_for_a_while(page: Browser, relay: Relay, path: Path) -> None:
    """Then Uppy does not even try, and goes on when the browser says that it is online."""
    relay.change(Weather(cut_every_bytes=2 * MiB, cuts=1, how=Break.SILENCE))
    page.drop(path)
    relay.wait_for_cut()
    page.devtools("Network.emulateNetworkConditions", offline=True, **SPEED)
    relay.cut()
    page.run("await page.retried")
    relay.change(Weather())
    page.devtools("Network.emulateNetworkConditions", offline=False, **SPEED)
    check(page, path)
    assert relay.passed_bytes < SIZE - MiB
