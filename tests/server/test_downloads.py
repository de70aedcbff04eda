"""Downloads: ranges and conditions beside nginx on the same tree, safe fields, types and expiry."""

from __future__ import annotations

import email
import email.utils
import http.client
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import plain_nginx
import pytest
import serving
import wire

from hmacfs.auth import jose
from hmacfs.model import GiB, KiB, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Answer, Server

SIZE = 1000
CONTENT = bytes(number % 251 for number in range(SIZE))
HUGE = 5 * GiB
MARKS = {4 * GiB - 3: b"across", HUGE - 4: b"last"}
HOUR_S = 3600
FILES = {"f.bin": CONTENT, "empty.bin": b""}
JWT = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("downloads"), rest=JWT) as server:
        adopted = server.storage / "upload" / "adopted"
        adopted.mkdir(parents=True)
        for name, content in FILES.items():
            (adopted / name).write_bytes(content)
        with (adopted / "huge.bin").open("wb") as file:
            file.truncate(HUGE)
            for start, mark in MARKS.items():
                file.seek(start)
                file.write(mark)
        yield server
        wire.settle(server)


@pytest.fixture(scope="module")
def nginx(
    server: Server, program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with plain_nginx.files(program("nginx"), tmp_path_factory.mktemp("nginx"), server.storage) as address:
        yield address


@dataclass(frozen=True)
class Got:
    """What of an answer two servers should agree on."""

    status: int
    content_range: str | None
    body: bytes | None
    parts: tuple[tuple[str, bytes], ...] = ()


def ask(address: str, path: str, fields: dict[str, str], method: str = "GET") -> Got:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request(method, f"/upload/adopted/{path}", headers=fields)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert len(body) == (
        0 if method == "HEAD" or answer.status == 304 else int(answer.headers["content-length"])
    )
    kind, content_range = answer.headers["content-type"] or "", answer.headers["content-range"]
    if kind.startswith("multipart/byteranges") and method == "GET":
        return Got(answer.status, content_range, None, parts(kind, body))
    return Got(answer.status, content_range, body if answer.status < 300 else None)


def parts(kind: str, body: bytes) -> tuple[tuple[str, bytes], ...]:
    whole = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    assert whole.is_multipart()
    assert not whole.defects
    found = []
    for part in whole.get_payload():
        assert isinstance(part, email.message.Message)
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((str(part["content-range"]), payload))
    return tuple(found)


def spaced(count: int, step: int) -> str:
    return "bytes=" + ",".join(f"{n * step}-{n * step}" for n in range(count))


RANGES = (
    *("bytes=0-0", "bytes=0-", "bytes=0-999", "bytes=0-9999", "bytes=1-", "bytes=999-", "bytes=999-999"),
    *("bytes=-1", "bytes=-0", "bytes=-999", "bytes=-1000", "bytes=-5000", "bytes=1000-", "bytes=1001-1002"),
    *("bytes=", "lines=0-1", "BYTES=0-1", "bytes = 0-1", "bytes= 0-1", "bytes=0-1 ", "bytes=00-01"),
    *("bytes=0-1,500-600", "bytes=500-600,0-1", "bytes=0-1, 2000-3000", "bytes=2000-3000,0-1", "bytes=0-,0-"),
    *("bytes=2000-,3000-", "bytes=0-599,300-999", "bytes=0-10,200-210,100-110", "bytes=-1,0-0"),
    *("bytes=-01", spaced(17, 50), "bytes=18446744073709551616-", "bytes=9223372036854775807-"),
)  # fmt: skip

# Where we differ from nginx 1.22 on purpose: (our status, its status).
IGNORED = "what RFC 9110 14.1.1 does not allow is ignored (14.2), where nginx refuses"
UNLIKE_NGINX = {
    "bytes=5-3": ((200, 416), IGNORED),
    "bytes=-": ((200, 416), IGNORED),
    "bytes=abc": ((200, 416), IGNORED),
    "bytes=1": ((200, 416), IGNORED),
    "bytes=1-2;": ((200, 416), IGNORED),
    "bytes=+1-2": ((200, 416), IGNORED),
    "bytes=0x1-2": ((200, 416), IGNORED),
    "bytes=1--2": ((200, 416), IGNORED),
    "bytes=0-1,abc": ((200, 416), IGNORED),
    "bytes=0 - 1": ((200, 206), "no white space inside of a range (14.1.1)"),
    "bytes=0-1,500-400": ((200, 206), "one range that is none makes the field none (14.1.1)"),
    "bytes=0-1,,500-600": ((206, 416), "empty list elements are allowed (5.6.1.2)"),
    "bytes=0-1\t,500-600": ((206, 416), "a tab is white space too (5.6.3)"),
    "bytes=0-18446744073709551616": ((206, 416), "a last position beyond the end means the end (14.1.2)"),
    "bytes=-18446744073709551616": ((206, 416), "a suffix longer than the file is the whole (14.1.3)"),
    "bytes=0-1,5-6": ((206, 206), "near ranges are joined (15.3.7.2)"),
    "bytes=0-499,500-999": ((200, 206), "adjacent ranges that come to the whole file are the whole"),
    spaced(16, 60): ((206, 206), "near ranges are joined (15.3.7.2)"),
}


@pytest.mark.parametrize("value", RANGES)
@pytest.mark.parametrize("path", FILES)
def test_ranges_as_nginx(server: Server, nginx: str, path: str, value: str) -> None:
    if path == "empty.bin" and value == "bytes=-0":
        return  # nginx: 200; nothing of nothing is 416 here, as RFC 9110 14.1.3 has it
    ours = ask(f"{server.host}:{server.port}", path, {"Range": value})
    assert ours == ask(nginx, path, {"Range": value})


@pytest.mark.parametrize("value", UNLIKE_NGINX)
def test_ranges_unlike_nginx(server: Server, nginx: str, value: str) -> None:
    ours, theirs = (
        ask(f"{server.host}:{server.port}", "f.bin", {"Range": value}),
        ask(nginx, "f.bin", {"Range": value}),
    )
    assert (ours.status, theirs.status) == UNLIKE_NGINX[value][0]
    assert ours != theirs, "no difference any more"
    if ours.status == 200:
        assert ours.body == CONTENT
    for content_range, data in ours.parts or ((ours.content_range or "bytes 0-999/1000", ours.body),):
        start, _, stop = content_range.removeprefix("bytes ").removesuffix("/1000").partition("-")
        assert data == CONTENT[int(start) : int(stop) + 1]


@pytest.mark.parametrize(
    "value",
    [
        f"bytes={4 * GiB - 3}-{4 * GiB + 2}",
        f"bytes={4 * GiB}-{4 * GiB + 10}",
        f"bytes={HUGE - 4}-",
        "bytes=-4",
        "bytes=-100000",
        f"bytes={HUGE}-",
        f"bytes={HUGE - 1}-{HUGE * 2}",
        f"bytes=0-3,{4 * GiB - 3}-{4 * GiB + 2},-4",
        f"bytes={4 * GiB - 100_000}-{4 * GiB + 3_000_000}",
    ],
)
def test_ranges_of_a_huge_file(server: Server, nginx: str, value: str) -> None:
    ours = ask(f"{server.host}:{server.port}", "huge.bin", {"Range": value})
    assert ours == ask(nginx, "huge.bin", {"Range": value})
    assert ours.status in {206, 416}


def test_a_huge_file_tells_its_size(server: Server, nginx: str) -> None:
    for address in (f"{server.host}:{server.port}", nginx):
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("HEAD", "/upload/adopted/huge.bin")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-length"]) == (200, str(HUGE))
        connection.close()


PAST, FUTURE = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 06 Nov 2099 08:49:37 GMT"
# {E} and {M} stand for each server's own ETag and Last-Modified.
CONDITIONS = (
    {"If-None-Match": "{E}"},
    {"If-None-Match": "W/{E}"},
    {"If-None-Match": '"x", {E}'},
    {"If-None-Match": '"x"'},
    {"If-None-Match": "*"},
    {"If-None-Match": '"x"', "If-Modified-Since": "{M}"},
    {"If-Modified-Since": "{M}"},
    {"If-Modified-Since": PAST},
    {"If-Modified-Since": "no date"},
    {"If-Match": "{E}"},
    {"If-Match": '"x", {E}'},
    {"If-Match": '"x"'},
    {"If-Match": "*"},
    {"If-Match": "W/{E}"},
    {"If-Unmodified-Since": "{M}"},
    {"If-Unmodified-Since": PAST},
    {"If-Unmodified-Since": FUTURE},
    {"If-Match": "{E}", "If-None-Match": "{E}"},
    {"If-Range": "{E}", "Range": "bytes=0-9"},
    {"If-Range": "W/{E}", "Range": "bytes=0-9"},
    {"If-Range": '"x"', "Range": "bytes=0-9"},
    {"If-Range": "{M}", "Range": "bytes=0-9"},
    {"If-Range": PAST, "Range": "bytes=0-9"},
    {"If-Range": FUTURE, "Range": "bytes=0-9"},
    {"If-Range": "{E}", "Range": "bytes=2000-"},
    {"If-Range": '"x"', "Range": "bytes=2000-"},
    {"If-Range": "{E}"},
    {"If-None-Match": "{E}", "Range": "bytes=0-9"},
    {"If-Match": '"x"', "Range": "bytes=0-9"},
    {"If-Match": "{E}", "Range": "bytes=0-9,500-509"},
    {"If-Modified-Since": "{M}", "Range": "bytes=2000-"},
)  # fmt: skip

# (fields, our status, its status) where we differ on purpose.
UNLIKE_NGINX_CONDITIONS = (
    ({"If-Modified-Since": FUTURE}, 304, 200),  # a later date counts too (13.1.3); nginx wants the same one
    ({"If-None-Match": "{E}", "If-Modified-Since": PAST}, 304, 200),  # the tag decides alone (13.2.2)
)


def resolved(fields: dict[str, str], address: str, method: str) -> Got:
    """Ask with this server's own validators."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("HEAD", "/upload/adopted/f.bin")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    tag, date = answer.headers["etag"], answer.headers["last-modified"]
    named = {name: value.replace("{E}", tag).replace("{M}", date) for name, value in fields.items()}
    return ask(address, "f.bin", named, method)


@pytest.mark.parametrize("fields", CONDITIONS, ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_as_nginx(server: Server, nginx: str, method: str, fields: dict[str, str]) -> None:
    ours = resolved(fields, f"{server.host}:{server.port}", method)
    theirs = resolved(fields, nginx, method)
    if method == "HEAD" and theirs.status in {206, 416}:
        assert ours == Got(200, None, b"")  # RFC 9110 14.2: Range is for GET alone
    else:
        assert ours == theirs


@pytest.mark.parametrize(("fields", "ours", "theirs"), UNLIKE_NGINX_CONDITIONS)
def test_conditions_unlike_nginx(
    server: Server, nginx: str, fields: dict[str, str], ours: int, theirs: int
) -> None:
    assert resolved(fields, f"{server.host}:{server.port}", "GET").status == ours
    assert resolved(fields, nginx, "GET").status == theirs


@pytest.mark.parametrize(
    ("asked", "weighed"),
    [
        ({}, set()),
        # The fields that a browser weighs in this very answer, if a script asks with If-None-Match.
        (
            {"Origin": "https://chat.example"},
            {"access-control-allow-origin", "access-control-expose-headers"},
        ),
    ],
)
def test_a_304_has_what_refreshes_a_200_and_no_more(
    server: Server, asked: dict[str, str], weighed: set[str]
) -> None:
    """RFC 9110 15.4.5: nothing else that describes the file, since a cache has it."""
    whole = server.get("adopted/f.bin", **asked)
    fresh = server.get("adopted/f.bin", If_None_Match=whole.fields["etag"], **asked)
    assert (fresh.status, fresh.body) == (304, b"")
    for name in {"etag", "cache-control"} | weighed:
        assert fresh.fields[name] == whole.fields[name]
    assert set(fresh.fields) == {"date", "etag", "cache-control", "x-request-id"} | weighed


def upload(server: Server, name: str, content_type: str, body: bytes = b"<svg/>") -> Answer:
    rel = serving.fresh(name)
    assert server.put(rel, body, content_type).status == 201
    answer = server.get(rel)
    assert (answer.status, answer.body) == (200, body)
    return answer


HOSTILE = [
    ("x.svg", "image/svg+xml"),
    ("x.SVG", "image/svg+xml; charset=utf-8"),
    ("x.html", "text/html"),
    ("x.html", "text/html; charset=utf-7"),
    ("x.xhtml", "application/xhtml+xml"),
    ("x.xml", "text/xml"),
    ("x.xml", "application/rdf+xml"),
    ("x.js", "text/javascript"),
    ("x.pdf", "application/pdf"),
    ("x.css", "text/css"),
    ("x.png", "text/html"),
    ("x.swf", "application/x-shockwave-flash"),
    ("x.mht", "multipart/related"),
    ("x", "text/html"),
    ("x", "TEXT/HTML"),
    ("x", "image/svg+xml;a=b"),
    ("x", "not a type"),
]


@pytest.mark.parametrize(("name", "content_type"), HOSTILE)
def test_hostile_content_is_saved_and_not_shown(server: Server, name: str, content_type: str) -> None:
    answer = upload(server, name, content_type)
    assert answer.fields["content-disposition"].startswith("attachment;")
    assert answer.fields["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert answer.fields["x-content-type-options"] == "nosniff"
    assert answer.fields["cross-origin-resource-policy"] == "cross-origin"
    assert answer.fields["cache-control"].startswith("public, max-age=")
    assert "immutable" in answer.fields["cache-control"]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("x.png", "image/png"), ("x.mp4", "video/mp4"), ("x.ogg", "audio/ogg"), ("x.txt", "text/plain")],
)
def test_media_is_shown(server: Server, name: str, content_type: str) -> None:
    answer = upload(server, name, content_type)
    assert answer.fields["content-disposition"].startswith("inline;")
    policy = answer.fields["content-security-policy"]
    assert policy.startswith("default-src 'none'; frame-ancestors 'none'; sandbox")
    assert "script" not in policy
    assert answer.fields["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "content_type", ["image/x-odd", "application/vnd.a+b; v=1", "text/plain; charset=koi8-r"]
)
def test_the_signed_type_is_served(server: Server, content_type: str) -> None:
    answer = upload(server, "misleading.mp4", content_type)
    assert answer.fields["content-type"] == content_type


def test_adopted_files_have_the_type_of_their_name(server: Server) -> None:
    directory = server.storage / "upload" / "by-name"
    directory.mkdir()
    names = {
        "a.jpg": "image/jpeg",
        "b.html": "text/html",
        "c": "application/octet-stream",
        "d é+%.png": "image/png",
    }
    for name, content_type in names.items():
        (directory / name).write_bytes(name.encode())
        answer = server.get(f"by-name/{name}")
        assert (answer.status, answer.body) == (200, name.encode())
        assert answer.fields["content-type"] == content_type
        assert answer.fields["content-disposition"].endswith(f"filename*=UTF-8''{quote(name, safe='+')}")


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "socket"])
def test_only_files_are_served(server: Server, kind: str) -> None:
    place = server.storage / "upload" / f"a {kind}"
    match kind:
        case "directory":
            place.mkdir()
        case "fifo":
            os.mkfifo(place)
        case "link":
            place.symlink_to("adopted/f.bin")
        case _:
            os.mknod(place, 0o140600)  # S_IFSOCK
    try:
        assert server.get(place.name).status == 404
    finally:
        place.rmdir() if kind == "directory" else place.unlink()


def share(server: Server, expires: float | None) -> str:
    """Upload with Prosody's token, which may say when the file must be gone; give the path."""
    rel, now = serving.fresh("shared.txt"), time.time()
    slot, _, name = rel.partition("/")
    claims: dict[str, object] = {"slot": slot, "filename": name, "filesize": 5, "filetype": "text/plain"}
    claims |= {"iat": int(now), "exp": int(now + 300)}
    if expires is not None:
        claims["expires"] = int(now + expires)
    token = jose.sign(claims, Secret(serving.SECRET.encode()))
    fields = {"Authorization": f"Bearer {token}"}
    answer = server.request("PUT", f"/share/{rel}", fields=fields, body=b"hello")
    assert answer.status == 201
    return f"/share/{rel}"


def max_age(answer: Answer) -> int:
    return int(answer.fields["cache-control"].partition("max-age=")[2].partition(",")[0])


def test_a_token_says_when_its_file_is_gone(server: Server) -> None:
    path = share(server, 2 * HOUR_S)
    assert 2 * HOUR_S - 60 < max_age(server.request("GET", path)) <= 2 * HOUR_S
    assert max_age(server.request("GET", share(server, None))) > 300 * 24 * HOUR_S


def test_an_expired_file_is_gone_at_once(server: Server) -> None:
    """Whether or not the sweeper has been there: nobody reads it, and no cache is told to keep it."""
    path = share(server, 2)
    deadline = time.monotonic() + serving.PATIENCE_S
    while (answer := server.request("GET", path)).status == 200:
        assert answer.fields["cache-control"] == "no-store" or max_age(answer) <= 2
        assert time.monotonic() < deadline
    assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found")
    assert server.request("HEAD", path).status == 404


def test_file_ttl(tmp_path_factory: pytest.TempPathFactory) -> None:
    where = tmp_path_factory.mktemp("ttl")
    adopted = where / "store" / "upload" / "old"
    adopted.mkdir(parents=True)
    for name, age in {"aged.bin": 2 * HOUR_S, "young.bin": HOUR_S // 2}.items():
        (adopted / name).write_bytes(b"x" * KiB)
        os.utime(adopted / name, (time.time() - age,) * 2)
    with serving.running(where, server='file_ttl = "1h"\nsweep_interval = "1s"\n', rest=JWT) as server:
        assert server.get("old/aged.bin").status == 404
        assert 0 < max_age(server.get("old/young.bin")) <= HOUR_S // 2
        assert server.put("new/file.bin", b"new").status == 201
        assert HOUR_S - 60 < max_age(server.get("new/file.bin")) <= HOUR_S
        # What the token says goes before the site's rule.
        assert max_age(server.request("GET", share(server, 3 * HOUR_S))) > 2 * HOUR_S
        server.wait_for("sweep-done", removed=1)
        assert "upload/old/aged.bin" not in server.files()
        assert "upload/old/young.bin" in server.files()
