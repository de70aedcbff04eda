"""Run the micro benches: each is a line with mean and deviation; other options are pyperf's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyperf

from benches.micro.cases import CASES

if TYPE_CHECKING:
    import argparse


def pass_on(command: list[str], given: argparse.Namespace) -> None:
    """Tell pyperf's worker processes what ours was told."""
    command += ["--only", given.only]


def main() -> None:
    """Measure the cases whose names begin with one of those asked for."""
    runner = pyperf.Runner(program_args=("-m", "benches.micro"), add_cmdline_args=pass_on)
    runner.argparser.add_argument("--only", default="", help="starts of names, with commas: head,token_v2")
    wanted = tuple(runner.parse_args().only.split(","))
    for name, case in CASES.items():
        if name.startswith(wanted):
            runner.bench_func(name, case)


if __name__ == "__main__":
    main()
