"""A real Prometheus scrapes a real hmacfs, and answers every expression of the dashboard and the rules."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loopback
import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "hmacfs.rules.yml"
LIMIT_S = 60.0
STEP_S = 0.1
CONFIG = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(RULES)]}


class Prometheus:
    """A running Prometheus and its HTTP API."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self._address = address
        self._process = process

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        """Return the `data` of an answer, which must be a success."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=LIMIT_S) as reply:
            answer: dict[str, Any] = json.load(reply)
        assert answer["status"] == "success", answer
        found: dict[str, Any] = answer["data"]
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of the expression as soon as there is one."""
        for _ in range(int(LIMIT_S / STEP_S)):
            try:
                result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
            except urllib.error.HTTPError as error:  # 503 until its storage is open
                assert error.code == 503, error.read()  # noqa: PT017 - what it says belongs to the failure
                result = []
            if result:
                return result
            try:
                self._process.wait(STEP_S)  # also the pause between two tries
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError("Prometheus ended")
        raise AssertionError(f"nothing answers {expression}")


@pytest.fixture(scope="module")
def scraped(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]
) -> Iterator[tuple[serving.Server, Prometheus]]:
    """Run both, with one upload and one download already counted."""
    where = tmp_path_factory.mktemp("scraped")
    with serving.running(where) as server:
        rel = serving.fresh()
        assert server.put(rel, b"x" * 300_000).status == 201
        assert server.get(rel).status == 200
        targets = [{"targets": [server.operators]}]
        config = CONFIG | {"scrape_configs": [{"job_name": "hmacfs", "static_configs": targets}]}
        (where / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        address = loopback.free_address()
        command = [
            program("prometheus"),
            f"--config.file={where / 'prometheus.yml'}",
            f"--storage.tsdb.path={where / 'tsdb'}",
            f"--web.listen-address={address}",
        ]
        with loopback.served(command, address, where / "prometheus.log") as process:
            yield server, Prometheus(address, process)


def test_the_server_is_up_and_its_requests_are_there(scraped: tuple[serving.Server, Prometheus]) -> None:
    _, prometheus = scraped
    prometheus.wait_for('up{job="hmacfs"} == 1')
    (put,) = prometheus.wait_for('hmacfs_requests_total{method="PUT",code="created"}')
    assert put["value"][1] == "1"


def test_throughput_comes_in_buckets(scraped: tuple[serving.Server, Prometheus]) -> None:
    _, prometheus = scraped
    for way in ("upload", "download"):
        name = f"hmacfs_{way}_throughput_bytes_per_second"
        (rate,) = prometheus.wait_for(f"histogram_quantile(0.5, sum by (le) ({name}_bucket))")
        assert 16 * 1024 <= float(rate["value"][1]) <= 4 * 1024**3


def test_every_expression_of_the_dashboard_is_understood(scraped: tuple[serving.Server, Prometheus]) -> None:
    _, prometheus = scraped
    prometheus.wait_for('up{job="hmacfs"} == 1')
    panels = json.loads((DEPLOY / "grafana" / "hmacfs.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert expressions
    for expression in expressions:
        said = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
        prometheus.ask("query", query=said)


def test_the_rules_are_loaded_and_nothing_is_wrong(scraped: tuple[serving.Server, Prometheus]) -> None:
    _, prometheus = scraped
    prometheus.wait_for('up{job="hmacfs"} == 1')
    (group,) = prometheus.ask("rules")["groups"]
    named = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert [rule["name"] for rule in group["rules"]] == named
    assert not [rule for rule in group["rules"] if rule.get("lastError")]


def test_promtool_finds_nothing_to_say_of_a_scrape(
    scraped: tuple[serving.Server, Prometheus], program: Callable[[str], str]
) -> None:
    server, _ = scraped
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=server.operate("/metrics")[1],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
