"""Downloads over links and from servers that fail: a file is whole and right, or it does not get its name."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from client.standin import Cut, Say, Stall

from hmacfs.client import download
from hmacfs.client.download import Download
from hmacfs.client.problem import Failed, GaveUp
from hmacfs.client.retry import RetryPolicy
from hmacfs.client.sink import PartialDownload
from hmacfs.client.transport import Transport
from hmacfs.model import KiB

if TYPE_CHECKING:
    from pathlib import Path

    from client.standin import Fault, Standin

DATA = bytes(range(256)) * 4 * KiB


@dataclass
class Run:
    """One download into `target`."""

    target: Path
    server: Standin
    path: str = "/slot/file.bin"
    force: bool = False
    retries: int = 4
    timeout_s: float = 20.0
    rests: list[float] = field(default_factory=list)
    moved: list[tuple[int, int | None]] = field(default_factory=list)

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    def __call__(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        async def rest(seconds: float) -> None:
            self.rests.append(seconds)

        url = f"{self.server.url}{self.path}"
        patience = RetryPolicy(self.retries, chance=lambda: 0.5, rest=rest, say=lambda _: None)
        async with Transport({}, timeout_s=self.timeout_s) as transport:
            with PartialDownload(self.target, url, force=self.force) as sink:
                await Download(transport, url, sink, patience, lambda *at: self.moved.append(at)).run()


@pytest.fixture
def run(tmp_path: Path, standin: Standin) -> Run:
    standin.files["/slot/file.bin"] = DATA
    return Run(tmp_path / "file.bin", standin)


def only(run: Run, data: bytes | None) -> None:
    """Demand that the folder holds the target with `data` and nothing else; None: nothing at all."""
    assert os.listdir(run.target.parent) == ([] if data is None else [run.target.name])  # noqa: PTH208
    if data is not None:
        assert run.target.read_bytes() == data
        assert os.listxattr(run.target) == []


def ranges(run: Run) -> list[str | None]:
    return [request.fields.get("range") for request in run.server.seen]


@pytest.mark.parametrize("data", [DATA, b"", b"x"])
@pytest.mark.parametrize("digests", [True, False])
def test_a_file_comes_whole(run: Run, data: bytes, *, digests: bool) -> None:
    run.server.files["/slot/file.bin"] = data
    run.server.digests = digests
    run()
    only(run, data)
    assert run.server.seen[0].fields["accept-encoding"] == "identity"
    assert run.moved[-1] == (len(data), len(data))


@pytest.mark.parametrize("fault", [Cut(after=0), Cut(after=1), Cut(after=500_000), Say(status=503), Stall()])
def test_a_download_goes_on_where_it_broke(run: Run, fault: Fault) -> None:
    run.timeout_s = 0.3 if isinstance(fault, Stall) else run.timeout_s
    run.server.faults["GET"].append(fault)
    run()
    only(run, DATA)


def test_what_came_is_not_asked_for_again(run: Run) -> None:
    run.server.faults["GET"] += [Cut(after=300_000), Cut(after=200_000)]
    run()
    only(run, DATA)
    assert ranges(run) == [None, "bytes=300000-", "bytes=500000-"]
    assert run.server.seen[1].fields["if-range"] == '"one"'


def interrupt(run: Run) -> None:
    """End as a run ends that had no patience."""
    run.retries = 0
    run.server.faults["GET"].append(Cut(after=300_000))
    with pytest.raises(GaveUp):
        run()
    assert run.part.stat().st_size == 300_000
    assert not run.target.exists()
    run.server.seen.clear()


def test_a_later_run_goes_on(run: Run) -> None:
    interrupt(run)
    run()
    only(run, DATA)
    assert ranges(run) == ["bytes=300000-"]


def test_a_later_run_finds_that_all_has_come(run: Run) -> None:
    interrupt(run)
    run.part.write_bytes(DATA)
    run()
    only(run, DATA)
    assert ranges(run) == [f"bytes={len(DATA)}-", "bytes=0-0"]


def test_a_part_that_is_whole_is_checked_too(run: Run) -> None:
    interrupt(run)
    run.part.write_bytes(DATA[::-1])
    with pytest.raises(Failed, match="SHA-256"):
        run()
    only(run, None)


def test_a_file_that_has_changed_begins_anew(run: Run) -> None:
    interrupt(run)
    run.server.etag = '"two"'
    run.server.files["/slot/file.bin"] = DATA[::-1]
    run()
    only(run, DATA[::-1])


def test_the_part_of_another_url_begins_anew(run: Run) -> None:
    interrupt(run)
    run.path = "/other/file.bin"
    run.server.files["/other/file.bin"] = DATA[::-1]
    run()
    only(run, DATA[::-1])
    assert ranges(run) == [None]


def test_a_part_of_unknown_origin_begins_anew(run: Run) -> None:
    run.part.write_bytes(b"whatever")
    run()
    only(run, DATA)
    assert ranges(run) == [None]


def test_a_server_without_ranges_sends_all_again(run: Run) -> None:
    run.server.ranges = False
    run.server.faults["GET"].append(Cut(after=300_000))
    run()
    only(run, DATA)


@pytest.mark.parametrize("etag", ['W/"one"', "", "one"])
def test_without_a_strong_tag_nothing_is_joined(run: Run, etag: str) -> None:
    run.server.etag = etag
    run.server.faults["GET"].append(Cut(after=300_000))
    run()
    only(run, DATA)
    assert ranges(run) == [None, None]


@pytest.mark.parametrize(
    "lie", ["bytes 0-9/1048576", "bytes 300001-1048575/1048576", "lines 1-2/3", "bytes */1048576"]
)
def test_another_part_than_was_asked_for_is_not_taken(run: Run, lie: str) -> None:
    run.server.faults["GET"] += [Cut(after=300_000), Say(status=206, fields={"Content-Range": lie}, text="x")]
    run()
    only(run, DATA)


def test_a_file_that_became_shorter_begins_anew(run: Run) -> None:
    run.server.faults["GET"] += [Cut(after=300_000), Say(status=416, fields={"Content-Range": "bytes */5"})]
    run()
    only(run, DATA)


def test_a_wrong_digest_leaves_nothing(run: Run) -> None:
    run.server.rot = True
    with pytest.raises(Failed, match="SHA-256"):
        run()
    only(run, None)


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410, 416])
def test_a_refusal_is_final_and_leaves_nothing(run: Run, status: int) -> None:
    run.server.faults["GET"].append(Say(status=status))
    with pytest.raises(Failed, match=str(status)):
        run()
    only(run, None)
    assert run.rests == []


def test_a_redirection_is_followed(run: Run) -> None:
    run.server.faults["GET"].append(Say(status=302, fields={"Location": "/elsewhere"}))
    run.server.files["/elsewhere"] = b"there"
    run()
    only(run, b"there")


def test_a_circle_is_not_followed_for_ever(run: Run) -> None:
    run.server.faults["GET"] += [Say(status=302, fields={"Location": "/slot/file.bin"})] * 50
    with pytest.raises(Failed, match="circles"):
        run()


def test_a_compressed_answer_is_refused(run: Run) -> None:
    run.server.faults["GET"].append(Say(status=200, fields={"Content-Encoding": "gzip"}, text="?"))
    with pytest.raises(Failed, match="compressed"):
        run()
    only(run, None)


def test_retry_after_is_obeyed_but_not_for_ever(run: Run) -> None:
    run.server.faults["GET"] += [Say(status=503, fields={"Retry-After": "7"})] * 9
    with pytest.raises(GaveUp):
        run()
    assert run.rests == [7.0] * 4
    only(run, None)


def test_what_exists_is_replaced_by_force_alone(run: Run) -> None:
    run.target.write_bytes(b"old")
    with pytest.raises(Failed, match="exists"):
        run()
    only(run, b"old")
    assert run.server.seen == []
    run.force = True
    run()
    only(run, DATA)


def test_a_name_taken_meanwhile_is_not_replaced(run: Run) -> None:
    with PartialDownload(run.target, "http://x/", force=False) as sink:
        sink.begin(None)
        sink.write(b"new")
        run.target.write_bytes(b"old")
        with pytest.raises(Failed, match="exists"):
            sink.finish()
    assert run.target.read_bytes() == b"old"
    assert run.part.read_bytes() == b"new"


def test_two_downloads_do_not_write_one_part(run: Run, no_fd_leak: None) -> None:
    del no_fd_leak
    with (
        PartialDownload(run.target, "http://x/", force=False),
        pytest.raises(Failed, match="another download"),
    ):
        PartialDownload(run.target, "http://x/", force=False)


def test_a_link_in_the_place_of_the_part_is_not_followed(run: Run) -> None:
    run.part.symlink_to(run.target.parent / "precious")
    with pytest.raises(Failed, match="cannot be written"):
        run()
    assert not (run.target.parent / "precious").exists()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://x/slot/file.bin", "file.bin"),
        ("http://x/slot/tr%C3%A8s%20cool.txt?a=b#c", "très cool.txt"),
        ("http://x/", None),
        ("http://x", None),
        ("http://x/a/..", None),
        ("http://x/a/.", None),
        ("http://x/a/.bashrc", None),
        ("http://x/a/%2e%2e", None),
        ("http://x/a%2Fb", None),
        ("http://x/..%5Cb", None),
        ("http://x/a%00b", None),
        ("http://x/a%1b%5B2Jb", None),
        ("http://x/a%0Ab", None),
    ],
)
def test_a_name_is_only_a_name(url: str, name: str | None) -> None:
    assert download.name_of(url) == name
