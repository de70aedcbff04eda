"""Signed PUT URLs that broke off, gone on with in every language, or sent again as if nothing had been."""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING

import languages
import pytest
import serving
import wire
from languages import OCTETS, PART, TUS, append, patch, refusal
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Answer, Server

BODY = secrets.token_bytes(30_000)
SIZE = len(BODY)
TYPE = "application/octet-stream"
HAVE = 12_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with languages.served(tmp_path_factory.mktemp("slots")) as server:
        yield server


def broken(server: Server, target: str, have: int = HAVE, holds: dict[str, str] | None = None) -> None:
    """PUT the first bytes of BODY and no more."""
    with Wire(server) as client:
        client.send(serving.head("PUT", target, {"Content-Type": TYPE, **(holds or {})}, SIZE) + BODY[:have])
        client.finish()
        assert refusal(client.expect()) == (400, "body_incomplete")


def slot(server: Server, have: int = HAVE) -> tuple[str, str]:
    """Return path and signed target of an upload that broke off."""
    rel = serving.fresh()
    target = serving.signed(rel, SIZE)
    broken(server, target, have)
    return rel, target


def told(server: Server, target: str, **holds: str) -> Answer:
    return server.request("HEAD", target, fields=holds)


def put(server: Server, target: str, span: str, body: bytes) -> Answer:
    fields = {"Content-Range": f"bytes {span}", "Content-Type": TYPE}
    return server.request("PUT", target, fields=fields, body=body)


def age(server: Server) -> None:
    """Have all unfinished uploads look as if nobody had used them for years."""
    for path in (server.storage / ".hmacfs/uploads").iterdir():
        os.utime(path, (1, 1))


def test_a_plain_put_again_succeeds(server: Server) -> None:
    for have in (0, 1, HAVE, SIZE - 1):
        rel, target = slot(server, have)
        assert server.get(rel).status == 404
        answer = server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY)
        assert answer.status == 201
        assert server.get(rel).body == BODY
        assert server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY).status == 201
        other = server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY[::-1])
        assert refusal(other) == (409, "exists")


def test_it_may_break_any_number_of_times(server: Server) -> None:
    rel, target = slot(server)
    for have in (5, HAVE + 1, 7, 20_000, 9):
        broken(server, target, have)
    assert told(server, target).fields["upload-offset"] == "20000"
    assert server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY).status == 201
    assert server.get(rel).body == BODY


def test_head_tells_how_much_has_come(server: Server) -> None:
    rel, target = slot(server)
    answer = told(server, target)
    assert (answer.status, answer.fields["upload-offset"]) == (204, str(HAVE))
    assert (answer.fields["upload-length"], answer.fields["upload-complete"]) == (str(SIZE), "?0")
    answer = told(server, target, **TUS)
    assert (answer.status, answer.fields["upload-offset"]) == (200, str(HAVE))
    for other in (f"/upload/{rel}", serving.signed(rel, SIZE + 1), serving.signed(serving.fresh(), SIZE)):
        assert told(server, other).status == 404


def test_tus_goes_on(server: Server) -> None:
    rel, target = slot(server)
    answer = patch(server, target, HAVE, BODY[HAVE:20_000], holds={})
    assert (answer.status, answer.fields["upload-offset"]) == (204, "20000")
    answer = patch(server, target, 20_000, BODY[20_000:], holds={})
    assert (answer.status, answer.fields["upload-offset"]) == (204, str(SIZE))
    assert server.get(rel).body == BODY
    after = told(server, target, **TUS)
    assert (after.status, after.fields["upload-offset"]) == (200, str(SIZE))


def test_tus_from_the_beginning(server: Server) -> None:
    rel = serving.fresh()
    target = serving.signed(rel, SIZE)
    kind = {"Upload-Metadata": "filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt"}
    fields = {**TUS, "Upload-Length": str(SIZE), **kind}
    answer = server.request("POST", target, fields=fields)
    assert (answer.status, answer.fields["location"]) == (201, target)
    assert patch(server, target, 0, BODY, holds={}).status == 204
    assert server.get(rel).body == BODY
    wrong = server.request("POST", serving.signed(rel, SIZE), fields={**fields, "Upload-Length": "5"})
    assert wrong.status in {403, 413}


def test_the_ietf_goes_on_and_ends_with_201(server: Server) -> None:
    rel, target = slot(server)
    answer = append(server, target, HAVE, BODY[HAVE:20_000], ends=False, holds={})
    assert (answer.status, answer.fields["upload-complete"]) == (204, "?0")
    answer = append(server, target, 20_000, BODY[20_000:], ends=True, holds={})
    assert (answer.status, answer.fields["upload-complete"]) == (201, "?1")
    assert server.get(rel).body == BODY


