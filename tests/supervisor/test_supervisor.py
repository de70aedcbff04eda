"""The parent process, driven by hand: sockets, log and operators are real, workers and time are not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from manual_loop import ManualLoop
from process_state import restored
from supervisor.processes import Processes, loaded

from hmacfs import config, metrics, store, supervisor, systemd, worker
from hmacfs.listeners import ListenError
from hmacfs.metrics import catalogue
from hmacfs.model import Dependency
from hmacfs.supervisor import StartError
from hmacfs.supervisor.supervisor import GRACE_S, HEARD, TICK_S, Supervisor
from hmacfs.worker import REOPEN, Barred, Drain, Ready, Reload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., "Service"]

SHUTDOWN_S = 20.0
STUCK_S = 60.0


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    with restored():
        yield


def configuration(where: Path, *, rest: str = "", **options: Any) -> Any:
    text = f'file = "{where}/log"\n[timeouts]\nshutdown = "{SHUTDOWN_S:g}s"\n{rest}'
    return loaded(where, rest=text, **options)


class Service:
    """A supervisor of two workers."""

    def __init__(self, where: Path, begun: Any, reread: Callable[[], Any] | None = None) -> None:
        self.where = where
        self.loop = ManualLoop()
        self.processes = Processes(self.loop)
        settings = begun.settings
        store.Store.open(settings.server.storage_path, store.Rules.of(settings)).close()
        try:
            self.supervisor = Supervisor(
                self.loop,
                begun,
                reread,
                stuck_s=STUCK_S,
                spawn=self.processes.spawn,
                monotonic=self.loop.time,
            )
        except BaseException:
            self.loop.close()
            raise
        rows = metrics.attach(self.supervisor._pool._counters)
        self.rows = [metrics.CounterRow(rows, slot) for slot in range(metrics.slots_in(rows))]
        self.serving = self.loop.create_task(self.supervisor.serve())

    def begin(self, *, ready: bool = True) -> None:
        """Start, and let every worker serve if it is to be `ready`."""
        self.loop.turn(3)
        self.processes.begin(ready=ready)

    def events(self) -> list[dict[str, Any]]:
        self.supervisor._log.flush()
        return [json.loads(line) for line in (self.where / "log").read_text().splitlines()]

    def names(self) -> list[str]:
        return [line["event"] for line in self.events()]

    def faults(self) -> dict[str, str]:
        """Return what keeps the server from being ready, as operators are told."""
        return {check.name: check.words for check in self.supervisor._checks() if not check.ok}

    def beat(self) -> None:
        for row in self.rows:
            row.set(catalogue.HEARTBEAT_MS, int(self.loop.now * 1000))

    def close(self) -> None:
        if not self.serving.done():
            self.loop.deliver(signal.SIGTERM)
            self.loop.deliver(signal.SIGTERM)
        self.processes.close()
        self.loop.advance(1.0)
        self.loop.close()
        os.close(self.supervisor._pool._counters)
        assert self.loop.faults == []


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Make]:
    made: list[Service] = []

    def make(reread: Callable[[], Any] | None = None, **options: Any) -> Service:
        made.append(Service(tmp_path, configuration(tmp_path, **options), reread))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_ready_is_said_once_with_every_address(service: Make) -> None:
    one = service(operators="127.0.0.1:0")
    one.begin(ready=False)
    assert "serve-ready" not in one.names()
    for process in one.processes.all:
        process.say(Ready(1))
        one.loop.turn(2)
    (line,) = [line for line in one.events() if line["event"] == "serve-ready"]
    assert (line["workers"], line["pid"]) == (2, os.getpid())
    assert line["listening"].startswith("127.0.0.1:")
    assert line["operators"]
    one.processes.all[0].end(1)
    one.loop.advance(0.1)
    one.loop.advance(0.1)
    one.processes.begin()
    assert one.names().count("serve-ready") == 1


def test_without_an_address_for_operators_there_is_none(service: Make) -> None:
    one = service()
    one.begin()
    (line,) = [line for line in one.events() if line["event"] == "serve-ready"]
    assert line["operators"] == ""


def test_operators_ask_the_supervisor_itself(service: Make) -> None:
    one = service(operators="127.0.0.1:0")
    one.begin(ready=False)
    assert one.supervisor._operators is not None
    address = one.supervisor._operators.name
    with urllib.request.urlopen(f"http://{address}/livez") as answer:
        assert answer.read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(f"http://{address}/readyz")
    assert b"[-]workers failed: 0 of 2 workers serve yet" in refused.value.read()
    refused.value.close()
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        assert b"hmacfs_workers 2" in answer.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_drains_and_the_last_worker_ends_it(service: Make, number: signal.Signals) -> None:
    one = service()
    one.begin()
    listening = [sock for listener in one.supervisor._listeners for sock in listener.sockets]
    one.loop.deliver(number)
    assert [process.heard() for process in one.processes.all] == [[Drain(SHUTDOWN_S)]] * 2
    assert {sock.fileno() for sock in listening} == {-1}
    one.processes.all[0].end(0)
    one.loop.turn(3)
    assert not one.serving.done()
    one.processes.all[1].end(0)
    one.loop.turn(3)
    assert one.serving.result() == 0
    assert one.names()[-4:] == ["serve-stopping", "worker-stopped", "worker-stopped", "serve-stopped"]


def test_a_second_signal_ends_at_once(service: Make) -> None:
    one = service()
    one.begin()
    one.loop.deliver(signal.SIGTERM)
    one.loop.deliver(signal.SIGINT)
    assert one.serving.result() == 1
    assert [process.kills for process in one.processes.all] == [1, 1]
    one.supervisor._stop()  # a third one, before the process is gone
    assert one.serving.result() == 1


def test_workers_that_do_not_end_are_killed_after_the_deadline(service: Make) -> None:
    one = service()
    one.begin()
    one.loop.deliver(signal.SIGTERM)
    one.loop.advance(SHUTDOWN_S + GRACE_S - 0.1)
    assert [process.kills for process in one.processes.all] == [0, 0]
    one.loop.advance(0.2, 5)
    assert [process.kills for process in one.processes.all] == [1, 1]
    assert one.serving.result() == 0


def test_a_stop_while_no_worker_lives_ends_at_once(service: Make) -> None:
    one = service()
    one.begin()
    for process in one.processes.all:
        process.end(1)
    one.loop.turn(3)
    one.loop.deliver(signal.SIGTERM)
    assert one.serving.result() == 0


def test_stuck_workers_are_killed_by_the_tick_unless_they_are_to_end(service: Make) -> None:
    one = service()
    one.begin()
    one.beat()
    one.loop.advance(STUCK_S)
    assert [process.kills for process in one.processes.all] == [0, 0]
    one.loop.advance(TICK_S)
    assert [process.kills for process in one.processes.all[:2]] == [1, 1]
    one.processes.begin()
    one.beat()
    one.loop.now += STUCK_S + TICK_S
    one.loop.deliver(signal.SIGTERM)  # comes before the tick; they have a deadline of their own now
    one.loop.advance(TICK_S)
    assert [process.kills for process in one.processes.all[2:]] == [0, 0]


def test_no_fault_in_a_tick_stops_the_clock(service: Make) -> None:
    one = service()
    one.begin()
    kept = one.supervisor._pool.kill_stuck
    one.supervisor._pool.kill_stuck = lambda _now: 1 / 0  # type: ignore[assignment]
    one.loop.advance(TICK_S)
    assert len(one.loop.faults) == 1
    one.loop.faults.clear()
    one.supervisor._pool.kill_stuck = kept  # type: ignore[method-assign]
    one.beat()
    one.loop.advance(STUCK_S + TICK_S)
    assert [process.kills for process in one.processes.all[:2]] == [1, 1]


def test_a_reload_is_done_when_every_worker_serves_it(tmp_path: Path, service: Make) -> None:
    fresh = configuration(tmp_path, server="max_pipelined = 3")
    one = service(lambda: fresh)
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    assert [process.heard() for process in one.processes.all] == [[Reload(fresh.settings, 2)]] * 2
    one.beat()
    assert one.faults()["workers"] == "0 of 2 workers serve the new configuration yet"
    one.processes.all[0].say(Ready(2))
    one.loop.turn(2)
    assert "reload-done" not in one.names()
    one.processes.all[1].say(Ready(2))
    one.loop.turn(2)
    assert one.names()[-1] == "reload-done"
    assert "workers" not in one.faults()
    one.processes.all[0].end(1)
    one.loop.turn(2)
    one.loop.advance(1.0)
    one.processes.begin()  # everything is served again, and nothing is news
    assert one.supervisor._pool.all_ready
    assert (one.names().count("serve-ready"), one.names().count("reload-done")) == (1, 1)


def test_a_reload_in_flight_is_done_once_for_all_that_came_meanwhile(tmp_path: Path, service: Make) -> None:
    fresh = configuration(tmp_path, server="max_pipelined = 3")
    one = service(lambda: fresh)
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    one.loop.deliver(signal.SIGHUP)
    for version in (2, 3):
        for process in one.processes.all:
            assert process.heard() == [Reload(fresh.settings, version)]
            process.say(Ready(version))
            one.loop.turn(2)
    assert one.names().count("reload-done") == 1


def test_a_faulty_configuration_changes_nothing_and_says_why(service: Make) -> None:
    faults = (config.Fault(file="t.toml", line=3, path="server.workers", found="-1", expected="0 or more"),)

    def reread() -> Any:
        raise config.Faulty(faults)

    one = service(reread)
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    assert [process.heard() for process in one.processes.all] == [[], []]
    (line,) = [line for line in one.events() if line["event"] == "reload-refused"]
    assert line["fault"] == str(faults[0])
    one.beat()
    assert "workers" not in one.faults()


def test_what_a_reload_cannot_apply_is_told_and_stays(tmp_path: Path, service: Make) -> None:
    fresh = configuration(tmp_path, workers=5)
    one = service(lambda: fresh)
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    keys = [line["key"] for line in one.events() if line["event"] == "restart-needed"]
    assert keys == ["server.workers"]
    (message,) = one.processes.all[0].heard()
    assert message.settings.server.workers == 2


def test_what_stands_at_a_directory_when_it_reloads_is_taken_for_right(tmp_path: Path, service: Make) -> None:
    one = service()
    one.begin()
    assert "directories" not in one.faults()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store/upload").symlink_to(tmp_path / "elsewhere")
    assert "directories" in one.faults()
    one.loop.deliver(signal.SIGHUP)
    assert "directories" not in one.faults()


def test_without_a_file_a_reload_gives_the_same_settings_anew(service: Make) -> None:
    one = service()
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    (message,) = one.processes.all[0].heard()
    assert message == Reload(one.supervisor._settings, 2)


def test_a_reload_comes_too_late_for_a_server_that_ends(service: Make) -> None:
    one = service(lambda: pytest.fail("read again"))
    one.begin()
    one.loop.deliver(signal.SIGTERM)
    one.loop.deliver(signal.SIGHUP)
    assert [process.heard() for process in one.processes.all] == [[Drain(SHUTDOWN_S)]] * 2


def test_a_log_that_was_moved_away_is_let_go_here_and_in_every_worker(tmp_path: Path, service: Make) -> None:
    one = service()
    one.begin()
    (tmp_path / "log").rename(tmp_path / "log.1")
    one.loop.deliver(REOPEN)
    assert one.names() == ["log-reopened"]
    assert [process.signals for process in one.processes.all] == [[REOPEN], [REOPEN]]


def test_readiness_names_each_fault_and_what_it_hits(service: Make) -> None:
    one = service()
    one.begin()
    one.beat()
    dependency = next(iter(Dependency))
    one.rows[0].set(catalogue.BREAKER_OPEN[dependency], 1)
    one.processes.all[1].say(Barred("the index is gone"))
    one.loop.turn(2)
    faults = one.faults()
    assert faults[dependency.value] == "1 of 2 workers put uploads off, since it keeps failing"
    assert faults["uploads_barred"] == "1 of 2 workers refuse uploads: the index is gone"
    assert {dependency.value, "uploads_barred"} <= set(faults["uploads"].split(", "))
    assert not {dependency.value, "uploads_barred", "workers"} & set(faults.get("downloads", "").split(", "))
    one.loop.now += 10.0
    assert one.faults()["workers"] == "2 of 2 workers do not answer"
    one.loop.deliver(signal.SIGTERM)
    assert one.faults()["draining"] == "shutting down"
    assert "draining" in one.faults()["downloads"].split(", ")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A service manager: return what it was told since the last time, one line each."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def told() -> list[str]:
            lines: list[str] = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    lines += sock.recv(4096).decode().splitlines()
            return lines

        yield told


def test_the_service_manager_is_told_of_every_change(
    tmp_path: Path, service: Make, manager: Callable[[], list[str]]
) -> None:
    answers: list[Any] = [config.Faulty(()), configuration(tmp_path)]

    def reread() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    one = service(reread)
    one.begin()
    assert manager() == ["READY=1", "STATUS=2 workers"]
    one.loop.deliver(signal.SIGHUP)
    lines = manager()
    assert lines[0] == "RELOADING=1"
    assert lines[2:] == ["READY=1", "STATUS=the new configuration was refused"]
    one.loop.deliver(signal.SIGHUP)
    assert manager()[0] == "RELOADING=1"
    for process in one.processes.all:
        process.say(Ready(2))
    one.loop.turn(3)
    assert manager() == ["READY=1", "STATUS=reloaded"]
    one.loop.deliver(signal.SIGTERM)
    assert manager() == ["STOPPING=1"]


@pytest.mark.parametrize(("interval_us", "every_s"), [(500_000, 0.25), (10_000_000, TICK_S)])
def test_the_watchdog_is_told_at_half_of_its_interval_or_more_often(
    service: Make,
    manager: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    interval_us: int,
    every_s: float,
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", str(interval_us))
    one = service()
    one.begin()
    manager()
    for _ in range(4):
        one.loop.advance(every_s - 0.01)
        assert manager() == []
        one.loop.advance(0.01)
        assert manager() == ["WATCHDOG=1"]


def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    begun = loaded(tmp_path, rest=f'file = "{tmp_path}/none/log"\n')
    with pytest.raises(StartError, match=r"cannot open the log file .*none/log.*No such file"):
        Service(tmp_path, begun)


@pytest.mark.parametrize(
    ("variable", "value"), [("LISTEN_FDS", "many"), ("WATCHDOG_USEC", "0"), ("LISTEN_FDS", "1000000")]
)
def test_a_service_manager_that_passes_nonsense_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv(variable, value)
    if value == "1000000":  # one that is not open, and none of this process's own before it
        monkeypatch.setattr(systemd, "FIRST_FD", 2**20)
    with pytest.raises(ListenError, match="what the service manager passed is no good"):
        Service(tmp_path, configuration(tmp_path))


def test_an_address_of_operators_in_use_stops_the_start_and_lets_go_of_the_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        begun = configuration(tmp_path, operators=address)
        one = Service(tmp_path, begun)
        one.loop.turn(3)
        with pytest.raises(ListenError, match=f"cannot listen on {address} for .metrics.*in use"):
            one.serving.result()
        assert {sock.fileno() for each in one.supervisor._listeners for sock in each.sockets} == {-1}
        assert one.processes.all == []
        one.close()


def test_what_is_worth_knowing_of_a_configuration_is_logged(tmp_path: Path, service: Make) -> None:
    fresh = configuration(tmp_path)
    noticed = config.Loaded(settings=fresh.settings, notices=(fresh.notice("server.x", "worth knowing"),))
    one = service(lambda: noticed)
    one.begin()
    one.loop.deliver(signal.SIGHUP)
    notices = [line["notice"] for line in one.events() if line["event"] == "config-notice"]
    assert [notice for notice in notices if "worth knowing" in notice] == notices != []


def test_a_storage_that_cannot_work_is_one_error_before_anything_listens(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(store.StorageError):
        supervisor.run(configuration(tmp_path), None)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    assert all(signal.getsignal(number) is signal.SIG_IGN for number in worker.IGNORED)
    assert not (tmp_path / "log").exists()


def test_signals_that_come_while_it_starts_are_heard_once_it_serves(service: Make) -> None:
    """`run` holds them back from the first; `serve` lets them through."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    one = service()
    one.begin()
    assert not HEARD & signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert {signal.SIGTERM, signal.SIGINT, *HEARD} == set(one.loop.signals)
