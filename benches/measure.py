"""What a server's processes use: CPU time, memory and system calls, the whole tree of them."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benches import readings

if TYPE_CHECKING:
    from collections.abc import Iterator

QUIET_S: Final = 0.05
PATIENCE_S: Final = 30.0


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [pid, *(descendant for child in children for descendant in tree(child))]


def cpu_s(pids: list[int]) -> float:
    """Return the CPU time that processes have used, all their threads, ended ones included.

    clock_getcpuclockid(3) counts nanoseconds where /proc/PID/stat counts ticks of 10 ms; the number of a
    process's clock is as include/linux/posix-timers.h has it. What the kernel does for a process later, in
    threads of its own (writing pages back), is in neither.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids) / 1e9


def settle(pids: list[int]) -> None:
    """Wait until the processes have done what a load left them to do."""
    deadline = time.monotonic() + PATIENCE_S
    before = cpu_s(pids)
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        now = cpu_s(pids)
        if now - before < QUIET_S / 20:
            return
        before = now
    raise TimeoutError(f"processes {pids} do not come to rest")


def memory_bytes(pids: list[int]) -> int:
    """Return the memory of processes, shared pages by their share (Pss); sockets' buffers are not in it."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(
        int(kib) * 1024 for text in texts for kib in re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    )


@contextmanager
def system_calls(pids: list[int], calls: dict[str, int], log: Path) -> Iterator[None]:
    """Count the system calls that processes make meanwhile; slows them, so measure nothing else."""
    attach = [word for pid in pids for word in ("-p", str(pid))]
    tracer = subprocess.Popen(
        ["strace", "-f", "-c", "-o", str(log), *attach], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    attached = 0
    for line in tracer.stderr:
        attached += "attached" in line
        if "attach:" in line:
            raise RuntimeError(f"strace cannot attach: {line.strip()}")
        if attached == len(pids):
            break
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=PATIENCE_S)
    calls.update(readings.strace(log.read_text()))