def test_the_ietf_from_the_beginning(server: Server) -> None:
    """As iOS adds its fields to a plain PUT."""
    rel = serving.fresh()
    fields = {"Content-Type": TYPE, "Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"}
    with Wire(server) as client:
        client.send(serving.head("PUT", target := serving.signed(rel, SIZE), fields, SIZE))
        interim = serving.resolved(target, client.expect())
        assert (interim.status, interim.fields["location"]) == (104, target)
        client.send(BODY[:HAVE])
        client.finish()
        assert client.expect().status == 400
    answer = told(server, target)
    assert answer.fields["upload-offset"] == str(HAVE)
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
    assert server.get(rel).body == BODY


def test_content_range_goes_on(server: Server) -> None:
    rel, target = slot(server)
    asked = put(server, target, f"*/{SIZE}", b"")
    assert (asked.status, asked.fields["upload-offset"]) == (204, str(HAVE))
    part = put(server, target, f"{HAVE}-19999/{SIZE}", BODY[HAVE:20_000])
    assert (part.status, part.fields["upload-offset"]) == (204, "20000")
    assert refusal(put(server, target, f"19999-29999/{SIZE}", BODY[19_999:])) == (409, "upload_offset")
    assert put(server, target, f"20000-29999/{SIZE}", BODY[20_000:]).status == 201
    assert server.get(rel).body == BODY
    after = put(server, target, f"*/{SIZE}", b"")
    assert (after.status, after.fields["upload-complete"]) == (204, "?1")


def test_content_range_from_the_beginning(server: Server) -> None:
    rel = serving.fresh()
    target = serving.signed(rel, SIZE)
    assert put(server, target, f"0-9999/{SIZE}", BODY[:10_000]).status == 204
    assert put(server, target, f"10000-29999/{SIZE}", BODY[10_000:]).status == 201
    assert server.get(rel).body == BODY


@pytest.mark.parametrize(
    "span",
    ["0-4/*", "5-4/30000", "0-4", "0-29999/30000", "0-4/5x", "-5/30000", "*/30000", "29996-30000/30000", ""],
)
def test_a_content_range_that_is_none(server: Server, span: str) -> None:
    before = server.files()
    assert put(server, serving.signed(serving.fresh(), SIZE), span, b"hello").status == 400
    assert server.files() == before


def test_a_part_of_another_file_is_refused(server: Server) -> None:
    rel, target = slot(server)
    assert put(server, target, f"{HAVE}-{HAVE + 4}/{SIZE + 1}", b"hello").status == 400
    assert patch(server, target, HAVE, bytes(SIZE - HAVE + 1), holds={}).status == 413
    assert append(server, target, HAVE, bytes(SIZE - HAVE + 1), ends=False, holds={}).status == 400
    assert told(server, target).fields["upload-offset"] == str(HAVE)
    foreign = serving.signed(serving.fresh(), SIZE)
    assert patch(server, foreign, HAVE, b"x", holds={}).status == 404
    forged = f"{target[:-1]}{'0' if target[-1] != '0' else '1'}"
    for status in (
        patch(server, forged, HAVE, BODY[HAVE:], holds={}).status,
        append(server, forged, HAVE, BODY[HAVE:], ends=True, holds={}).status,
        server.request("DELETE", forged, fields=TUS).status,
        put(server, forged, f"{HAVE}-29999/{SIZE}", BODY[HAVE:]).status,
    ):
        assert status == 404
    assert put(server, forged, f"0-29999/{SIZE}", BODY).status == 403
    assert server.get(rel).status == 404


def test_an_upload_is_given_up(server: Server) -> None:
    rel, target = slot(server)
    assert server.request("DELETE", target, fields=TUS).status == 204
    assert told(server, target).status == 404
    assert server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY).status == 201
    assert server.get(rel).body == BODY


def test_an_upload_whose_file_stands_is_not_given_up(server: Server) -> None:
    """By no PUT URL; whether what is left to answer repeated requests is still there or not."""
    rel, target = slot(server)
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
    assert refusal(server.request("DELETE", target, fields=TUS)) == (409, "exists")
    age(server)
    assert refusal(server.request("DELETE", target, fields=TUS)) == (409, "exists")
    assert server.get(rel).body == BODY


def test_a_token_that_ends_meanwhile_still_goes_on(server: Server) -> None:
    """It is that of the upload; nothing new can be begun with it."""
    rel = serving.fresh()
    # Of the leeway of a minute this leaves the token two seconds.
    target, value = serving.bearer(rel, SIZE, TYPE, ttl_s=-58)
    holds = {"Authorization": value}
    broken(server, target, holds=holds)
    deadline = time.monotonic() + serving.PATIENCE_S
    other, value = serving.bearer(serving.fresh(), SIZE, TYPE, ttl_s=-58)
    fields = {"Authorization": value, **TUS, "Upload-Length": str(SIZE)}
    while server.request("POST", other, fields=fields).status != 403:  # the younger of the two is over
        assert time.monotonic() < deadline
    assert told(server, target, **holds).fields["upload-offset"] == str(HAVE)
    assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds=holds).status == 201
    assert server.get(rel).body == BODY


