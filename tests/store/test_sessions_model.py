"""One unfinished upload under whatever requests may do to it: it is what a plain string of bytes would be."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from storage import Clock, anybody, mine, rules, slot, terms, write

from hmacfs.errors import Refused
from hmacfs.store import Store

if TYPE_CHECKING:
    from hmacfs.store.sessions import WriteLease

NAME = "a" * 32
WORKERS = st.integers(0, 1)
BODIES = st.binary(min_size=1, max_size=20)


class Upload(RuleBasedStateMachine):
    """Two workers; `holds` are their requests under way, of which only `newest` may write."""

    @initialize()
    def open(self) -> None:
        self.directory = contextlib.ExitStack()
        self.root = Path(self.directory.enter_context(tempfile.TemporaryDirectory()), "storage")
        self.clock = Clock()
        self.stores = [self.store(), self.store()]
        self.holds: dict[int, WriteLease] = {}
        self.newest: int | None = None
        self.body = b""
        self.kept = 0  # where the newest hold began
        self.exists = self.published = False

    def store(self) -> Store:
        return Store.open(str(self.root), rules(), clock_ns=self.clock)

    def teardown(self) -> None:
        for hold in self.holds.values():
            hold.__exit__(None, None, None)
        for store in self.stores:
            store.close()
        self.directory.close()

    def leave(self, worker: int) -> None:
        if worker in self.holds:
            self.holds.pop(worker).__exit__(None, None, None)
        if self.newest == worker:
            self.newest = None

    @rule(worker=WORKERS)
    def begin(self, worker: int) -> None:
        if self.published:
            with pytest.raises(Refused, match="exists"):
                asyncio.run(self.stores[worker].sessions.begin(NAME, terms(), None))
            return
        assert asyncio.run(self.stores[worker].sessions.begin(NAME, terms(), None)) is not self.exists
        if not self.exists:
            self.exists, self.body = True, b""

    @rule(worker=WORKERS)
    def take_over(self, worker: int) -> None:
        self.leave(worker)
        if not self.exists:
            with pytest.raises(Refused, match="not_found"):
                asyncio.run(self.stores[worker].sessions.take_over(NAME, mine))
            return
        hold = asyncio.run(self.stores[worker].sessions.take_over(NAME, mine))
        assert hold.found.offset == len(self.body)
        assert hold.found.complete == self.published
        self.newest, self.kept = worker, len(self.body)
        self.holds[worker] = hold

    @precondition(lambda self: self.holds and not self.published)
    @rule(data=st.data(), body=BODIES)
    def append(self, data: st.DataObject, body: bytes) -> None:
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        if worker == self.newest:
            write(self.holds[worker], body)
            self.body += body
        else:
            with pytest.raises(Refused, match="upload_taken_over"):
                write(self.holds[worker], body)

    @precondition(lambda self: self.newest is not None and not self.published)
    @rule()
    def cut(self) -> None:
        assert self.newest is not None
        asyncio.run(self.stores[self.newest].sessions.discard_unverified(self.holds[self.newest]))
        self.body = self.body[: self.kept]

    @precondition(lambda self: self.newest is not None)
    @rule()
    def keep(self) -> None:
        assert self.newest is not None
        found = asyncio.run(self.stores[self.newest].sessions.keep(self.holds[self.newest]))
        assert found.offset == len(self.body)
        self.kept = len(self.body)

    @precondition(lambda self: self.newest is not None)
    @rule()
    def publish(self) -> None:
        assert self.newest is not None
        hold, sessions = self.holds[self.newest], self.stores[self.newest].sessions

        async def main() -> None:
            if not self.published:
                await sessions.declare_length(hold, (await sessions.keep(hold)).offset, 0)
            await sessions.publish(hold, slot("U/it"), None)

        asyncio.run(main())
        self.published = True
        self.leave(self.newest)

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        """Lose all that a process holds but what it has written."""
        self.leave(worker)
        self.stores[worker].close()
        self.stores[worker] = self.store()

    @rule(worker=WORKERS)
    def drop(self, worker: int) -> None:
        if not self.exists:
            return
        asyncio.run(self.stores[worker].sessions.drop(NAME, anybody))
        self.newest, self.exists = None, False

    @precondition(lambda self: not self.published)
    @rule(worker=WORKERS, hours=st.sampled_from([1, 25]))
    def wait(self, worker: int, hours: int) -> None:
        """Let time pass, then sweep."""
        self.clock.pass_s(hours * 3600)
        swept = asyncio.run(self.stores[worker].sweep_sessions())
        if swept:
            assert hours > 24
            self.newest, self.exists = None, False

    @precondition(lambda self: hasattr(self, "body"))
    @invariant()
    def what_stands_is_what_was_written(self) -> None:
        unfinished, published = self.root / ".hmacfs/uploads" / NAME, self.root / "upload/U/it"
        assert published.exists() == self.published
        if self.published:
            assert published.read_bytes() == self.body
        elif self.exists:
            assert (unfinished.read_bytes() if unfinished.exists() else b"") == self.body


TestUpload = Upload.TestCase
TestUpload.settings = hypothesis.settings(max_examples=25, stateful_step_count=20, deadline=None)
