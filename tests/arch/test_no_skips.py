"""The gate's laws themselves, alone and in parallel: under HMACFS_NO_SKIPS=1 every way to skip a test fails.

And hypothesis tries the same examples each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"
SKIPS = {
    "call": "import pytest\ndef test_it() -> None:\n    pytest.skip('no peer')\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no peer')\ndef test_it() -> None: ...\n",
    "fixture": "def test_it(program) -> None:\n    program('no-such-peer')\n",
    "module": "import pytest\npytest.skip('no peer', allow_module_level=True)\n",
    "import": "import pytest\npytest.importorskip('no_such_peer')\n",
}


EXAMPLES = """
import hypothesis
def test_it() -> None:
    assert hypothesis.settings().derandomize is {wanted}
"""


@pytest.fixture(params=["0", "2"], ids=["alone", "parallel"])
def processes(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run_pytest(
    folder: Path, source: str, *, no_skips: str, processes: str
) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_sample.py").write_text(source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-n", processes, str(folder)],
        cwd=folder,
        env=os.environ | {"HMACFS_NO_SKIPS": no_skips, "PYTHONPATH": str(CONFTEST.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("way", SKIPS)
def test_every_way_to_skip_fails_the_gate(way: str, processes: str, tmp_path: Path) -> None:
    run = run_pytest(tmp_path, SKIPS[way], no_skips="1", processes=processes)
    assert run.returncode != 0, run.stdout
    assert "skipped, where every test must run" in run.stdout


def test_without_the_gate_a_skip_is_named_and_forgiven(processes: str, tmp_path: Path) -> None:
    run = run_pytest(tmp_path, SKIPS["fixture"], no_skips="", processes=processes)
    assert run.returncode == 0, run.stdout
    assert "needs the program no-such-peer" in run.stdout


def test_an_expected_failure_is_no_skip(processes: str, tmp_path: Path) -> None:
    source = (
        "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it() -> None:\n    raise AssertionError\n"
    )
    run = run_pytest(tmp_path, source, no_skips="1", processes=processes)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(("no_skips", "wanted"), [("1", True), ("", False)])
def test_the_gate_tries_the_same_examples_each_time(
    no_skips: str,
    wanted: bool,  # noqa: FBT001 - a row
    processes: str,
    tmp_path: Path,
) -> None:
    run = run_pytest(tmp_path, EXAMPLES.format(wanted=wanted), no_skips=no_skips, processes=processes)
    assert run.returncode == 0, run.stdout
