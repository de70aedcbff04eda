"""What a power cut or a failing disk meets: the order of the system calls, and each of them failing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from storage import names, rows, rules

from hmacfs.model import Durability
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
UPLOAD = """
import asyncio, os, sys
sys.path[:0] = sys.argv[1:3]
import storage
from hmacfs.model import Durability
from hmacfs.errors import Refused
from hmacfs.store import Store

async def main():
    store = Store.open(sys.argv[3], storage.rules(durability=Durability(sys.argv[4])))
    os.write(1, b"ready\\n")
    fds = len(os.listdir("/proc/self/fd"))
    try:
        await storage.put(store, storage.slot("U/deep/it"))
        os.write(1, b"created\\n")
    except Refused as refused:
        os.write(1, refused.refusal.code.encode() + b"\\n")
    store._pool.shutdown()
    assert len(os.listdir("/proc/self/fd")) <= fds + 3, "descriptors left"  # a log of SQLite's, the pool's
    store.close()

asyncio.run(main())
"""
CALLS = "write,openat,openat2,mkdirat,linkat,unlinkat,fsync,fdatasync,pwrite64,fallocate,ftruncate,utimensat"


def trace(
    strace: str, root: Path, log: Path, durability: Durability, *options: str
) -> subprocess.CompletedProcess[str]:
    """Upload one file in a child under strace."""
    return subprocess.run(
        [
            *(strace, "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}", *options),
            *(sys.executable, "-c", UPLOAD, str(ROOT), str(ROOT / "tests"), str(root), durability),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def steps(log: str, root: Path) -> list[str]:
    """Give the calls that matter, between "ready" and "created", in words and in order."""
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
    lines = log[log.index('"ready') :].splitlines()
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
    tmp_path: Path, program: Callable[[str], str], durability: Durability, order: list[str]
) -> None:
    root = tmp_path / "storage"
    log = tmp_path / "log"
    trace(program("strace"), root, log, durability).check_returncode()
    assert steps(log.read_text(), root) == order


def calls_of_one_upload(log: str) -> list[tuple[str, int]]:
    """Give (call, number) of each call of the upload, numbered as strace's `when` counts it."""
    count: dict[str, int] = {}
    found = []
    ready = False
    for line in log.splitlines():
        if (match := re.match(r"\d+ +(\w+)\(", line)) is None:
            continue
        call = match[1]
        count[call] = count.get(call, 0) + 1
        if "created" in line:
            break
        if ready:
            found.append((call, count[call]))
        ready = ready or '"ready' in line
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_any_one_call_may_fail(tmp_path: Path, program: Callable[[str], str], error: str) -> None:
    """Each call of one upload fails once: never a false "created", never anything left behind.

    strace counts calls by thread group member, so a number may hit another call of the same name;
    what must hold, holds for that one too.
    """
    strace = program("strace")
    Store.open(str(tmp_path / "first"), rules()).close()
    trace(strace, tmp_path / "first", tmp_path / "log", Durability.FULL).check_returncode()
    calls = calls_of_one_upload((tmp_path / "log").read_text())
    assert {"fsync", "fdatasync", "linkat", "mkdirat", "pwrite64"} <= {call for call, _ in calls}
    for number, (call, when) in enumerate(calls):
        root = tmp_path / str(number)
        Store.open(str(root), rules()).close()
        log = tmp_path / f"{number}.log"
        ran = trace(strace, root, log, Durability.FULL, "-e", f"inject={call}:error={error}:when={when}")
        said = ran.stdout.split()
        whole = {"upload", "upload/U", "upload/U/deep", "upload/U/deep/it"}
        if said[1:] == ["created"]:
            assert names(root) == whole, (call, when)
            assert len(rows(root)) == 1, (call, when)
            assert (root / "upload/U/deep/it").read_bytes() == b"body"
        else:
            assert "upload/U/deep/it" not in names(root), (call, when, said)
            assert names(root) <= {"upload"} or call == "unlinkat", (call, when, said)
        assert {p.name for p in (root / ".hmacfs").iterdir()} <= {
            "index.db",
            "index.db-wal",
            "index.db-shm",
            "open.lock",
            "remove.lock",
        }
