"""Power cuts under load: what was answered 201 is there and whole after the machine comes back.

The storage lies on a filesystem in an image, whose power is cut by FS_IOC_SHUTDOWN: what no sync
has brought to the image by then is gone. kill -9 alone cannot show a missing sync.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import disks
import load
import pytest
import serving
import storage
from load import Load, Moment, Strike

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("administrator")]

SEED = 363
SIZE_BYTES = 512 * MiB
# Read by every Python process at its start: the same server, but one kind of sync does nothing.
WITHOUT_SYNC = """
import os, stat
real = os.fsync
def fsync(fd):
    if not stat.{kind}(os.fstat(fd).st_mode):
        real(fd)
os.fsync = fsync
"""


class Cut(NamedTuple):
    """Under what load, and when, the power goes."""

    seed: str
    clients: int
    upload: int
    moment: Moment


def plan(seed: str) -> Cut:
    """Return the cut that belongs to a seed."""
    chance = random.Random(seed)
    return Cut(
        seed,
        # One client shows a sync that is missing best: those of others cannot stand in for it.
        chance.choice((1, 1, 3, 10)),
        chance.randint(1, 120),
        # Mostly at an answer: a 201 that came too early is found out within microseconds of it.
        chance.choice((Moment.ANSWERED, Moment.ANSWERED, Moment.SENT, Moment.HALF)),
    )


@dataclass
class Trial:
    """A disk, what was sent to it so far and what was answered 201."""

    disk: disks.Disk
    where: Path
    requested: set[str] = field(default_factory=set)
    acknowledged: list[str] = field(default_factory=list)

    def cut(self, cut: Cut, durability: str = "full", environ: dict[str, str] | None = None) -> None:
        """Run a server under load until the power goes."""
        text = serving.configuration(self.disk.place, workers=2, server=f'durability = "{durability}"')
        strike = Strike(cut.upload, cut.moment, self.disk.cut)
        self.disk.mount()
        with load.start_group(self.where, text, environ) as server:
            with Load(server, cut.seed, clients=cut.clients, strike=strike) as pressure:
                assert pressure.struck.wait(serving.PATIENCE_S)
            load.kill_all(server)
        self.disk.umount()
        assert set(pressure.others) <= {500, 507}  # while the disk fails every call
        self.requested |= pressure.requested
        self.acknowledged += pressure.acknowledged

    def look(self) -> tuple[load.Verdict, list[str]]:
        """Come back: recover, look at everything, check the filesystem; give also who has no row."""
        self.disk.mount()
        verdict = load.judge(self.disk.place / "upload", self.requested, self.acknowledged)
        without_row = self._unindexed()
        self.disk.umount()
        self.disk.check()
        return verdict, without_row

    def _unindexed(self) -> list[str]:
        """Return the keys whose row, with signed type and expiry, is not there."""
        root = self.disk.place
        keys = [f"upload/{rel}" for rel in self.acknowledged if (root / "upload" / rel).exists()]
        if not keys:
            return []
        rows = set(storage.rows(root))
        return [key for key in keys if (key, (root / key).stat().st_mtime_ns) not in rows]


@pytest.mark.parametrize(("kind", "few", "many"), [("ext4", 4, 20), ("xfs", 1, 2)])
def test_nothing_acknowledged_is_lost(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    figure: Callable[[str], None],
    program: Callable[[str], str],
    kind: str,
    few: int,
    many: int,
) -> None:
    program(f"mkfs.{kind}")
    cuts = rounds(few, many)
    with disks.image(tmp_path, SIZE_BYTES, kind) as disk:
        trial = Trial(disk, tmp_path)
        for number in range(cuts):
            trial.cut(plan(f"{SEED}/{kind}/{number}"))
            assert trial.look() == (load.SOUND, []), f"cut {number}"
    figure(
        f"seed {SEED}: {cuts} power cuts of {kind}, {len(trial.requested)} uploads begun, "
        f"{len(trial.acknowledged)} acknowledged: 0 lost, 0 torn, 0 strange, 0 without their row"
    )


@pytest.mark.parametrize(
    ("durability", "without"),
    [("relaxed", None), ("full", "S_ISREG"), ("full", "S_ISDIR")],
    ids=["relaxed", "no file synced", "no directory synced"],
)
def test_a_missing_sync_is_found_out(
    tmp_path: Path, figure: Callable[[str], None], durability: str, without: str | None
) -> None:
    """The control: the test above can fail, and for each kind of sync it does."""
    environ = None
    if without is not None:
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_SYNC.format(kind=without))
        environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with disks.image(tmp_path, SIZE_BYTES) as disk:
        trial = Trial(disk, tmp_path)
        trial.cut(Cut(f"{SEED}/control", 1, 50, Moment.ANSWERED), durability, environ)
        verdict, without_row = trial.look()
    missing = len({*verdict.lost, *verdict.torn})
    assert missing > 0
    figure(
        f"of {len(trial.acknowledged)} acknowledged, {missing} lost or torn, {len(without_row)} without a row"
    )
