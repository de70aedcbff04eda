"""Workers follow the quota of the control groups: texts as kernels and containers have them."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.supervisor import cores

V2: Final = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1: Final = (
    "33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
V1_OF_A_CONTAINER: Final = (
    "900 890 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
)
CPU_V1: Final = "/sys/fs/cgroup/cpu,cpuacct"

TABLE = [
    # cores of the affinity, /proc/self/cgroup, mountinfo, files, cores to use
    (8, "0::/\n", V2, {}, 8),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    (2, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "900000 100000\n"}, 2),
    (8, "0::/a/b\n", V2, {"/sys/fs/cgroup/a/b/cpu.max": "300000 100000"}, 3),
    # of nested groups the tightest counts
    (
        8,
        "0::/a/b\n",
        V2,
        {"/sys/fs/cgroup/a/b/cpu.max": "max 100000", "/sys/fs/cgroup/a/cpu.max": "100000 100000"},
        1,
    ),
    # a namespace that hides the groups above
    (8, "0::/../other\n", V2, {"/sys/fs/cgroup/cpu.max": "100000 100000"}, 1),
    (8, "4:cpu,cpuacct:/\n", V1, {}, 8),
    (
        8,
        "5:memory:/x\n4:cpu,cpuacct:/x\n",
        V1,
        {f"{CPU_V1}/x/cpu.cfs_quota_us": "250000\n", f"{CPU_V1}/x/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    (
        8,
        "4:cpu,cpuacct:/x\n",
        V1,
        {f"{CPU_V1}/x/cpu.cfs_quota_us": "-1\n", f"{CPU_V1}/x/cpu.cfs_period_us": "100000\n"},
        8,
    ),
    # the container's group is the root of what it sees
    (
        8,
        "4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n",
        V1_OF_A_CONTAINER,
        {f"{CPU_V1}/cpu.cfs_quota_us": "50000", f"{CPU_V1}/cpu.cfs_period_us": "100000"},
        1,
    ),
    # a quota of another controller, and of a group that is not ours
    (8, "5:memory:/x\n", V1, {f"{CPU_V1}/x/cpu.cfs_quota_us": "1", f"{CPU_V1}/x/cpu.cfs_period_us": "1"}, 8),
    (8, "0::/ab\n", V2, {"/sys/fs/cgroup/a/cpu.max": "100000 100000"}, 8),
    # nothing to be read, or nonsense
    (8, "", "", {}, 8),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": ""}, 8),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "0 0"}, 8),
    (8, "0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "100000"}, 8),
    (8, "nonsense", "x - cgroup2", {}, 8),
]


@pytest.mark.parametrize(("affinity", "groups", "mounts", "files", "want"), TABLE)
def test_cores(affinity: int, groups: str, mounts: str, files: dict[str, str], want: int) -> None:
    assert cores.count(affinity, groups, mounts, files.get) == want


@given(st.integers(1, 512), st.text(), st.text(), st.text())
def test_whatever_the_files_say_there_is_a_core(affinity: int, groups: str, mounts: str, said: str) -> None:
    assert 1 <= cores.count(affinity, groups, mounts + V2, lambda _: said) <= affinity


def test_of_this_machine() -> None:
    assert cores.usable() >= 1
