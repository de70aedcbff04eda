"""The committed results as Markdown: all for benches/results/, the bars for docs/, six figures for README.

python -m benches.report
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from benches import contenders, figures, host, works

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benches" / "results"
PAGE: Final = ROOT / "docs" / "performance.md"
README: Final = ROOT / "README.md"
# What people ask for first, each beside nginx.
ASKED_FOR: Final = ("get_1k", "get_64k", "get_100m", "put_64k", "put_100m", "mixed")
BEGIN: Final = "<!-- made by `python -m benches.report` -->\n"
END: Final = "<!-- end -->"

Record = dict[str, Any]


def load(results: Path) -> list[Record]:
    """Return the records of all works that have run, in the order of `works`."""
    found = {name: results / f"{name}.json" for name in works.WORKS}
    return [json.loads(path.read_text()) for path in found.values() if path.exists()]


def bars(records: list[Record]) -> str:
    """Return the table of all bars."""
    lines = ["| work | against | bar | measured |", "|---|---|---|---|"]
    for record in records:
        for bar in record["bars"]:
            against = contenders.CONTENDERS[bar["rival"]].title
            lines.append(f"| {_title(record, bar)} | {against} | {_limit(bar)} | {_measured(bar)} |")
    return "\n".join(lines) + "\n"


def six(records: list[Record]) -> str:
    """Return the table of what README shows: the first bar beside nginx of each of these works."""
    found = {record["work"]: record for record in records}
    lines = ["| work | bar | measured |", "|---|---|---|"]
    for record in (found[name] for name in ASKED_FOR if name in found):
        bar = next(bar for bar in record["bars"] if bar["rival"] == "nginx")
        lines.append(f"| {_title(record, bar)} | {_limit(bar)} | {_measured(bar)} |")
    return "\n".join(lines) + "\n"


def _title(record: Record, bar: Record) -> str:
    return f"{record['title']}, relaxed" if bar["ours"] == "hmacfs_relaxed" else str(record["title"])


def _limit(bar: Record) -> str:
    return f"{'≥' if bar['at_least'] else '≤'} {bar['limit']:.2f}"


def _measured(bar: Record) -> str:
    text = f"{bar['ratio']['median']:.2f} ± {bar['ratio']['spread']:.0%}"
    return f"**{text}**" if bar["holds"] else f"{text} (missed)"


def measured_on(records: list[Record]) -> str:
    """Return a paragraph for each run: host, kernel, versions, command; its works if there are several."""
    if not records:
        return "Nothing has been measured yet.\n"
    runs: dict[str, list[str]] = {}
    for record in records:
        described = record["host"]
        versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
        line = f"{host.caption(described)}; {described['system']}; {versions}."
        runs.setdefault(line, []).append(record["work"])
    if len(runs) == 1:
        return f"{next(iter(runs))}\n"
    return "\n".join(f"{', '.join(named)}: {line}\n" for line, named in runs.items())


def work(record: Record) -> str:
    """Return one work: its table and its chart."""
    shown = ("bytes_per_s", "requests_per_s", "p50_s", "p99_s", "server_busy", "client_busy")
    summaries = {name: found["summary"] for name, found in record["contenders"].items()}
    columns = [name for name in shown if all(name in summary for summary in summaries.values())]
    titles = [figures.FIGURES[name].title for name in (record["figure"], *columns)]
    lines = [
        f"## {record['title']}",
        "",
        f"| | {' | '.join(titles)} | system calls/request |",
        "|---|" + "---|" * (len(titles) + 1),
    ]
    for name, summary in summaries.items():
        main = summary[record["figure"]]
        cells = [f"{figures.write(record['figure'], main['median'])} ± {main['spread']:.0%}"]
        cells += [figures.write(column, summary[column]["median"]) for column in columns]
        calls = record["contenders"][name]["system_calls_per_request"]
        cells.append(f"{sum(calls.values()):.1f}" if calls else "")
        lines.append(f"| {contenders.CONTENDERS[name].title} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"![{record['title']}]({record['work']}.svg)", ""])


def whole(records: list[Record]) -> str:
    """Return the page of all works."""
    parts = ["# Results", "", measured_on(records), bars(records), *(work(record) for record in records)]
    return "\n".join(parts)


def inserted(text: str, part: str) -> str:
    """Return `text` with `part` between the two marks. Raises ValueError if they are not there."""
    start = text.index(BEGIN) + len(BEGIN)
    return text[:start] + part + text[text.index(END, start) :]


def section(records: list[Record]) -> str:
    """Return what stands between the marks of docs/performance.md."""
    return f"{bars(records)}\n{measured_on(records)}"


def main() -> None:
    """Write all three."""
    records = load(RESULTS)
    (RESULTS / "README.md").write_text(whole(records))
    for page, part in ((PAGE, section(records)), (README, six(records))):
        page.write_text(inserted(page.read_text(), part))


if __name__ == "__main__":
    main()
