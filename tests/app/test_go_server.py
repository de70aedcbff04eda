"""The Go server's doors: which paths they have, which forms they take, which JSON they answer."""

from __future__ import annotations

import json

import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs.app import go_server
from hmacfs.app.routing import Resource, Router
from hmacfs.errors import Refused
from hmacfs.model import Endpoint, Head, Secret


def endpoint(prefix: str, directory: str, *protocols: str) -> Endpoint:
    return Endpoint(prefix=prefix, directory=directory, protocols=protocols, secrets=(Secret(b"k"),))


PLAIN = endpoint("/upload/", "upload", "v2", "v")
JWT = endpoint("/share/", "share", "jwt")
GO = endpoint("/files/", "files", "v3", "gojwt")
BEARER = endpoint("/b/", "b", "bearer")


def request(content_type: bytes | None) -> Head:
    return Head(
        method="POST",
        target=b"/upload",
        path="/upload",
        query="",
        http10=False,
        keep_alive=True,
        fields={} if content_type is None else {b"content-type": content_type},
        length=0,
        chunked=False,
        expect_continue=False,
    )


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/download/upload/a/b.png", "upload/a/b.png"),
        ("/download/files/x", "files/x"),
        ("/download", None),
        ("/downloads/files/x", None),
        ("/upload/a", None),
    ],
)
def test_downloads_name_a_path_below_the_storage(path: str, key: str | None) -> None:
    route = Router((PLAIN, GO), chunked_uploads=True).resolve(head(f"GET {path}"))
    assert (route.resource is Resource.DOWNLOAD) is (key is not None)
    assert key is None or route.file().key == key


@pytest.mark.parametrize("path", ["/download/", "/download/upload", "/download/other/x", "/download/upload/"])
def test_downloads_of_nothing(path: str) -> None:
    route = Router((PLAIN, GO), chunked_uploads=True).resolve(head(f"GET {path}"))
    assert route.resource is Resource.DOWNLOAD
    with pytest.raises(Refused) as caught:
        route.file()
    assert caught.value.refusal is errors.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "endpoints", "taker"),
    [
        ("/upload", (PLAIN, GO, BEARER), GO),
        ("/upload", (PLAIN, JWT, BEARER), BEARER),
        ("/upload", (PLAIN, JWT), None),
        ("/upload", (), None),
        ("/upload/", (GO,), None),
        ("/files/", (GO,), None),
    ],
)
def test_forms_need_an_endpoint_made_for_them(
    path: str, endpoints: tuple[Endpoint, ...], taker: Endpoint | None
) -> None:
    route = Router(endpoints, chunked_uploads=True).resolve(head(f"POST {path}"))
    assert (route.endpoint if route.resource is Resource.FORM else None) == taker


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", "abc"),
        (b"Multipart/Form-Data;boundary=abc", "abc"),
        (b'multipart/form-data; charset=utf-8; boundary="a b:c"', "a b:c"),
        (b"multipart/form-data; BOUNDARY=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"),
    ],
)
def test_the_boundary_of_a_form(content_type: bytes, boundary: str) -> None:
    assert go_server.boundary(request(content_type)) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"multipart/form-data",
        b"multipart/form-data; boundary",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/mixed; boundary=a",
        b"application/x-www-form-urlencoded",
        b"boundary=a",
    ],
)
def test_what_is_no_form(content_type: bytes | None) -> None:
    with pytest.raises(Refused) as caught:
        go_server.boundary(request(content_type))
    assert caught.value.refusal is errors.TYPE_UNSUPPORTED


@given(st.binary(max_size=80).map(lambda tail: b"multipart/form-data; boundary=" + tail))
def test_any_field_has_a_boundary_or_is_refused(content_type: bytes) -> None:
    try:
        assert go_server.boundary(request(content_type))
    except Refused as refused:
        assert refused.refusal is errors.TYPE_UNSUPPORTED  # noqa: PT017 - one of two fine outcomes


@pytest.mark.parametrize("owner", ["", "romeo@montague.example"])
def test_the_answer_to_a_form(owner: str) -> None:
    stored = go_server.GoUploadReply(path="files/ä.png", name="ä.png", size=3, owner=owner, seconds=0.25)
    reply = go_server.form_reply(stored, client="192.0.2.1:4242", now=1234.5)
    (content,) = reply.pieces
    assert isinstance(content, bytes)
    told = json.loads(content)
    assert told == {
        "success": True,
        "filename": "ä.png",
        "size": 3,
        "duration": "0.250000s",
        "client_ip": "192.0.2.1",
        "timestamp": 1234,
        **({"user": owner} if owner else {}),
    }
    assert (reply.status, reply.length) == (200, len(content))


def test_the_answer_to_a_put() -> None:
    key = "files/x/a b%41?"
    reply = go_server.put_reply(
        go_server.GoUploadReply(path=key, name="a b%41?", size=3, owner="", seconds=1.0)
    )
    (content,) = reply.pieces
    assert isinstance(content, bytes)
    told = json.loads(content)
    assert (told["filename"], told["size"]) == ("a b%41?", 3)
    asked = head(f"GET {told['url']}")
    assert Router((PLAIN, GO), chunked_uploads=True).resolve(asked).file().key == key
    assert dict(reply.fields)["Content-Type"] == "application/json"
