"""What a power cut or a failing disk meets: the order of the system calls, and each of them failing."""

from __future__ import annotations

import collections
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import children
import pytest
import uploading
from storage import names, rows

from hmacfs.model import Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from uploading import Uploader

CALLS = (
    "write,openat,openat2,newfstatat,fstat,statx,fstatfs,fchmod,mkdirat,linkat,unlinkat,lseek,read,pread64,"
    "pwrite64,fsync,fdatasync,fallocate,ftruncate,utimensat,fcntl,flock"
)
LOCKS = {"open.lock", "remove.lock", "sweep.lock", "reconcile.lock"}
PRIVATE = {"index.db", "index.db-wal", "index.db-shm", "uploads", *LOCKS}
# Where an upload's calls are made: the event loop begins all, and publishes those that need no sync.
WHERE = [
    pytest.param(Durability.FULL, 0, id="beginning"),
    pytest.param(Durability.FULL, 1, id="sync"),
    pytest.param(Durability.FULL, 2, id="publication"),
    pytest.param(Durability.RELAXED, 0, id="on the loop"),
]


class Ran(NamedTuple):
    """What came of one upload under strace."""

    said: str
    log: str
    code: int


@pytest.fixture(scope="module")
def uploader() -> Iterator[Uploader]:
    with uploading.running() as uploader:
        yield uploader


@pytest.fixture
def upload(uploader: Uploader, program: Callable[[str], str]) -> Callable[..., Ran]:
    """Return a function that uploads one file, with strace on all threads (None) or on one."""
    strace = program("strace")

    def run(root: Path, durability: Durability, thread: int | None, *options: str) -> Ran:
        log = root.with_suffix(".log")
        with uploader.upload(root, durability) as begun:
            whom = ["-f", "-p", str(begun.pid)] if thread is None else ["-p", begun.threads[thread]]
            command = [strace, "-y", "-o", str(log), *whom, "-e", f"trace={CALLS}", *options]
            with children.running(command, stderr=subprocess.PIPE, text=True) as tracer:
                assert "attached" in tracer.stderr.readline()
                said, code = uploader.finish()
                tracer.communicate()
        return Ran(said, log.read_text(), code)

    return run


def steps(log: str, root: Path) -> list[str]:
    """Return the calls that matter, up to the answer, in words and in order."""
    words = {
        r'write\(1.*"created': "answer",
        r"fsync\(\d+<[^>]*/#\d+": "sync file",
        r"fdatasync\(\d+<[^>]*index.db-wal>": "commit row",
        r"mkdirat\(.*": "make directory",
        r"linkat\(": "link",
        rf"fsync\(\d+<{root}/upload/U/deep>": "sync upload/U/deep",
        rf"fsync\(\d+<{root}/upload/U>": "sync upload/U",
        rf"fsync\(\d+<{root}/upload>": "sync upload",
        rf"fsync\(\d+<{root}>": "sync root",
    }
    lines = log.splitlines()
    found = [
        word for line in lines for pattern, word in words.items() if re.search(rf"^\d+ +{pattern}", line)
    ]
    return found[: found.index("answer") + 1]


FULL = [
    "sync file",
    "commit row",
    *["make directory"] * 3,
    "link",
    "sync upload/U/deep",
    "sync upload/U",
    "sync upload",
    "sync root",
    "answer",
]
RELAXED = [*["make directory"] * 3, "link", "answer"]


@pytest.mark.parametrize(("durability", "order"), [(Durability.FULL, FULL), (Durability.RELAXED, RELAXED)])
def test_the_answer_comes_last(
    tmp_path: Path, upload: Callable[..., Ran], durability: Durability, order: list[str]
) -> None:
    root = tmp_path / "storage"
    ran = upload(root, durability, None)
    assert ran.said == "created\n"
    assert steps(ran.log, root) == order


def calls(log: str, root: Path) -> list[tuple[str, int]]:
    """Return (call, number) of each call in the storage, numbered as strace's `when` counts them."""
    count = collections.Counter[str]()
    found = []
    for line in log.splitlines():
        if call := re.match(r"\w+(?=\()", line):
            count[call[0]] += 1
            if str(root) in line and call[0] != "write":  # the body's, which is not the store's
                found.append((call[0], count[call[0]]))
    assert found
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize(("durability", "thread"), WHERE)
def test_any_one_call_may_fail(
    tmp_path: Path, upload: Callable[..., Ran], durability: Durability, thread: int, error: str
) -> None:
    """Each call of one upload fails once: never a false "created", never anything left behind."""
    sound = upload(tmp_path / "sound", durability, thread)
    assert sound.said == "created\n"
    for call, when in calls(sound.log, tmp_path / "sound"):
        root = tmp_path / f"{call}-{when}"
        option = f"inject={call}:error={error}:when={when}"
        ran = upload(root, durability, thread, "-e", option)
        assert ran.code == 0, option
        found = names(root)
        if ran.said == "created\n":
            assert found == {"upload", "upload/U", "upload/U/deep", "upload/U/deep/it"}, option
            assert (root / "upload/U/deep/it").read_bytes() == b"body", option
            assert len(rows(root)) == 1, option
        else:
            assert ran.said in {"storage_failed\n", "disk_full\n"}, option
            assert found <= {"upload"}, option
        assert {p.name for p in (root / ".hmacfs").iterdir()} <= PRIVATE, option


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("durability", "thread"), WHERE)
def test_a_kill_at_any_call_leaves_all_or_nothing(
    tmp_path: Path, upload: Callable[..., Ran], durability: Durability, thread: int
) -> None:
    """And the next start works: the same upload succeeds, or the file of the first one is whole."""
    sound = upload(tmp_path / "sound", durability, thread)
    for call, when in calls(sound.log, tmp_path / "sound"):
        root = tmp_path / f"{call}-{when}"
        option = f"inject={call}:signal=KILL:when={when}"
        ran = upload(root, durability, thread, "-e", option)
        if "upload/U/deep/it" in names(root):
            mtime_ns = (root / "upload/U/deep/it").stat().st_mtime_ns
            assert ("upload/U/deep/it", mtime_ns) in rows(root), option
            assert (root / "upload/U/deep/it").read_bytes() == b"body", option
        else:
            assert ran.said == "", option
            assert upload(root, durability, thread).said == "created\n", option
