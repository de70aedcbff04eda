"""A plain PUT whose connection is silent: its owner ends it from another one, at any worker, and goes on."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import selfsigned
import serving
import wire
from languages import OCTETS, PART, TUS, append, patch, refusal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

BODY = secrets.token_bytes(200_000)
SIZE = len(BODY)
TYPE = "application/octet-stream"
HAVE = 120_000
DEADLINE_S = 0.25  # ipc.channel.ANSWER_S
SLACK_S = 20.0  # for a machine that runs other tests too


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("silent")
    with serving.running(where, rest=languages.CONFIG, server=languages.SERVER, workers=2) as server:
        yield server
        wire.settle(server)


@pytest.fixture
def workers(server: Server) -> tuple[int, int]:
    first, second = server.workers
    return first, second


class Silent:
    """A plain PUT of which some has come, and whose connection stays."""

    def __init__(self, server: Server, worker: int, target: str, have: int = HAVE) -> None:
        self._sock = resuming.connect_to(server, worker)
        self._have = have
        fields = {"Content-Type": TYPE, "Expect": "100-continue"}
        self._sock.sendall(serving.head("PUT", target, fields, SIZE))
        assert serving.read_answer(self._sock).status == 100
        self._sock.sendall(BODY[:have])
        resuming.wait_stored(server.storage, have, (worker,))

    def close(self) -> None:
        """Hear no answer."""
        self._sock.close()

    def go_on(self) -> Answer:
        """Send the rest."""
        self._sock.sendall(BODY[self._have :])
        return self.end()

    def end(self) -> Answer:
        """Return the answer."""
        with self._sock:
            return serving.read_answer(self._sock, "PUT")


def ask(server: Server, worker: int, method: str, target: str, **fields: str) -> Answer:
    """Make a request without a body at one worker."""
    with resuming.connect_to(server, worker) as sock:
        return ask_on(sock, method, target, **fields)


def ask_on(sock: socket.socket, method: str, target: str, **fields: str) -> Answer:
    """Make one on a connection that stays; underscores in names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return resuming.ask(sock, method, target, named, 0 if method == "PUT" else None)


def slot() -> tuple[str, str]:
    rel = serving.fresh()
    return rel, serving.signed(rel, SIZE)


def forge(target: str) -> str:
    return f"{target[:-1]}{'0' if target[-1] != '0' else '1'}"


@pytest.mark.parametrize("here", [True, False], ids=["the same worker", "the other worker"])
@pytest.mark.parametrize(
    ("language", "have"),
    [("head", 0), ("head", 1), ("head", HAVE), ("head", SIZE - 1), ("tus", HAVE), ("range", HAVE)],
)
def test_its_owner_learns_what_has_come_and_goes_on(
    server: Server, workers: tuple[int, int], language: str, have: int, *, here: bool
) -> None:
    rel, target = slot()
    old = Silent(server, workers[0], target, have)
    worker = workers[0 if here else 1]
    if language == "head":
        told = ask(server, worker, "HEAD", target)
    elif language == "tus":
        told = ask(server, worker, "HEAD", target, **TUS)
    else:
        told = ask(server, worker, "PUT", target, Content_Range=f"bytes */{SIZE}", Content_Type=TYPE)
    assert told.status == (200 if language == "tus" else 204)
    assert (told.fields["upload-offset"], told.fields["upload-length"]) == (str(have), str(SIZE))
    assert refusal(old.go_on()) == (409, "upload_taken_over")
    again = ask(server, worker, "HEAD", target)
    assert again.fields["upload-offset"] == str(have), "a byte of the old connection has landed"
    assert patch(server, target, have, BODY[have:], holds={}).status == 204
    assert server.get(rel).body == BODY


