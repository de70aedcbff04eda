"""Each system call that one PUT makes in the storage fails once: never a false 201, nothing left behind.

strace counts `when` for each thread by itself. So a sound PUT is traced first; it tells which thread
makes which call as its how-many-eth, and then each of these is made to fail in a PUT of its own.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import random
import re
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import procfs
import pytest
import serving
import storage
import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BODY = bytes(range(256)) * 400
# An injected call is not made at all. A close or an unlock that is not made would leave what a real
# one never leaves: they let go whatever they return (close(2)), or do not fail on a local disk.
LETS_GO = re.compile(r"close\(|fcntl\(.*F_SETLK, .*F_UNLCK")
# SQLite tries for a lock again and again before it gives up.
LOCK = re.compile(r"fcntl\(.*index\.db-shm>, F_SETLK, ")
# Made once the file is stored: what is left of a broken upload to the same slot then waits for the sweep.
AFTERWARDS = re.compile(r"newfstatat\(.*/uploads>, \"[0-9a-f]+\.note\"")
# Made once a second beside the requests: while it fails, uploads are put off.
LOOK = re.compile(r'newfstatat\(AT_FDCWD[^,]*, "[^"]*/index\.db[^"]*", ')
# A string that is no name.
BYTES = re.compile(r'"[^"]*\\[^"]*"')
# A thread of a pool may have got a colleague, and then either may take the upload.
TRIES = 30
# SQLite checkpoints at 1000 pages.
WAL_PAGES = 1100


class Site(NamedTuple):
    """The place of a call in one PUT."""

    thread: int
    name: str
    when: int
    """Which of the thread's calls of this name it is, from 1."""
    text: str

    @property
    def kind(self) -> str:
        """What it says but for numbers and bytes, which differ from one PUT to the next."""
        return re.sub(r"[0-9a-f]*[0-9]+[0-9a-f]*", "#", BYTES.sub("", self.text))


def leave_wal(path: Path) -> None:
    """Take the write-ahead log as the warming up left it."""


def fill_wal(path: Path) -> None:
    """Make the write-ahead log so long that the next row's commit is followed by a checkpoint."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as outsider:
        outsider.execute("PRAGMA wal_autocheckpoint = 0")
        outsider.execute("BEGIN IMMEDIATE")
        insert = "INSERT INTO file (key, mtime_ns, size, owner, created) VALUES (?, 0, 0, '', 0)"
        outsider.executemany(insert, ((f"{n:03000}",) for n in range(WAL_PAGES)))
        outsider.execute("COMMIT")
        outsider.execute("DELETE FROM file WHERE mtime_ns = 0")


def finish_wal(path: Path) -> None:
    """Have the whole log checkpointed, so that the next row begins it anew: its head is written too."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as outsider:
        outsider.execute("PRAGMA wal_checkpoint(FULL)")


# What is shared of clients, every few seconds and on a thread of its own, is no part of an upload.
NO_PROFILES = "[performance]\nclient_profiling = false\n"


