"""Uploads over links and to servers that fail: the file arrives, or the client says why it does not."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from client.standin import Begun, Cut, Forget, Mute, Say, Stall

from hmacfs.client.calls import UploadClient
from hmacfs.client.destination import Destination
from hmacfs.client.problem import Failed, GaveUp
from hmacfs.client.retry import RetryPolicy
from hmacfs.client.source import Source, guess_type
from hmacfs.client.transport import Transport
from hmacfs.client.upload import Upload
from hmacfs.model import KiB

if TYPE_CHECKING:
    from pathlib import Path

    from client.standin import Fault, Standin

DATA = bytes(range(256)) * 4 * KiB  # 1 MiB, of which no two blocks of an odd size are the same
PART = 300_000
TIMEOUT_S = 0.5


@dataclass
class Run:
    """One upload by a client that has the patience of a machine."""

    where: Path
    server: Standin
    data: bytes = DATA
    chunk: int | None = PART
    retries: int = 4
    path: str = "/slot/file.bin?token=1"
    timeout_s: float = 20.0
    rests: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)

    def __call__(self) -> str | None:
        file = self.where / "file.bin"
        file.write_bytes(self.data)
        return asyncio.run(self._run(str(file)))

    async def _run(self, file: str) -> str | None:
        async def rest(seconds: float) -> None:
            self.rests.append(seconds)

        patience = RetryPolicy(self.retries, chance=lambda: 0.5, rest=rest, say=self.said.append)
        place = Destination(url=f"{self.server.url}{self.path}", content_type="text/plain")
        async with Transport({}, timeout_s=self.timeout_s) as transport:
            with Source(file) as source:
                client = UploadClient(transport, source, place, patience)
                upload = Upload(client, chunk=self.chunk, moved=self.moved.append)
                return await upload.run()


@pytest.fixture
def run(tmp_path: Path, standin: Standin) -> Run:
    return Run(tmp_path, standin)


def test_a_small_file_is_one_request(run: Run) -> None:
    run.chunk = None
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.files["/slot/file.bin"] == DATA
    assert run.server.methods() == ["PUT"]
    fields = run.server.seen[0].fields
    assert fields["upload-complete"] == "?1"
    assert fields["upload-draft-interop-version"] == "8"
    assert fields["content-length"] == fields["upload-length"] == str(len(DATA))
    assert fields["content-type"] == "text/plain"
    assert fields["repr-digest"].startswith("sha-256=:")
    assert run.moved[-1] == len(DATA)


def test_an_empty_file_is_one_request(run: Run) -> None:
    run.data = b""
    assert run()
    assert run.server.files["/slot/file.bin"] == b""
    assert run.server.methods() == ["PUT"]


def test_a_large_file_goes_in_parts(run: Run) -> None:
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.files["/slot/file.bin"] == DATA
    assert run.server.methods() == ["HEAD", "OPTIONS", "PUT", "PATCH", "PATCH", "PATCH"]
    assert run.server.bytes_of("PATCH") == [PART, PART, len(DATA) - 3 * PART]


def test_the_servers_advice_is_followed_as_it_changes(run: Run) -> None:
    run.chunk = None
    run.data = DATA * 9
    run.server.limits += [
        "max-append-size=5000000",
        "max-append-size=3000000, max-age=60",
        "max-age=60",
    ]
    assert run()
    assert run.server.bytes_of("PUT") == [5_000_000]
    assert run.server.bytes_of("PATCH") == [3_000_000, len(DATA) * 9 - 8_000_000]


def test_without_advice_the_rest_is_one_request(run: Run) -> None:
    run.chunk = None
    run.data = DATA * 9
    assert run()
    assert run.server.methods() == ["HEAD", "OPTIONS", "PUT"]


@pytest.mark.parametrize("limit", ["max-append-size=abc", "max-append-size=0", ";;;", "x=1;y=2, max-age=?1"])
def test_advice_that_makes_no_sense_is_none(run: Run, limit: str) -> None:
    run.server.limit = limit
    assert run()
    assert run.server.files["/slot/file.bin"] == DATA


def test_a_file_larger_than_the_server_takes_is_not_begun(run: Run) -> None:
    run.server.limit = "max-size=1000"
    with pytest.raises(Failed, match="at most 1000 bytes"):
        run()
    assert "PUT" not in run.server.methods()


# What breaks, in which request, and how many bytes may be sent twice.
BREAKS: list[tuple[str, Fault]] = [
    ("HEAD", Mute()),
    ("OPTIONS", Mute()),
    ("OPTIONS", Say(status=503)),
    ("PUT", Cut(after=0)),
    ("PUT", Cut(after=1)),
    ("PUT", Cut(after=PART - 1)),
    ("PUT", Mute()),
    ("PUT", Say(status=503)),
    ("PUT", Stall()),
    ("PATCH", Cut(after=0)),
    ("PATCH", Cut(after=100_000)),
    ("PATCH", Mute()),
    ("PATCH", Say(status=500)),
    ("PATCH", Say(status=423)),
    ("PATCH", Say(status=429)),
    ("PATCH", Stall()),
    ("PATCH", Forget(last=1)),
    ("PATCH", Forget(last=PART)),
]


@pytest.mark.parametrize(("method", "fault"), BREAKS)
def test_an_upload_goes_on_where_it_broke(run: Run, method: str, fault: Fault) -> None:
    run.timeout_s = TIMEOUT_S if isinstance(fault, Stall) else run.timeout_s
    run.server.faults[method].append(fault)
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.files["/slot/file.bin"] == DATA
    sent = sum(request.body for request in run.server.seen)
    assert sent <= len(DATA) + PART
    assert len(run.rests) == len(run.said) >= 1


def test_bytes_that_came_are_not_sent_again(run: Run) -> None:
    run.server.faults["PATCH"] += [Cut(after=100_000), Cut(after=50_000)]
    assert run()
    assert sum(request.body for request in run.server.seen) == len(DATA)


@pytest.mark.parametrize("fault", [Cut(after=400_000), Mute(), Stall(), Say(status=500)])
@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("digests", [True, False])
def test_a_whole_file_in_one_request_survives_too(
    run: Run, fault: Fault, *, resumable: bool, digests: bool
) -> None:
    run.chunk = None
    run.server.resumable = resumable
    run.server.digests = digests
    run.timeout_s = TIMEOUT_S if isinstance(fault, Stall) else run.timeout_s
    run.server.faults["PUT"].append(fault)
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.files["/slot/file.bin"] == DATA
    assert run.rests


def test_a_server_that_knows_no_parts_gets_one_plain_put(run: Run) -> None:
    run.server.resumable = False
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.methods() == ["HEAD", "OPTIONS", "PUT"]
    assert run.server.files["/slot/file.bin"] == DATA


def test_a_file_that_is_there_already_is_not_taken_for_ours(run: Run) -> None:
    run.server.resumable = False
    run.server.files["/slot/file.bin"] = bytes(len(DATA))
    with pytest.raises(Failed, match="409") as failed:
        run()
    assert failed.value.problem.status == 409


def test_what_an_earlier_run_has_stored_is_known_by_its_digest(run: Run) -> None:
    run.server.resumable = False
    run.server.files["/slot/file.bin"] = DATA
    assert run() == f"{run.server.url}/slot/file.bin"


@pytest.mark.parametrize("status", [202, 204, 206])
def test_a_put_that_is_not_said_to_be_stored_has_failed(run: Run, status: int) -> None:
    run.chunk = None
    run.server.faults["PUT"].append(Say(status=status))
    with pytest.raises(Failed, match=str(status)):
        run()


def test_a_later_run_goes_on(run: Run) -> None:
    run.server.uploads["/slot/file.bin"] = Begun(length=len(DATA), data=bytearray(DATA[:777_777]))
    assert run()
    assert run.server.methods() == ["HEAD", "PATCH"]
    assert run.server.files["/slot/file.bin"] == DATA


def test_a_later_run_finds_that_all_is_done(run: Run) -> None:
    run.server.uploads["/slot/file.bin"] = Begun(length=len(DATA), data=bytearray(DATA), complete=True)
    assert run() == f"{run.server.url}/slot/file.bin"
    assert run.server.methods() == ["HEAD"]


def test_all_bytes_without_an_end_are_ended(run: Run) -> None:
    run.server.uploads["/slot/file.bin"] = Begun(length=len(DATA), data=bytearray(DATA))
    assert run()
    assert run.server.bytes_of("PATCH") == [0]
    assert run.server.files["/slot/file.bin"] == DATA


def test_an_upload_of_another_size_is_not_continued(run: Run) -> None:
    run.server.uploads["/slot/file.bin"] = Begun(length=5)
    with pytest.raises(Failed, match="upload of 5 bytes was begun"):
        run()


def test_a_whole_upload_of_another_size_is_not_ours(run: Run) -> None:
    told = {"Upload-Complete": "?1", "Upload-Offset": "5"}
    run.server.faults["HEAD"].append(Say(status=204, fields=told))
    with pytest.raises(Failed, match="upload of 5 bytes was begun"):
        run()


@pytest.mark.parametrize("chunk", [PART, None])
def test_a_server_that_takes_nothing_is_given_up(run: Run, chunk: int | None) -> None:
    run.chunk = chunk
    none = Say(status=204, fields={"Upload-Complete": "?0", "Upload-Offset": "0"})
    for method in ("PUT", "PATCH"):
        run.server.faults[method] += [none] * 20
    with pytest.raises(GaveUp, match="no more than before"):
        run()
    assert len(run.rests) == run.retries


def test_an_upload_that_the_server_dropped_begins_anew(run: Run) -> None:
    run.server.faults["PATCH"].append(Say(status=404))
    run.server.faults["HEAD"] += [Say(status=404), Say(status=404)]
    assert run()
    assert run.server.methods().count("PUT") == 2
    assert run.server.files["/slot/file.bin"] == DATA


@pytest.mark.parametrize("broken", [(), ("POST",), ("PATCH",), ("POST", "PATCH")])
def test_an_endpoint_tells_where_it_goes(run: Run, broken: tuple[str, ...]) -> None:
    run.path = "/files/"
    for method in broken:
        run.server.faults[method].append(Mute())
    got = run()
    assert got is not None
    assert run.server.files[got.removeprefix(run.server.url)] == DATA
    first = run.server.seen[1]
    assert (first.method, first.body) == ("POST", 0)
    assert first.fields["upload-complete"] == "?0"
    assert first.fields["content-disposition"] == "attachment; filename*=UTF-8''file.bin"


def test_a_small_file_at_an_endpoint_is_one_request(run: Run) -> None:
    run.path = "/files/"
    run.chunk = None
    got = run()
    assert run.server.methods() == ["POST"]
    assert got is not None
    assert run.server.files[got.removeprefix(run.server.url)] == DATA


def test_an_interim_answer_disturbs_nobody(run: Run) -> None:
    run.server.interim = True
    assert run()
    assert run.server.files["/slot/file.bin"] == DATA


def test_a_wrong_digest_is_said(run: Run) -> None:
    run.server.rot = True
    with pytest.raises(Failed) as failed:
        run()
    problem = failed.value.problem
    assert (problem.status, problem.code, problem.request_id) == (460, "digest_mismatch", "r-460")
    assert problem.words == "460 digest_mismatch: the digest is another: sent again? (request r-460)"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 411, 413, 415, 422, 501, 505])
def test_a_refusal_is_final(run: Run, status: int) -> None:
    run.server.faults["PUT"].append(Say(status=status, text="\x1b[2Jno"))
    with pytest.raises(Failed, match=str(status)) as failed:
        run()
    assert not isinstance(failed.value, GaveUp)
    assert failed.value.problem.words.isprintable()
    assert run.rests == []


def test_retry_after_is_obeyed(run: Run) -> None:
    run.server.faults["PUT"].append(Say(status=503, fields={"Retry-After": "120"}))
    assert run()
    assert run.rests == [120.0]


def test_who_is_to_wait_an_hour_is_told_so(run: Run) -> None:
    run.server.faults["PUT"].append(Say(status=503, fields={"Retry-After": "3600"}))
    with pytest.raises(GaveUp) as gave_up:
        run()
    assert gave_up.value.problem.retry_after_s == 3600
    assert run.rests == []


def test_waits_grow_until_it_gives_up(run: Run) -> None:
    run.server.faults["PUT"] += [Say(status=503)] * 9
    with pytest.raises(GaveUp, match="gave up: 503"):
        run()
    assert run.rests == [0.5, 1.0, 2.0, 4.0]


def test_progress_renews_patience(run: Run) -> None:
    run.server.faults["PATCH"] += [Cut(after=50_000)] * 12
    assert run()
    assert run.rests == [0.5] * 12


def test_an_offset_that_never_fits_ends(run: Run) -> None:
    run.server.faults["PATCH"] += [Forget(last=PART)] * 20
    with pytest.raises(GaveUp, match="another part"):
        run()


def test_no_server_is_given_up(run: Run) -> None:
    run.server = type(run.server)(port=1)
    with pytest.raises(GaveUp, match="gave up"):
        run()
    assert len(run.rests) == run.retries


def test_a_redirection_is_said(run: Run) -> None:
    run.server.faults["PUT"].append(Say(status=308, fields={"Location": "https://elsewhere.example/"}))
    with pytest.raises(Failed, match=r"follow no redirection; the server says https://elsewhere\.example/"):
        run()


@pytest.mark.parametrize("location", ["https://elsewhere.example/up/1", "//elsewhere.example/up/1"])
def test_an_upload_is_not_sent_elsewhere(run: Run, location: str) -> None:
    run.path = "/files/"
    begun = {"Location": location, "Upload-Complete": "?0", "Upload-Offset": "0"}
    run.server.faults["POST"].append(Say(status=201, fields=begun))
    with pytest.raises(Failed, match="another origin"):
        run()
    assert "PATCH" not in run.server.methods()


def test_a_file_that_changes_is_not_called_stored(tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(DATA)

    async def read() -> None:
        with Source(str(file)) as source:
            async for _ in source.blocks(0, source.size, lambda _: None):
                pass
            assert await source.digest() == hashlib.sha256(DATA).digest()
            file.write_bytes(DATA[1:])
            with pytest.raises(Failed, match="has changed"):
                await source.digest()

    asyncio.run(read())


def test_a_file_that_shrinks_says_so(tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(DATA)

    async def read() -> None:
        with Source(str(file)) as source:
            file.write_bytes(b"")
            async for _ in source.blocks(0, source.size, lambda _: None):
                pass

    with pytest.raises(Failed, match="shorter"):
        asyncio.run(read())


@pytest.mark.parametrize("name", [".", "/dev/null", "none"])
def test_only_files_are_uploaded(name: str, tmp_path: Path, no_fd_leak: None) -> None:
    del no_fd_leak
    with pytest.raises(Failed, match=r"is no regular file|cannot be read"):
        Source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.txt", "text/plain"),
        ("a.tar.gz", "application/gzip"),
        ("a.tar.bz2", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_type_is_that_of_the_bytes_sent(name: str, kind: str) -> None:
    assert guess_type(name) == kind