@pytest.mark.parametrize("here", [True, False], ids=["the same worker", "the other worker"])
@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("PATCH", {**TUS, **OCTETS, "Upload-Offset": str(HAVE)}, 204),
        ("PATCH", {**PART, "Upload-Offset": str(HAVE), "Upload-Complete": "?1"}, 201),
        ("PUT", {"Content-Type": TYPE, "Content-Range": f"bytes {HAVE}-{SIZE - 1}/{SIZE}"}, 201),
    ],
    ids=["tus", "ietf", "range"],
)
def test_its_owner_goes_on_without_asking(  # noqa: PLR0913 - a row of the table
    server: Server,
    workers: tuple[int, int],
    method: str,
    fields: dict[str, str],
    status: int,
    *,
    here: bool,
) -> None:
    rel, target = slot()
    old = Silent(server, workers[0], target)
    with resuming.connect_to(server, workers[0 if here else 1]) as sock:
        sock.sendall(serving.head(method, target, fields, SIZE - HAVE) + BODY[HAVE:])
        assert serving.read_answer(sock, method).status == status
    assert refusal(old.end()) == (409, "upload_taken_over")
    assert server.get(rel).body == BODY


def test_a_wrong_offset_is_refused_with_the_right_one(server: Server, workers: tuple[int, int]) -> None:
    for worker in workers:
        _, target = slot()
        old = Silent(server, workers[0], target)
        with resuming.connect_to(server, worker) as sock:
            fields = {**PART, "Upload-Offset": "5", "Upload-Complete": "?0"}
            sock.sendall(serving.head("PATCH", target, fields, 5) + BODY[5:10])
            answer = serving.read_answer(sock, "PATCH")
        assert (answer.status, answer.fields["upload-offset"]) == (409, str(HAVE))
        assert refusal(old.end()) == (409, "upload_taken_over")


@pytest.mark.parametrize("have", [0, HAVE])
def test_its_owner_cancels_it(server: Server, workers: tuple[int, int], have: int) -> None:
    rel, target = slot()
    old = Silent(server, workers[0], target, have)
    assert ask(server, workers[1], "DELETE", target, **TUS).status == 204
    assert refusal(old.go_on()) == (409, "upload_taken_over")
    assert ask(server, workers[1], "HEAD", target).status == 404
    assert server.get(rel).status == 404


def test_nobody_else_can_see_or_touch_it(server: Server, workers: tuple[int, int]) -> None:
    rel, target = slot()
    old = Silent(server, workers[0], target)
    for worker in workers:
        with resuming.connect_to(server, worker) as sock:
            for other in (
                forge(target),
                f"/upload/{rel}",
                f"/upload/{rel}?v2=",
                serving.signed(rel, SIZE + 1),
                serving.signed(rel, SIZE, "image/png"),
                serving.signed(serving.fresh(), SIZE),
            ):
                for method in ("HEAD", "DELETE"):
                    assert ask_on(sock, method, other, **TUS).status == 404
                assert ask_on(sock, "HEAD", other).status == 404
                asked = {"Content_Range": f"bytes */{SIZE}", "Content_Type": TYPE}
                assert ask_on(sock, "PUT", other, **asked).status == 404
        forged = append(server, forge(target), HAVE, BODY[HAVE:], ends=True, holds={})
        assert forged.status == 404
    assert old.go_on().status == 201
    assert server.get(rel).body == BODY


def test_another_token_for_the_same_file_may_have_it(server: Server, workers: tuple[int, int]) -> None:
    for worker in workers:
        rel, target = slot()
        old = Silent(server, workers[0], target)
        other, value = serving.bearer(rel, SIZE, TYPE)
        told = ask(server, worker, "HEAD", other, Authorization=value)
        assert (told.status, told.fields["upload-offset"]) == (204, str(HAVE))
        assert refusal(old.end()) == (409, "upload_taken_over")


@pytest.mark.parametrize("here", [True, False], ids=["the same worker", "the other worker"])
def test_a_second_plain_put_takes_its_place(server: Server, workers: tuple[int, int], *, here: bool) -> None:
    rel, target = slot()
    old = Silent(server, workers[0], target)
    with resuming.connect_to(server, workers[0 if here else 1]) as sock:
        sock.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, SIZE) + BODY)
        assert serving.read_answer(sock, "PUT").status == 201
    assert refusal(old.end()) == (409, "upload_taken_over")
    assert server.get(rel).body == BODY