class Subject:
    """A server with one worker, and what its storage holds as far as we know."""

    def __init__(self, server: serving.Server, strace: str, where: Path) -> None:
        self.server = server
        self.strace = strace
        self.where = where
        self.serials = itertools.count()
        self.kept: set[str] = set()
        self.worker = server.workers[0]
        for _ in range(2):  # until all of its threads run and the endpoint's directory is there
            self.assert_it_works()
        self.fds = self.standing_fds()

    def fresh(self) -> str:
        return f"dir{next(self.serials)}/below/file.bin"

    def assert_it_works(self) -> None:
        """Upload a file and read it back."""
        rel = self.fresh()
        assert self.server.put(rel, BODY).status == 201
        assert self.server.get(rel).body == BODY
        self.kept.add(f"upload/{rel}")

    def assert_nothing_else_is_left(self) -> None:
        """Compare storage, index and descriptors with what must be there."""
        root = self.server.storage
        directories = {str(parent) for key in self.kept for parent in Path(key).parents} - {"."}
        assert storage.names(root) == self.kept | directories
        assert {key for key, _ in storage.rows(root)} == self.kept
        assert self.standing_fds() == self.fds

    def standing_fds(self) -> collections.Counter[str]:
        """Return what the worker has open in the storage once it has closed the last upload and download."""
        deadline = time.monotonic() + serving.PATIENCE_S
        while True:
            fds = self.storage_fds()
            if not any("/upload/" in target or "#" in target for target in fds):
                return fds
            assert time.monotonic() < deadline, fds

    def storage_fds(self) -> collections.Counter[str]:
        """Return what the worker has open in the storage."""
        root = str(self.server.storage)
        targets = procfs.descriptors(self.worker).values()
        return collections.Counter(target for target in targets if target.startswith(root))

    def prepare(self, wal: Callable[[Path], None]) -> None:
        """Bring the server into the state that the next upload is to meet, which is always the same."""
        self.assert_it_works()
        self.assert_nothing_else_is_left()
        wal(self.server.storage / ".hmacfs/index.db")

    def sites(self, wal: Callable[[Path], None] = leave_wal) -> list[Site]:
        """Trace one sound PUT; give all calls of it that concern the storage."""
        self.prepare(wal)
        self._trace()  # this one may have to map more of the index's shared memory
        for _ in range(TRIES):
            self.prepare(wal)
            found = self._trace()
            if not any(LOOK.match(site.text) for site in found):  # else calls are counted that may not come
                return found
        pytest.fail("the index is looked at all the time")

    def _trace(self) -> list[Site]:
        log = self.where / "sound.log"
        options = ("-e", "trace=%file,%desc")
        with tracing.attached(self.strace, log, *options, process=self.worker) as trace:
            self.assert_it_works_without_reading()
        count = collections.Counter[tuple[int, str]]()
        found = []
        for call in trace.calls():
            count[call.thread, call.name] += 1
            if str(self.server.storage) in call.text and not LETS_GO.match(call.text):
                found.append(Site(call.thread, call.name, count[call.thread, call.name], call.text))
        return found

    def assert_it_works_without_reading(self) -> None:
        rel = self.fresh()
        assert self.server.put(rel, BODY).status == 201
        self.kept.add(f"upload/{rel}")

    def fail(self, site: Site, error: str) -> tuple[int, list[tracing.Call]]:
        """Upload with the call failing; give the status and the calls that were made to fail."""
        rel = self.fresh()
        options = ("-e", f"trace={site.name}", "-e", f"inject={site.name}:error={error}:when={site.when}")
        log = self.where / "fault.log"
        with tracing.attached(self.strace, log, *options, thread=site.thread) as trace:
            answer = self.server.put(rel, BODY)
        if answer.status == 201:
            self.kept.add(f"upload/{rel}")
            assert (self.server.storage / "upload" / rel).read_bytes() == BODY, site
        if answer.status == 503:
            assert "retry-after" in answer.fields
        return answer.status, trace.injected()

    def elsewhere(self, site: Site, wal: Callable[[Path], None]) -> Site:
        """Look where the call is now: threads of a pool may take turns, and never meet their old places."""
        alike = [later for later in self.sites(wal) if later.kind == site.kind]
        return random.choice(alike or [site])

    def fail_each(
        self,
        sites: list[Site],
        error: str,
        statuses: set[int],
        *,
        wal: Callable[[Path], None] = leave_wal,
        ignored: frozenset[Site] = frozenset(),
    ) -> str:
        """Make each of these calls fail in an upload of its own; give the figures in words."""
        assert sites
        seen = collections.Counter[str]()
        for site in sites:
            here = site
            for _ in range(TRIES):
                self.prepare(wal)
                status, injected = self.fail(here, error)
                if injected and LOOK.match(injected[0].text):
                    self.server.wait_for("uploads-resumed")
                elif injected and not LETS_GO.match(injected[0].text):  # another call was the one to fail
                    break
                assert status == 201, site
                here = self.elsewhere(site, wal)
            (call,) = injected
            assert not LETS_GO.match(call.text), (call, site)
            if status == 201:
                assert site in ignored or LOCK.match(call.text) or AFTERWARDS.match(call.text), call
            else:
                assert status in statuses, (status, call)
            self.assert_it_works()
            self.assert_nothing_else_is_left()
            seen[f"{site.name} {status}"] += 1
        return f"{len(sites)} calls failed once each: {dict(sorted(seen.items()))}"


