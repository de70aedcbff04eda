from __future__ import annotations

import pytest

from benches import readings
from benches.figures import Sample

WRK = """Running 1s test @ http://127.0.0.1:8080/upload/get/1k.bin
  1 threads and 32 connections
Requests/sec:  38001.14
Transfer/sec:     46.32MB

{"requests": 38038, "bytes": 48612564, "duration_us": 1000970, "p50_us": 634.0, "p99_us": 5595.0, "errors": 2}
"""
H2LOAD = """starting benchmark...
Application protocol: http/1.1

finished in 1.50s, 2.00 req/s, 5.27KB/s
requests: 5 total, 5 started, 3 done, 3 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5.27KB (5400) total, 2.32KB (2376) headers (space savings 0.00%), 3.00KB (3072) data
                     min         max         mean         sd        +/- sd
"""
H2LOAD_LOG = "1700000000000000\t200\t900\n1700000000000001\t{status}\t100\n1700000000000002\t200\t300\n"
STRACE = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.50    0.121000           2     50000           sendto
 39.50    0.079000           1     50012         3 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.200000           1    100012         3 total
"""


def test_wrk() -> None:
    assert readings.wrk(WRK) == Sample(
        requests=38038, bytes=48612564, seconds=1.00097, p50_s=0.000634, p99_s=0.005595, errors=2
    )


def test_h2load() -> None:
    sample = readings.h2load(H2LOAD.format(failed=0), H2LOAD_LOG.format(status=304))
    assert sample == Sample(requests=3, bytes=5400, seconds=1.5, p50_s=0.0003, p99_s=0.0009, errors=0)


@pytest.mark.parametrize(("failed", "status"), [(1, 200), (0, 404), (0, -1)])
def test_h2load_tells_failures(failed: int, status: int) -> None:
    assert readings.h2load(H2LOAD.format(failed=failed), H2LOAD_LOG.format(status=status)).errors == 1


def test_our_own_client() -> None:
    sample = readings.streams('{"bytes": 300, "seconds": 0.5, "times_s": [0.3, 0.1, 0.2]}')
    assert sample == Sample(requests=3, bytes=300, seconds=0.5, p50_s=0.2, p99_s=0.3)


def test_strace() -> None:
    assert readings.strace(STRACE) == {"sendto": 50000, "recvfrom": 50012}


def test_callgrind() -> None:
    assert readings.callgrind("events: Ir\nfn=(1) main\n16 400\n\ntotals: 123456\n") == 123456


@pytest.mark.parametrize("read", [readings.wrk, readings.strace, readings.callgrind])
def test_what_is_no_report_is_refused(read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=r"."):
        read("unable to connect to 127.0.0.1:8080 Connection refused\n")


def test_h2load_without_a_connection_is_refused() -> None:
    with pytest.raises(ValueError, match="no request"):
        readings.h2load(H2LOAD.format(failed=5), "")