def test_who_has_waited_too_long_learns_so_and_begins_again(tmp_path: Path) -> None:
    rest = languages.CONFIG + '[uploads]\nsessiontimeout = "1h"\n'
    interval = 'sweep_interval = "1s"\n'
    with serving.running(tmp_path, rest=rest, server=languages.SERVER + interval) as server:
        uploads = server.storage / ".hmacfs/uploads"
        rel, target = slot(server)
        age(server)
        answer = told(server, target, **TUS)
        assert answer.status in {404, 410}  # as the sweep has it
        assert server.wait_for("uploads-dropped")["dropped"] == 1
        assert told(server, target, **TUS).status == 404
        assert list(uploads.iterdir()) == []
        assert server.scrape()["hmacfs_expired_uploads_total"] == 1
        assert server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY).status == 201
        assert server.get(rel).body == BODY


def test_an_expired_upload_is_gone_until_it_is_swept_and_holds_nobody_up(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest=languages.CONFIG, server=languages.SERVER) as server:
        wire.settle(server)
        for way in ("put", "range", "tus"):
            rel, target = slot(server)
            age(server)
            for fields in (TUS, {}):
                answer = told(server, target, **fields)
                assert answer.status == 410
                assert "upload-offset" not in answer.fields
            assert refusal(patch(server, target, HAVE, b"x", holds={})) == (410, "upload_expired")
            if way == "put":
                answer = server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY)
            elif way == "range":
                answer = put(server, target, f"0-29999/{SIZE}", BODY)
            else:
                fields = {**TUS, **OCTETS, "Upload-Length": str(SIZE)}
                kind = {"Upload-Metadata": "filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt"}
                answer = server.request("POST", target, fields={**fields, **kind}, body=BODY)
            assert answer.status == 201, way
            assert server.get(rel).body == BODY


def test_the_doors_can_be_shut(tmp_path: Path) -> None:
    rest = languages.CONFIG + "[uploads]\nresumable_uploads_enabled = false\n"
    with serving.running(tmp_path, rest=rest, server=languages.SERVER) as server:
        rel = serving.fresh()
        target = serving.signed(rel, SIZE)
        broken(server, target)
        assert list((server.storage / ".hmacfs/uploads").iterdir()) == []
        assert told(server, target).status == 404
        assert patch(server, target, 0, BODY, holds={}).status == 405
        assert append(server, target, 0, BODY, ends=True, holds={}).status == 405
        assert refusal(put(server, target, f"0-29999/{SIZE}", BODY)) == (400, "range_on_put")
        assert "tus-version" not in server.request("OPTIONS", target).fields
        assert server.request("PUT", target, fields={"Content-Type": TYPE}, body=BODY).status == 201
        assert languages.create(server, 5)  # an endpoint of protocol tus is one all the same


def test_a_slow_client_loses_nothing_to_a_draining_server(tmp_path: Path) -> None:
    rest = languages.CONFIG.replace("[timeouts]", '[timeouts]\nshutdown = "1s"')
    rel = serving.fresh()
    target = serving.signed(rel, SIZE)
    with serving.running(tmp_path, rest=rest, server=languages.SERVER) as server, Wire(server) as client:
        fields = {"Content-Type": TYPE, "Expect": "100-continue"}
        client.send(serving.head("PUT", target, fields, SIZE))
        assert client.expect().status == 100
        client.send(BODY[:HAVE])
        serving.until(lambda: server.scrape()["hmacfs_active_uploads"] > 0)
        server.stop()
        assert client.expect().status == 503
    with serving.start(tmp_path, (tmp_path / "config.toml").read_text()) as server:
        assert told(server, target).fields["upload-offset"] == str(HAVE)
        assert append(server, target, HAVE, BODY[HAVE:], ends=True, holds={}).status == 201
        assert server.get(rel).body == BODY
        assert server.stop() == 0


def test_another_worker_goes_on(server: Server) -> None:
    """Each request may land on either; both see one upload, a newer one fences the older."""
    rel, target = slot(server, 0)
    at = 0
    fields = {**PART, "Upload-Complete": "?0", "Content-Type": "application/partial-upload"}
    assert append(server, target, 0, b"", ends=False, holds={}).status in {204, 404, 411}
    assert put(server, target, f"0-999/{SIZE}", BODY[:1000]).status == 204
    for at in range(1000, SIZE - 1000, 1000):
        with Wire(server) as client:
            client.send(serving.head("PATCH", target, {**fields, "Upload-Offset": str(at)}, 1000))
            client.send(BODY[at : at + 1000])
            assert client.expect().fields["upload-offset"] == str(at + 1000)
    assert append(server, target, SIZE - 1000, BODY[-1000:], ends=True, holds={}).status == 201
    assert server.get(rel).body == BODY
