"""An upload by HTTP/2 over a long link: how often the link must be crossed through each documented proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import fronts
import http2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fronts import Proxy

    Start = Callable[[list[str], str], None]

MiB: Final = 1024 * 1024
SIZE: Final = 8 * MiB
HOST: Final = "upload.example.org"
FIELDS: Final = {
    ":method": "PUT",
    ":scheme": "https",
    ":authority": HOST,
    ":path": "/upload/slot/name",
    "content-length": str(SIZE),
}
# With 64 KiB at a time it is 128 crossings: 6.4 s at 50 ms, whatever the link could carry.
MOST: Final = SIZE // (MiB // 2)
# What makes the difference; Apache's windows grow by themselves, a third as fast.
WINDOWS: Final = {
    "nginx": "    http2_body_preread_size 1m;\n",
    "haproxy": "    tune.h2.initial-window-size 1048576\n",
}


def crossings(proxy: Proxy, address: str, sink: http2.Sink, certificate: Path, start: Start) -> int:
    start(proxy.run, address)
    client = http2.Client(address, HOST, certificate)
    try:
        return client.upload(FIELDS, SIZE, sink)
    finally:
        client.close()


@pytest.mark.parametrize("proxy_name", ["nginx", "caddy", "apache", "haproxy"], indirect=True)
def test_an_upload_crosses_the_link_a_few_times_only(
    certificate: tuple[Path, Path],
    write_proxy: Callable[[str], tuple[Proxy, str]],
    start: Start,
) -> None:
    with http2.Sink() as sink:
        proxy, address = write_proxy(sink.address)
        count = crossings(proxy, address, sink, certificate[0], start)
        assert count <= MOST


@pytest.mark.parametrize("proxy_name", sorted(WINDOWS), indirect=True)
def test_without_the_line_it_is_many_more(  # noqa: PLR0913, PLR0917 - fixtures
    proxy_name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    write_proxy: Callable[[str], tuple[Proxy, str]],
    start: Start,
) -> None:
    """So the test above can fail, and the line is the one that helps."""
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    for path in fronts.DEPLOY.iterdir():
        if path.is_file():
            text = path.read_text()
            (deploy / path.name).write_text(text.replace(WINDOWS[proxy_name], ""))
    monkeypatch.setattr(fronts, "DEPLOY", deploy)
    with http2.Sink() as sink:
        proxy, address = write_proxy(sink.address)
        count = crossings(proxy, address, sink, certificate[0], start)
        assert count >= 4 * MOST
