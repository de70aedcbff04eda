"""What clients and tracers print, made samples and counts. Pure.

Raises ValueError for what it cannot read.
"""

from __future__ import annotations

import json
import re
from typing import Final

from benches.figures import Sample, percentile

_H2LOAD_TIME: Final = re.compile(r"finished in ([0-9.]+)(us|ms|s|m)\b")
_H2LOAD_COUNTS: Final = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_H2LOAD_BYTES: Final = re.compile(r"traffic: .*?\((\d+)\) total")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def wrk(output: str) -> Sample:
    """Read what clients/report.lua adds to wrk's own words."""
    last = output.rstrip().rpartition("\n")[2]
    counted = json.loads(last)
    return Sample(
        requests=counted["requests"],
        bytes=counted["bytes"],
        seconds=counted["duration_us"] / 1e6,
        p50_s=counted["p50_us"] / 1e6,
        p99_s=counted["p99_us"] / 1e6,
        errors=counted["errors"],
    )


def h2load(output: str, log: str) -> Sample:
    """Read h2load's report, and its --log-file for what the report lacks: each request's time.

    What was under way when the time was up is no error: h2load counts it among the started only.
    """
    time, counts = _H2LOAD_TIME.search(output), _H2LOAD_COUNTS.search(output)
    traffic = _H2LOAD_BYTES.search(output)
    if time is None or counts is None or traffic is None:
        raise ValueError(f"not a report of h2load: {output!r}")
    lines = [line.split("\t") for line in log.splitlines()]
    times_s = sorted(int(taken_us) / 1e6 for _, _, taken_us in lines)
    if not times_s:
        raise ValueError(f"h2load has made no request: {output!r}")
    refused = sum(not 200 <= int(status) < 400 for _, status, _ in lines)
    done, _, failed, errored, timeout = (int(count) for count in counts.groups())
    return Sample(
        requests=done,
        bytes=int(traffic[1]),
        seconds=float(time[1]) * _SECONDS[time[2]],
        p50_s=percentile(times_s, 0.5),
        p99_s=percentile(times_s, 0.99),
        errors=max(refused, failed, errored, timeout),
    )


def streams(output: str) -> Sample:
    """Read the report of clients/streams.py."""
    counted = json.loads(output)
    times_s = sorted(counted["times_s"])
    return Sample(
        requests=len(times_s),
        bytes=counted["bytes"],
        seconds=counted["seconds"],
        p50_s=percentile(times_s, 0.5),
        p99_s=percentile(times_s, 0.99),
        errors=0,  # the first one ends that client
    )


def strace(summary: str) -> dict[str, int]:
    """Read the table of `strace -c`: how often each system call was made."""
    calls = {}
    for line in summary.splitlines():
        words = line.split()
        # % time, seconds, usecs/call, calls, [errors,] name
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    if not calls:
        raise ValueError(f"not a summary of strace: {summary!r}")
    return calls


def callgrind(dump: str) -> int:
    """Read how many instructions a dump of callgrind covers."""
    found = re.search(r"^(?:summary|totals): (\d+)", dump, re.MULTILINE)
    if found is None:
        raise ValueError("a dump of callgrind without its sum")
    return int(found[1])
