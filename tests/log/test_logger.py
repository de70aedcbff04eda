"""Lines: both formats parse back, whatever is logged; the stream may be slow, full or gone."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hmacfs
from hmacfs.log import EVENTS, REQUEST_FIELDS, Log, clean, logger, open_log
from hmacfs.model import FinishedRequest, Secret
from tools import logs_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000.5
STYLES = pytest.mark.parametrize("style", ["logfmt", "json"])
PAIR = re.compile(r'([A-Za-z0-9_]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |\Z)')
REQUEST: dict[str, Any] = {
    "request_id": "r1",
    "client": "192.0.2.1",
    "method": "PUT",
    "target": b"/upload/u/a?v=secret",
    "status": 201,
    "code": "created",
    "received": 5,
    "sent": 0,
    "elapsed_s": 0.0125,
}


class Stream:
    """A pipe that this test reads."""

    def __init__(self, style: str = "logfmt", level: str = "debug") -> None:
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.log = Log(writer, level=level, style=style, clock=lambda: NOW)
        os.close(writer)

    def take(self) -> bytes:
        pieces = []
        try:
            while piece := os.read(self.reader, 65536):
                pieces.append(piece)
        except BlockingIOError:
            pass
        return b"".join(pieces)

    def lines(self) -> list[str]:
        self.log.flush()
        text = self.take().decode("ascii")
        assert not text or text.endswith("\n")
        return text.splitlines()

    def close(self) -> None:
        self.log.close()
        os.close(self.reader)


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    yield made
    made.close()


def parse(style: str, line: str) -> dict[str, object]:
    """Read a line back; numbers of logfmt are left as text."""
    assert line.isascii()
    assert line.isprintable()
    if style == "json":
        found = json.loads(line)
        assert isinstance(found, dict)
        return found
    pairs: dict[str, object] = {}
    at = 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match is not None, line[at:]
        assert match[1] not in pairs
        pairs[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
        at = match.end()
    return pairs


def written(style: str, **fields: object) -> list[str]:
    made = Stream(style)
    made.log.event("info", "sweep-done", **fields)
    lines = made.lines()
    made.close()
    return lines


@STYLES
@given(
    fields=st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.text(st.characters())
        | st.binary()
        | st.integers(-(2**63), 2**63)
        | st.booleans()
        | st.none()
        | st.floats(),
    )
)
def test_every_event_parses_back(style: str, fields: dict[str, object]) -> None:
    (line,) = written(style, **fields)
    found = parse(style, line)
    for key, value in fields.items():
        shown = found.get(f"{key}_" if key in {"ts", "level", "event"} else key)
        if value is None:
            assert shown is None
        elif isinstance(value, str | bytes):
            assert shown == clean(value)
        elif value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - a number that is none
            assert shown == str(value)
        elif style == "json":
            assert shown == value
        else:
            assert shown == str(value).lower() if isinstance(value, bool) else repr(value)


WORD = st.text(st.characters(), max_size=30) | st.sampled_from(["GET", "ok", "192.0.2.1", ""])


@STYLES
@given(target=st.binary(max_size=700), words=st.tuples(*[WORD] * 7), status=st.integers(100, 599))
def test_every_request_parses_back(style: str, target: bytes, words: tuple[str, ...], status: int) -> None:
    made = Stream(style)
    names = ("request_id", "client", "method", "code", "dialect", "broken", "detail")
    named: dict[str, Any] = dict(zip(names, words, strict=True))
    made.log.request(
        FinishedRequest(**named, target=target, status=status, received=1, sent=2, elapsed_s=0.5)
    )
    (line,) = made.lines()
    made.close()
    found = parse(style, line)
    assert [key for key in found if key in REQUEST_FIELDS] == [key for key in REQUEST_FIELDS if key in found]
    assert set(found) <= {"ts", "level", "event", *REQUEST_FIELDS}
    assert found.get("target", "") == clean(target)
    for name, word in zip(names, words, strict=True):
        assert found.get(name, "") == clean(word)
    assert (str(found["status"]), str(found["in"]), str(found["out"])) == (str(status), "1", "2")
    assert float(str(found["ms"])) == 500


def test_a_request_line_in_full(stream: Stream) -> None:
    stream.log.request(FinishedRequest(**REQUEST, dialect="v", broken="client gone"))
    want = (
        "ts=2023-11-14T22:13:20.500Z level=info event=request request_id=r1 client=192.0.2.1 method=PUT "
        'target="/upload/u/a?v=-redacted-" status=201 code=created in=5 out=0 ms=12.500 dialect=v '
        'broken="client gone"'
    )
    assert stream.lines() == [want]


@STYLES
def test_secrets_do_not_show(style: str) -> None:
    secret = Secret(b"0123456789" * 4)
    (line,) = written(style, key=secret, keys=[secret], error=ValueError(secret))
    assert "0123" not in line
    assert parse(style, line)["key"] == "-redacted-"


@pytest.mark.parametrize(
    ("level", "want"),
    [("debug", 5), ("info", 4), ("warn", 3), ("error", 1)],
)
def test_levels(level: str, want: int) -> None:
    made = Stream(level=level)
    for name in ("debug", "info", "warn", "error"):
        made.log.event(name, "sweep-done")
    made.log.request(FinishedRequest(**{**REQUEST, "status": 507}))
    assert len(made.lines()) == want
    made.close()


def test_warnings_are_written_at_once_and_the_rest_is_held(stream: Stream) -> None:
    stream.log.event("info", "sweep-done")
    assert stream.take() == b""
    stream.log.event("warn", "space-low")
    assert stream.take().count(b"\n") == 2


def test_many_lines_are_not_held_until_the_tick(stream: Stream) -> None:
    for _ in range(1 + logger.FLUSH_BYTES // 100):
        stream.log.request(FinishedRequest(**REQUEST))
    assert stream.take().count(b"\n") > 100


def test_a_reader_that_sleeps_costs_lines_not_time(stream: Stream) -> None:
    total = 20_000
    for number in range(total):
        stream.log.event("info", "sweep-done", number=number, filler="x" * 100)
    stream.log.flush()
    assert stream.log.dropped > 0
    lines: list[str] = []
    while more := stream.lines():
        lines += more
    found = [parse("logfmt", line) for line in lines]
    numbers = [int(str(one["number"])) for one in found if one["event"] == "sweep-done"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + stream.log.dropped == total
    told = [int(str(one["lines"])) for one in found if one["event"] == "log-dropped"]
    assert sum(told) == stream.log.dropped


def test_a_reader_that_is_gone_costs_lines_only() -> None:
    made = Stream()
    os.close(made.reader)
    made.log.event("error", "storage-error")
    made.log.event("error", "storage-error")
    assert made.log.dropped >= 2
    made.log.close()


def test_a_socket_that_is_full_does_not_block() -> None:
    ours, theirs = socket.socketpair()
    log = Log(theirs.fileno(), clock=lambda: NOW)
    theirs.close()
    for number in range(30_000):
        log.event("info", "sweep-done", number=number, filler="x" * 100)
    log.flush()
    assert log.dropped > 0
    ours.setblocking(False)
    text = b""
    while True:
        try:
            text += ours.recv(1 << 20)
        except BlockingIOError:
            held = len(text)
            log.flush()
            try:
                text += ours.recv(1 << 20)
            except BlockingIOError:
                break
            assert len(text) > held
    for line in text.decode().splitlines():
        parse("logfmt", line)
    log.close()
    ours.close()


def test_workers_lines_do_not_mix_in_one_pipe(stream: Stream) -> None:
    path = f"/proc/self/fd/{stream.reader}"
    writer = os.open(path, os.O_WRONLY)
    other = Log(writer, clock=lambda: NOW)
    os.close(writer)
    for _ in range(150):
        for log in (stream.log, other):
            log.event("info", "sweep-done", filler="x" * 300)
    for log in (stream.log, other):
        log.flush()
    for line in stream.lines():
        parse("logfmt", line)
    other.close()


def options(path: Path, level: str = "info", form: str = "logfmt") -> SimpleNamespace:
    return SimpleNamespace(level=level, file=str(path), format=form)


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(options(path))
    log.event("info", "serve-ready")
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.event("info", "serve-stopping")
    log.close()
    assert "event=serve-ready" in (tmp_path / "log.1").read_text()
    assert "event=serve-stopping" in path.read_text()
    assert path.stat().st_mode & 0o7 == 0


def test_a_file_that_cannot_be_opened_anew_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = open_log(options(path))
    log.reconfigure(options(tmp_path / "none" / "log", form="json"))
    log.event("info", "serve-ready")
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["log-failed", "serve-ready"]


def test_a_new_configuration_changes_level_and_file(tmp_path: Path) -> None:
    log = open_log(options(tmp_path / "one"))
    log.reconfigure(options(tmp_path / "two", level="warn"))
    log.event("info", "serve-ready")
    log.event("warn", "space-low")
    log.close()
    assert not (tmp_path / "one").read_text()
    assert (tmp_path / "two").read_text().count("\n") == 1


def test_a_disk_that_is_full_costs_lines_only() -> None:
    log = Log(path="/dev/full", clock=lambda: NOW)
    log.event("error", "storage-error")
    assert log.dropped == 1
    log.close()


def test_a_first_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_log(options(tmp_path / "none" / "log"))


def test_the_committed_reference_is_the_generated_one() -> None:
    committed = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
    assert committed == logs_reference.text(), "run: python -m tools.logs_reference >docs/logs.md"


def test_every_event_that_the_source_logs_is_in_the_table() -> None:
    unknown = []
    for path in Path(hmacfs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="event"), args=[ast.Constant(), ast.Constant(value=str(name)), *_]
                ):
                    unknown += [(path.name, name)] if name not in EVENTS else []
    assert not unknown