def test_of_many_that_begin_at_once_the_newest_stays(server: Server, workers: tuple[int, int]) -> None:
    """Each is known to the others before it asks for them, so that of any two one ends."""
    for _ in range(5):
        rel, target = slot()
        head = serving.head("PUT", target, {"Content-Type": TYPE}, SIZE)
        with contextlib.ExitStack() as stack:
            socks = [
                stack.enter_context(resuming.connect_to(server, workers[number % 2])) for number in range(6)
            ]
            for sock in socks:
                sock.sendall(head + BODY[:-1])
            ended: list[Answer] = []
            waiting = list(socks)
            while len(waiting) > 1:
                for sock in select.select(waiting, [], [], serving.PATIENCE_S)[0]:
                    ended.append(serving.read_answer(sock, "PUT"))
                    waiting.remove(sock)
            assert [refusal(answer) for answer in ended] == [(409, "upload_taken_over")] * 5
            waiting[0].sendall(BODY[-1:])
            assert serving.read_answer(waiting[0], "PUT").status == 201
        assert server.get(rel).body == BODY


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_one_token_holds_one_upload_whatever_the_switches_say(tmp_path: Path, enabled: str) -> None:
    rest = f"{languages.CONFIG}[uploads]\nresumable_uploads_enabled = {enabled}\n"
    with serving.running(tmp_path, rest=rest, server=languages.SERVER, workers=2) as server:
        _, target = slot()
        olds = [Silent(server, server.workers[number % 2], target, HAVE + number) for number in range(4)]
        for old in olds[:-1]:
            assert refusal(old.end()) == (409, "upload_taken_over")
        assert olds[-1].go_on().status == 201


def test_of_several_the_longest_is_gone_on_with(server: Server, workers: tuple[int, int]) -> None:
    rel, target = slot()
    pieces = [(0, 10), (1, HAVE), (0, 99), (1, 11)]
    olds = [Silent(server, workers[worker], target, have) for worker, have in pieces]
    assert ask(server, workers[0], "HEAD", target).fields["upload-offset"] == str(HAVE)
    for old in olds:
        assert refusal(old.end()) == (409, "upload_taken_over")
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
    assert server.get(rel).body == BODY


@pytest.mark.parametrize(("before", "have"), [(HAVE, 50), (50, HAVE)])
def test_of_an_upload_and_a_put_the_longer_is_gone_on_with(
    server: Server, workers: tuple[int, int], before: int, have: int
) -> None:
    """It broke off, was sent again and fell silent."""
    rel, target = slot()
    first = Silent(server, workers[0], target, before)
    assert ask(server, workers[0], "HEAD", target).fields["upload-offset"] == str(before)
    second = Silent(server, workers[1], target, have)
    assert ask(server, workers[0], "HEAD", target).fields["upload-offset"] == str(HAVE)
    for old in (first, second):
        assert refusal(old.end()) == (409, "upload_taken_over")
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
    assert server.get(rel).body == BODY


def test_what_is_whole_as_it_is_asked_for_is_a_file(server: Server, workers: tuple[int, int]) -> None:
    """Last byte and question come at once; whoever is first, nothing in between is told."""
    ended = set()
    for number in range(8):
        rel, target = slot()
        old = Silent(server, workers[0], target, SIZE - 1)
        answers: list[Answer] = []
        with resuming.connect_to(server, workers[number % 2]) as sock:
            thread = threading.Thread(target=lambda old=old, answers=answers: answers.append(old.go_on()))
            thread.start()
            told = resuming.ask(sock, "HEAD", target, TUS)
            thread.join(serving.PATIENCE_S)
        assert told.status == 200
        offset = int(told.fields["upload-offset"])
        ended.add((offset, answers[0].status))
        assert (offset, answers[0].status) in {(SIZE, 201), (SIZE - 1, 409)}
        if offset < SIZE:
            assert patch(server, target, offset, BODY[offset:], holds={}).status == 204
        assert server.get(rel).body == BODY


