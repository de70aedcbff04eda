"""The digest of a whole file (RFC 9530): checked as it comes, kept, and told to who wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import serving
import wire
from languages import ALICE, append, digest, refusal
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

BODY = bytes(range(256)) * 400
HAVE = 60_000
TYPE = {"Content-Type": "application/octet-stream"}
WANTED = {"Want-Repr-Digest": "sha-512=10, sha-256=5"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("digests"), rest=languages.CONFIG) as server:
        yield server
        wire.settle(server)


def put(server: Server, rel: str, promised: str, body: bytes = BODY) -> Answer:
    fields = {**TYPE, "Content-Length": str(len(body)), "Repr-Digest": promised}
    return server.request("PUT", serving.signed(rel, len(body)), fields=fields, body=body)


def stored(server: Server, promised: str) -> str:
    """Upload BODY; give where it is."""
    rel = serving.fresh()
    assert put(server, rel, promised).status == 201
    return rel


def told(server: Server, rel: str, method: str = "GET", **fields: str) -> str | None:
    """Return the Repr-Digest that one gets who wants it."""
    asked = {**WANTED, **{name.replace("_", "-"): value for name, value in fields.items()}}
    answer = server.request(method, f"/upload/{rel}", fields=asked)
    assert answer.status in {200, 206, 304}
    return answer.fields.get("repr-digest")


def test_what_was_promised_is_told(server: Server) -> None:
    rel = stored(server, digest(BODY))
    assert told(server, rel) == told(server, rel, "HEAD") == digest(BODY)
    assert told(server, rel, Range="bytes=5-9") == digest(BODY)
    assert told(server, rel, Range="bytes=5-9, 100-200") == digest(BODY)
    assert told(server, rel, If_None_Match="*") is None
    assert told(server, rel, Want_Repr_Digest="sha-256=0") is None
    assert told(server, rel, Want_Repr_Digest="sha-512=10") is None
    assert told(server, rel, Want_Repr_Digest="sha-256=") is None
    assert server.get(rel, Want_Repr_Digest="sha-256=1").fields["etag"] == server.get(rel).fields["etag"]


def test_an_answer_from_memory_is_for_who_does_not_ask(server: Server) -> None:
    rels = [stored(server, digest(BODY)) for _ in range(2)]
    asked_first, asked_last = rels
    for _ in range(3):
        assert told(server, asked_first) == digest(BODY)
    for rel in (asked_first, asked_last):
        for _ in range(3):  # the second puts it into memory, the third comes from there
            answer = server.get(rel)
            assert (answer.status, answer.body) == (200, BODY)
            assert "repr-digest" not in answer.fields
        assert told(server, rel) == digest(BODY)
        assert told(server, rel, "HEAD") == digest(BODY)
        assert "repr-digest" not in server.get(rel).fields


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("body", [BODY, b""])
def test_a_body_that_is_not_what_it_promised_is_refused(server: Server, algorithm: str, body: bytes) -> None:
    rel = serving.fresh()
    assert refusal(put(server, rel, digest(BODY[1:], algorithm), body)) == (400, "digest_mismatch")
    assert refusal(put(server, rel, f"{digest(body)}, sha-512=:AAAA:", body)) == (400, "digest_mismatch")
    assert server.get(rel).status == 404
    assert put(server, rel, digest(body, algorithm), body).status == 201
    assert server.get(rel).body == body


@pytest.mark.parametrize("promised", ["sha-256=10", "md5=:AAAA:", "nonsense!", digest(BODY, "sha-512")])
def test_of_another_algorithm_or_none_nothing_is_known(server: Server, promised: str) -> None:
    assert told(server, stored(server, promised)) is None


def test_of_a_file_in_parts_the_last_request_tells_it(server: Server) -> None:
    rel = serving.fresh()
    target = serving.signed(rel, len(BODY))
    fields = {**TYPE, "Upload-Length": str(len(BODY)), "Upload-Complete": "?0"}
    assert server.request("PUT", target, fields=fields, body=BODY[:HAVE]).status == 201
    last = append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}, Repr_Digest=digest(BODY))
    assert last.status == 201
    assert told(server, rel) == digest(BODY)
    asked = {"Upload-Draft-Interop-Version": "8", **WANTED}
    answer = server.request("HEAD", target, fields=asked)
    assert (answer.status, answer.fields["upload-complete"]) == (204, "?1")
    assert answer.fields["repr-digest"] == digest(BODY)
    del asked["Want-Repr-Digest"]
    assert "repr-digest" not in server.request("HEAD", target, fields=asked).fields


@pytest.mark.parametrize("door", ["slot", "endpoint"])
def test_who_finishes_a_file_that_nobody_compared_is_told_what_it_is(server: Server, door: str) -> None:
    """As if the request with the last bytes had died before its Repr-Digest was looked at."""
    holds = ALICE if door == "endpoint" else {}
    target = "/files/" if door == "endpoint" else serving.signed(serving.fresh(), len(BODY))
    fields = {**TYPE, **holds, "Upload-Length": str(len(BODY)), "Upload-Complete": "?0"}
    begun = server.request("PUT", target, fields=fields, body=BODY[:HAVE])
    spoiled = BODY[:HAVE] + bytes(len(BODY) - HAVE)
    parts = [path for path in resuming.parts_of(server.storage) if path.suffix != ".note"]
    part = max(parts, key=lambda path: path.stat().st_mtime_ns)
    with part.open("ab") as file:
        file.write(spoiled[HAVE:])
    for _ in range(2):  # the first finishes it
        asked = {**holds, **WANTED, "Upload-Draft-Interop-Version": "8"}
        answer = server.request("HEAD", begun.fields["location"], fields=asked)
        assert (answer.status, answer.fields["upload-complete"]) == (204, "?1")
        assert answer.fields["repr-digest"] == digest(spoiled)


def test_what_a_broken_put_promised_holds_for_the_rest(server: Server) -> None:
    for rest, status in ((BODY[HAVE:], 201), (bytes(len(BODY) - HAVE), 400)):
        rel = serving.fresh()
        target = serving.signed(rel, len(BODY))
        with Wire(server) as client:
            head = serving.head("PUT", target, {**TYPE, "Repr-Digest": digest(BODY)}, len(BODY))
            client.send(head + BODY[:HAVE])
            client.finish()
            assert refusal(client.expect()) == (400, "body_incomplete")
        assert append(server, target, HAVE, rest, ends=True, holds={}).status == status
        assert server.get(rel).status == (200 if status == 201 else 404)
        if status == 201:
            assert told(server, rel) == digest(BODY)
