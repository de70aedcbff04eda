"""What a finished transfer adds to the histograms of throughput, and which one adds nothing."""

from __future__ import annotations

from typing import Any

import pytest

from hmacfs import metrics
from hmacfs.metrics import tally
from hmacfs.model import FinishedRequest, KiB, MiB

UPLOAD = "hmacfs_upload_throughput_bytes_per_second"
DOWNLOAD = "hmacfs_download_throughput_bytes_per_second"


def counted(**facts: object) -> dict[str, float]:
    """Tally one transfer of 2 s; give the samples of both histograms that are not 0."""
    buffer = memoryview(bytearray(metrics.memory_bytes(1)))
    told: dict[str, Any] = {
        "request_id": "1",
        "client": "a",
        "target": b"/a",
        "method": "GET",
        "status": 200,
        "code": "ok",
        "dialect": "",
        "received": 400,
        "stored": 0,
        "sent": 0,
        "elapsed_s": 2.0,
        "broken": "",
    }
    tally.request(metrics.CounterRow(buffer, 0), FinishedRequest(**(told | facts)))
    lines = metrics.render(metrics.Collector(buffer, 1)).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith((UPLOAD, DOWNLOAD))]
    return {name: float(value) for name, value in pairs if float(value)}


def test_an_upload_is_rated_by_what_was_stored() -> None:
    got = counted(method="PUT", status=201, code="created", dialect="v2", stored=2 * MiB, received=3 * MiB)
    assert got[f"{UPLOAD}_sum"] == MiB
    assert f'{UPLOAD}_bucket{{le="262144.0"}}' not in got
    assert got[f'{UPLOAD}_bucket{{le="1.048576e+06"}}'] == 1  # bounds are inclusive
    assert f"{DOWNLOAD}_count" not in got


def test_a_download_is_rated_by_what_was_sent() -> None:
    got = counted(status=206, code="partial", sent=8 * MiB)
    assert got[f"{DOWNLOAD}_sum"] == 4 * MiB
    assert got[f'{DOWNLOAD}_bucket{{le="4.194304e+06"}}'] == 1
    assert f"{UPLOAD}_count" not in got


def test_the_smallest_rated_transfer() -> None:
    assert counted(sent=256 * KiB)[f"{DOWNLOAD}_count"] == 1
    assert counted(sent=256 * KiB - 1) == {}
    put = {"method": "POST", "status": 200, "dialect": "v3"}
    assert counted(stored=256 * KiB, **put)[f"{UPLOAD}_count"] == 1
    assert counted(stored=256 * KiB - 1, **put) == {}


@pytest.mark.parametrize(
    "facts",
    [
        {"sent": MiB, "broken": "client_gone"},
        {"sent": MiB, "status": 404, "code": "not_found"},
        {"sent": MiB, "elapsed_s": 0.0},  # a coarse clock
        {"method": "PUT", "status": 507, "code": "disk_full", "stored": MiB},
        {"method": "OPTIONS", "status": 204, "code": "no_content", "sent": MiB},
    ],
)
def test_what_did_not_arrive_or_took_no_time_has_no_rate(facts: dict[str, object]) -> None:
    assert counted(**facts) == {}