def test_chunked_bodies_are_taken_over_too(server: Server, workers: tuple[int, int]) -> None:
    rel = serving.fresh()
    target, token = serving.bearer(rel, SIZE, TYPE)  # which tells the size
    holds = {"Authorization": token}
    with resuming.connect_to(server, workers[0]) as old:
        fields = {**holds, "Content-Type": TYPE, "Transfer-Encoding": "chunked"}
        coded = languages.chunked(BODY)
        cut = coded.index(BODY[HAVE : HAVE + 8])
        old.sendall(serving.head("PUT", target, fields) + coded[:cut])
        resuming.wait_stored(server.storage, HAVE, workers)
        assert ask(server, workers[1], "HEAD", target, **holds).fields["upload-offset"] == str(HAVE)
        old.sendall(coded[cut:])
        assert refusal(serving.read_answer(old, "PUT")) == (409, "upload_taken_over")
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds=holds).status == 201
    assert server.get(rel).body == BODY


def test_it_outlives_a_reload(server: Server, workers: tuple[int, int]) -> None:
    for worker in workers:
        rel, target = slot()
        old = Silent(server, workers[0], target)
        server.signal(signal.SIGHUP)
        server.wait_for("reload-done")
        assert ask(server, worker, "HEAD", target).fields["upload-offset"] == str(HAVE)
        assert refusal(old.end()) == (409, "upload_taken_over")
        assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
        assert server.get(rel).body == BODY


def test_a_worker_that_does_not_move_is_not_waited_for(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest=languages.CONFIG, server=languages.SERVER, workers=2) as server:
        stuck, other = server.workers
        rel, target = slot()
        old = Silent(server, stuck, target)
        with resuming.connect_to(server, other) as sock:
            os.kill(stuck, signal.SIGSTOP)
            began = time.monotonic()
            assert ask_on(sock, "HEAD", target).status == 404
            assert DEADLINE_S <= time.monotonic() - began < DEADLINE_S + SLACK_S
            os.kill(stuck, signal.SIGCONT)
        assert old.go_on().status == 201
        assert server.get(rel).body == BODY

        rel, target = slot()
        old = Silent(server, stuck, target)
        with resuming.connect_to(server, other) as sock:
            os.kill(stuck, signal.SIGKILL)
            began = time.monotonic()
            assert ask_on(sock, "HEAD", target).status == 404
        old.close()
        assert time.monotonic() - began < DEADLINE_S + SLACK_S
        server.wait_for("worker-died", pid=stuck)
        serving.until(lambda: len(server.workers) == 2 and server.operate("/readyz")[0] == 200)
        successor = next(pid for pid in server.workers if pid != other)
        old = Silent(server, successor, target)
        assert ask(server, other, "HEAD", target).fields["upload-offset"] == str(HAVE)
        assert refusal(old.end()) == (409, "upload_taken_over")


def test_one_worker_alone_and_doors_that_are_shut(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest=languages.CONFIG, server=languages.SERVER) as server:
        [worker] = server.workers
        _, target = slot()
        old = Silent(server, worker, target)
        assert ask(server, worker, "HEAD", target).fields["upload-offset"] == str(HAVE)
        assert refusal(old.go_on()) == (409, "upload_taken_over")
        with server.config.open("a") as config:
            config.write("[uploads]\nresumable_uploads_enabled = false\n")
        server.signal(signal.SIGHUP)
        server.wait_for("reload-done")
        _, target = slot()
        old = Silent(server, worker, target)
        assert ask(server, worker, "HEAD", target).status == 404
        assert old.go_on().status == 201


def test_a_connection_over_tls_is_ended_too(tmp_path: Path, program: Callable[[str], str]) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    rest = f'{languages.CONFIG}[tls]\nlisten_address = "127.0.0.1:0"\ncertificate = "{crt}"\nkey = "{key}"\n'
    with serving.running(tmp_path, rest=rest, server=languages.SERVER, workers=2) as server:
        for worker in server.workers:
            rel, target = slot()
            with selfsigned.greet(selfsigned.port_of(server), crt) as old:
                old.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, SIZE) + BODY[:HAVE])
                resuming.wait_stored(server.storage, HAVE, tuple(server.workers))
                assert ask(server, worker, "HEAD", target).fields["upload-offset"] == str(HAVE)
                old.sendall(BODY[HAVE:])
                assert refusal(serving.read_answer(old, "PUT")) == (409, "upload_taken_over")
            assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
            assert server.get(rel).body == BODY