@pytest.fixture
def subject(tmp_path: Path, program: Callable[[str], str]) -> Iterator[Subject]:
    with serving.running(tmp_path, rest=NO_PROFILES, provokes={"uploads-barred"}) as server:
        yield Subject(server, program("strace"), tmp_path)


def checkpoint(sites: list[Site]) -> frozenset[Site]:
    """Return the calls behind the row's commit: its log is synced, and the row safe without them."""
    commit = next(at for at, site in enumerate(sites) if site.name == "fdatasync")
    return frozenset(sites[commit + 1 :])


def telling(sites: list[Site]) -> list[Site]:
    """Return of many like calls, as a checkpoint's of a thousand pages, the first two and the last."""
    alike: dict[tuple[str, str], list[Site]] = collections.defaultdict(list)
    for site in sites:
        alike[site.name, site.text.partition(">")[0]].append(site)
    kept = {site for group in alike.values() for site in (*group[:2], group[-1])}
    return [site for site in sites if site in kept]


@pytest.mark.parametrize("wal", [fill_wal, finish_wal])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_one_call_to_the_index_fails(
    subject: Subject, figure: Callable[[str], None], error: str, wal: Callable[[Path], None]
) -> None:
    """As below, where the index has more to do than to add a row to its log."""
    sites = telling([site for site in subject.sites(wal) if "/index.db" in site.text])
    if wal is fill_wal:
        assert any("/index.db>" in site.text for site in checkpoint(sites))
    ignored = checkpoint(sites) if wal is fill_wal else frozenset[Site]()
    figure(subject.fail_each(sites, error, {500, 507}, wal=wal, ignored=ignored))


@pytest.mark.parametrize(
    ("error", "names", "statuses"),
    [
        ("EIO", None, {500}),
        ("ENOSPC", None, {500, 507}),
        ("EMFILE", {"openat", "openat2"}, {503}),
        ("ENOMEM", {"openat", "openat2", "mkdirat", "linkat"}, {503}),
        ("EROFS", {"openat", "mkdirat", "linkat"}, {500}),
        ("EDQUOT", {"openat", "fallocate", "mkdirat", "linkat", "pwrite64"}, {500, 507}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_call_fails(
    subject: Subject,
    figure: Callable[[str], None],
    error: str,
    names: set[str] | None,
    statuses: set[int],
) -> None:
    sites = [site for site in subject.sites() if names is None or site.name in names]
    figure(subject.fail_each(sites, error, statuses))


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_the_call_after_the_last_one_changes_nothing(subject: Subject, error: str) -> None:
    """The clean pass at the end of each series: the traced PUT made no call that was overlooked."""
    last = {(site.thread, site.name): site for site in subject.sites()}
    for site in last.values():
        beyond = site._replace(when=site.when + 1)
        subject.prepare(leave_wal)
        status, injected = subject.fail(beyond, error)
        assert (status, injected) == (201, []), beyond
    subject.assert_it_works()
    subject.assert_nothing_else_is_left()


def test_a_failed_file_is_not_synced_again(subject: Subject) -> None:
    """The kernel may drop the pages of a failed sync, and a second one would succeed without them."""
    sync = next(s for s in subject.sites() if s.name == "fsync" and "/#" in s.text)
    log = subject.where / "again.log"
    options = ("-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={sync.when}")
    with tracing.attached(subject.strace, log, *options, thread=sync.thread) as trace:
        assert subject.server.put(subject.fresh(), BODY).status == 500
    assert len(trace.calls()) == len(trace.injected()) == 1
    subject.assert_it_works()
    subject.assert_nothing_else_is_left()
