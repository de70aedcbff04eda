"""Every row of the corpus against a live server, whole and byte by byte, each followed by the canary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import serving
import wire
from corpus import CANARY, ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

CONTENT = b"the canary is alive" * 10
FILE = "corpus/f.txt"
# A bomb of 64 KiB byte by byte says nothing that pieces of its do not say.
SINGLE_BYTES_UP_TO = 4096
PIECES = 7
TIMEOUTS = '[timeouts]\nlinger = "2s"\n'


IN_FRAMES = "rl-h2-preface"
"""What is answered in frames of HTTP/2: see test_preface."""


class Heard(NamedTuple):
    """What came back on one connection."""

    answers: list[Answer]
    closed: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("corpus"), rest=TIMEOUTS) as server:
        assert server.put(FILE, CONTENT, "text/plain").status == 201
        workers = server.workers
        yield server
        wire.settle(server)
        assert server.workers == workers
        assert server.files() == [f"upload/{FILE}"]


def converse(server: Server, row: Row, piece: int) -> Heard:
    """Send a row and the canary; give all answers, and whether the server ended the connection."""
    names = {
        "host": f"{server.host}:{server.port}".encode(),
        "file": f"/upload/{FILE}".encode(),
        "place": b"/upload/corpus/new.txt?v=00",
    }
    canary = Row(id="canary", wire=CANARY, statuses=frozenset(), sound=True, close=None)
    answers: list[Answer] = []
    with wire.Wire(server) as client:
        client.send(row.render(**names), piece)
        client.send(canary.render(**names), piece)
        while len(answers) <= row.answers:
            answer = client.read("HEAD" if row.bodiless and not answers else "GET")
            if answer is None:
                return Heard(answers, closed=True)
            answers.append(answer)
        client.finish()
        assert client.rest() == b"", "an answer too many"
    return Heard(answers, closed=False)


@pytest.mark.parametrize("cut", ["whole", "cut"])
@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.id != IN_FRAMES])
def test_the_corpus_live(server: Server, row: Row, cut: str) -> None:
    piece = 0
    if cut == "cut":
        piece = 1 if len(row.wire) <= SINGLE_BYTES_UP_TO else len(row.wire) // PIECES
    heard = converse(server, row, piece)
    first = heard.answers[0]
    assert first.status in row.live_statuses
    assert not any(answer.status >= 500 and answer.status not in {501, 505} for answer in heard.answers)
    assert all("x-request-id" in answer.fields for answer in heard.answers)
    if row.close is not None:
        assert heard.closed is row.close
    if heard.closed:
        assert len(heard.answers) == row.answers
        assert heard.answers[-1].fields["connection"] == "close"
    else:
        canary = heard.answers[-1]
        assert len(heard.answers) == row.answers + 1
        assert (canary.status, canary.body) == (200, CONTENT)
