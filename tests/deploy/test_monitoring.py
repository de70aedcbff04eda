"""What operators watch with: the dashboard shows all that is exported, and no expression names more."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql
import pytest

from hmacfs import errors
from tools import dashboard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "hmacfs.json"
RULES = DEPLOY / "prometheus" / "hmacfs.rules.yml"

EXPRESSION = re.compile(r"^ +expr: (?:>-\n(?P<lines>(?: {10}.+\n)+)|(?P<line>.+)\n)", re.MULTILINE)
HEALTHY = {
    'up{job="hmacfs",instance="a"}': "1x60",
    'hmacfs_disk_free_bytes{job="hmacfs",instance="a"}': "500x60",
    'hmacfs_disk_size_bytes{job="hmacfs",instance="a"}': "1000x60",
    'hmacfs_uploads_total{job="hmacfs",instance="a",dialect="v2"}': "0+100x60",
    'hmacfs_uploads_total{job="hmacfs",instance="a",dialect="v"}': "0x60",
    'hmacfs_upload_errors_total{job="hmacfs",instance="a",code="disk_full"}': "0x60",
    'hmacfs_upload_errors_total{job="hmacfs",instance="a",code="storage_failed"}': "0+1x60",
    'hmacfs_upload_errors_total{job="hmacfs",instance="a",code="token_wrong"}': "0+900x60",
    'hmacfs_worker_deaths_total{job="hmacfs",instance="a"}': "0x30 1x30",
    'hmacfs_commit_seconds_bucket{job="hmacfs",instance="a",le="0.5"}': "0+100x60",
    'hmacfs_commit_seconds_bucket{job="hmacfs",instance="a",le="2.5"}': "0+100x60",
    'hmacfs_commit_seconds_bucket{job="hmacfs",instance="a",le="+Inf"}': "0+100x60",
    'hmacfs_loop_lag_seconds_bucket{job="hmacfs",instance="a",le="0.25"}': "0+240x60",
    'hmacfs_loop_lag_seconds_bucket{job="hmacfs",instance="a",le="0.5"}': "0+240x60",
    'hmacfs_loop_lag_seconds_bucket{job="hmacfs",instance="a",le="+Inf"}': "0+240x60",
    'hmacfs_log_dropped_lines_total{job="hmacfs",instance="a"}': "0x60",
}
# Of a healthy server's hour, a sample a minute: what goes wrong, and who must say so at its end.
TROUBLES = {
    "the server is gone": ({"up{": "1x50 0x10"}, {"HmacfsDown"}),
    "5 % of the disk are free": ({"disk_free": "500x20 50x40"}, {"HmacfsDiskNearlyFull"}),
    "an upload found no space": ({'"disk_full"': "0x55 7x5"}, {"HmacfsDiskFull"}),
    "a tenth of the uploads fail": ({'"storage_failed"': "0+12x60"}, {"HmacfsUploadsFail"}),
    "three workers died": ({"worker_deaths": "0x50 3x10"}, {"HmacfsWorkersDie"}),
    "a tenth of the commits take 2 s": (
        {'commit_seconds_bucket{job="hmacfs",instance="a",le="0.5"}': "0+90x60"},
        {"HmacfsSlowCommits"},
    ),
    "loops are late": (
        {'loop_lag_seconds_bucket{job="hmacfs",instance="a",le="0.25"}': "0+230x60"},
        {"HmacfsLoopLag"},
    ),
    "the log is stuck": ({"log_dropped": "0x50 0+10x10"}, {"HmacfsLogLinesDropped"}),
    "nothing": ({}, set()),
    "nobody uploads": ({"uploads_total": "5x60", "upload_errors": "0x60", "commit_seconds": "9x60"}, set()),
}


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


def shown() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alarms() -> list[str]:
    found = EXPRESSION.finditer(RULES.read_text())
    return [" ".join((match["lines"] or match["line"]).split()) for match in found]


def test_the_committed_dashboard_is_the_generated_one() -> None:
    told = "run: python -m tools.dashboard >deploy/grafana/hmacfs.json"
    assert DASHBOARD.read_text() == dashboard.text(), told


def test_every_exported_metric_is_on_the_dashboard() -> None:
    named = set().union(*(promql.names(expression) for expression in shown()))
    metrics = {promql.SERIES[name].metric.name for name in named}
    assert metrics == {metric.name for metric in promql.EXPORTED}


@pytest.mark.parametrize("expression", sorted({*shown(), *alarms()}))
def test_expressions_name_only_what_is_exported(expression: str) -> None:
    said = expression.replace('instance=~"$instance"', 'instance=~".*"')
    assert promql.faults(said) == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(hmacfs_upload_total[5m])", "no series hmacfs_upload_total"),
        ("hmacfs_heartbeat_milliseconds", "no series hmacfs_heartbeat_milliseconds"),
        ("rate(hmacfs_commit_seconds[5m])", "no series hmacfs_commit_seconds"),
        ("rate(hmacfs_uploads_total_bucket[5m])", "no series hmacfs_uploads_total_bucket"),
        ("sum by (codes) (hmacfs_requests_total)", "no label codes to group by"),
        ("sum by (le) (hmacfs_commit_seconds_count)", "no label le to group by"),
        ('hmacfs_uploads_total{code="ok"}', "hmacfs_uploads_total has no label code"),
        ('hmacfs_requests_total{code=~"ok|fine"}', "hmacfs_requests_total has no code fine"),
    ],
)
def test_what_is_not_exported_is_found(expression: str, fault: str) -> None:
    assert promql.faults(expression) == [fault]


def test_panels_neither_overlap_nor_leave_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def test_the_dashboard_asks_for_its_source() -> None:
    made = json.loads(DASHBOARD.read_text())
    assert promql.faults(made["templating"]["list"][1]["query"]["query"]) == []
    assert [variable["type"] for variable in made["templating"]["list"]] == ["datasource", "query"]
    assert "id" not in made  # Grafana gives one when it imports
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    numbers = [panel["id"] for panel in made["panels"]]
    assert len(numbers) == len(set(numbers))


def test_every_alert_tells_how_bad_it_is_and_where_to_look() -> None:
    alerts = re.split(r"^ +- alert: ", RULES.read_text(), flags=re.MULTILINE)[1:]
    assert len(alerts) == len(alarms())
    for alert in alerts:
        assert re.search(r"^ +for: \d+m$", alert, re.MULTILINE), alert
        assert re.search(r"^ +labels: \{severity: (?:critical|warning)\}$", alert, re.MULTILINE), alert
        assert "summary: " in alert
        assert "description: " in alert


def test_the_servers_own_failures_are_those_of_the_catalogue() -> None:
    (asked,) = set(re.findall(r'code=~"([^"]+)"', RULES.read_text()))
    own = {refusal.code for refusal in errors.CATALOGUE if refusal.status in {500, 503, 507}}
    # A restart is meant, and whoever is refused at the door has not begun an upload.
    assert set(asked.split("|")) == own - {"draining", "too_many_connections"}


def test_promtool_accepts_the_rules(program: Callable[[str], str]) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("trouble", TROUBLES)
def test_alerts_fire_when_they_should(trouble: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    changes, fires = TROUBLES[trouble]
    series = dict(HEALTHY)
    for part, values in changes.items():
        touched = [name for name in series if part in name]
        assert touched, part
        series |= dict.fromkeys(touched, values)
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(fires)]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "59m",
                "exp_samples": expected,
            }
        ],
    }
    # JSON is YAML.
    (tmp_path / "test.yml").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(tmp_path / "test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
