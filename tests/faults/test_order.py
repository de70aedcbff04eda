"""The order of one PUT's system calls in the real server: everything is durable before the 201 leaves."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
import serving
import tracing

from hmacfs.policy import reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BODY = b"x" * 70_000
# Its first step is reserved where a crowd of such steps would not find room; the rest of it is a byte.
LARGE = b"x" * (reservation.FIRST_BYTES + 1)
SPARE_BYTES = reservation.CROWD * reservation.FIRST_BYTES // 2
assert not reservation.must_reserve(len(BODY), SPARE_BYTES - len(BODY))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[serving.Server]:
    margin = shutil.disk_usage(tmp_path).free - SPARE_BYTES
    # Clients are shared now and then, which is no part of an upload.
    profiles = "[performance]\nclient_profiling = false\n"
    text = serving.configuration(tmp_path / "store", rest=profiles, min_free=str(margin))
    with serving.start(tmp_path, text) as running:
        yield running


def moment(call: tracing.Call) -> int:
    """Return when a call counts: a sync when it has ended, an answer when it begins to be sent."""
    return call.begun if call.name == "sendto" else call.ended


def steps(trace: tracing.Trace, root: Path) -> list[str]:
    """Return the calls that durability rests on, in words, up to the answer."""
    place = re.escape(str(root))
    words = {
        r'sendto\(.*"HTTP/1\.1 201': "answer",
        r'(?:sendto|write)\(.*"HTTP/1\.1 100': "continue",
        r"fallocate\(": "reserve",
        r"pwrite64\(\d+<[^>]*/#\d+>": "write",
        r"fsync\(\d+<[^>]*/#\d+>.* = 0": "sync file",
        r"fdatasync\(\d+<[^>]*/index\.db-wal>\) = 0": "commit row",
        rf"mkdirat\(\d+<{place}(?P<above>[^>]*)>, \"(?P<name>[^\"]+)\", \d+\) = 0": "make",
        r"linkat\(.* = 0$": "link",
        rf"fsync\(\d+<{place}(?P<path>[^>#]*)>\) = 0": "sync",
    }
    found = []
    for call in sorted(trace.calls(), key=moment):
        for pattern, word in words.items():
            if match := re.match(pattern, call.text):
                path = "/".join(part for part in match.groups() if part).lstrip("/")
                found.append(f"{word} {path}".rstrip() if match.groups() else word)
    # What is made for unfinished uploads, beside the request, is no part of it.
    found = [step for step in found if " .hmacfs" not in step]
    return [step for at, step in enumerate(found) if step not in found[at - 1 : at]]


FIRST = [
    "reserve",
    "write",
    "sync file",
    "commit row",
    "make upload",
    "make upload/new",
    "make upload/new/below",
    "link",
    "sync upload/new/below",
    "sync upload/new",
    "sync upload",
    "sync",
    "answer",
]


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("before", "want"),
    [
        ([], FIRST),
        # The root has been synced by this worker; a parent that another made is synced all the same.
        (["other/file"], [step for step in FIRST if step not in {"make upload", "sync"}]),
        (
            ["new/below/other"],
            [step for step in FIRST if not step.startswith("make") and step != "sync"],
        ),
    ],
    ids=["first of all", "in a new directory", "in an old directory"],
)
def test_the_answer_comes_after_every_sync(  # noqa: PLR0913, PLR0917 - fixtures and two tables
    server: serving.Server,
    program: Callable[[str], str],
    tmp_path: Path,
    before: list[str],
    want: list[str],
    body: bytes,
) -> None:
    for rel in before:
        assert server.put(rel, BODY).status == 201
    with tracing.attached(program("strace"), tmp_path / "log", process=server.workers[0]) as trace:
        assert server.put("new/below/file", body).status == 201
    assert steps(trace, server.storage) == [step for step in want if step != "reserve" or body is LARGE]


def test_continue_is_said_only_when_the_space_is_reserved(
    server: serving.Server, program: Callable[[str], str], tmp_path: Path
) -> None:
    rel = "new/below/file"
    fields = {"Content-Type": "text/plain", "Expect": "100-continue"}
    asked = serving.head("PUT", serving.signed(rel, len(LARGE), "text/plain"), fields, len(LARGE))
    with (
        tracing.attached(program("strace"), tmp_path / "log", process=server.workers[0]) as trace,
        server.connect() as sock,
    ):
        sock.sendall(asked)
        assert serving.read_answer(sock).status == 100
        sock.sendall(LARGE)
        assert serving.read_answer(sock).status == 201
    assert steps(trace, server.storage) == ["reserve", "continue", *FIRST[1:]]


def test_batched_uploads_are_answered_after_their_own_syncs(
    server: serving.Server, program: Callable[[str], str], tmp_path: Path
) -> None:
    """Uploads at once share syncs; still no answer leaves before all that it needs."""
    rels = [f"new{n}/file" for n in range(8)]
    sockets = [server.connect() for _ in rels]
    with tracing.attached(program("strace"), tmp_path / "log", process=server.workers[0]) as trace:
        for sock, rel in zip(sockets, rels, strict=True):
            fields = {"Content-Type": "text/plain"}
            target = serving.signed(rel, len(BODY), "text/plain")
            sock.sendall(serving.head("PUT", target, fields, len(BODY)) + BODY)
        for sock in sockets:
            assert serving.read_answer(sock).status == 201
            sock.close()
    found = steps_of_all(trace, server.storage)
    answers = 0
    for at, step in enumerate(found):
        if step != "answer":
            continue
        answers += 1
        behind = found[:at]
        linked = [s.removeprefix("link ") for s in behind if s.startswith("link ")]
        durable = [d for d in linked if f"sync {d}" in behind[behind.index(f"link {d}") :]]
        assert len(durable) >= answers, found
    assert answers == len(rels)


def steps_of_all(trace: tracing.Trace, root: Path) -> list[str]:
    """Return links, syncs of directories and answers, each with the directory that it concerns."""
    place = re.escape(str(root))
    found = []
    for call in sorted(trace.calls(), key=moment):
        if re.match(r'sendto\(.*"HTTP/1\.1 201', call.text):
            found.append("answer")
        elif match := re.match(rf"linkat\(.*, \d+<{place}/([^>]*)>, .* = 0$", call.text):
            found.append(f"link {match[1]}")
        elif match := re.match(rf"fsync\(\d+<{place}/(upload[^>]*)>\) = 0", call.text):
            found.append(f"sync {match[1]}")
    return found
