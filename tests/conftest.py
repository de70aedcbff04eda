"""What the tests of every room share, and the gate's law: a run with HMACFS_NO_SKIPS=1 skips nothing."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from typing import TYPE_CHECKING

import hypothesis
import procfs
import pytest
import trapping

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

NO_SKIPS = os.environ.get("HMACFS_NO_SKIPS") == "1"
# Servers live in sbin, which is not on everybody's PATH.
PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

# How long one example takes, to make or to try, says more about the machine's other work than about the code.
# The gate judges a change by the same examples each time; everybody else's runs look for new ones.
hypothesis.settings.register_profile(
    "hmacfs",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
    derandomize=NO_SKIPS,
)
hypothesis.settings.load_profile("hmacfs")


def hear_signals() -> None:
    """Have every child start with the default for each signal that a person sends.

    A shell has what it starts in the background ignore SIGINT, nohup has it ignore SIGHUP, and a child
    inherits what is ignored. What is caught is not inherited (execve(2)); this process goes on to do nothing.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


hear_signals()


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that tells its reason; leave expected failures alone."""
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, where every test must run: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the outcome of each test."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge modules that skip themselves as a whole."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return the path of a real program, or skip the test that needs it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=PROGRAM_PATH)
        if path is None:
            pytest.skip(f"needs the program {name}; as root, `make test` installs it")
        return path

    return find


@pytest.fixture(autouse=True)
def no_closed_descriptor_used() -> Iterator[None]:
    """Fail the test in which a trap was sprung (`trapping`)."""
    before = len(trapping.reported())
    yield
    assert not (found := trapping.reported()[before:]), "\n".join(found)


@pytest.fixture
def no_fd_leak() -> Iterator[None]:
    """Fail the test that leaves a descriptor of this process open."""
    before = procfs.descriptors(os.getpid())
    yield
    gc.collect()
    after = procfs.descriptors(os.getpid())
    leaked = {fd: target for fd, target in after.items() if before.get(fd) != target}
    assert not leaked, f"descriptors left open: {leaked}"
