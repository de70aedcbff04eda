"""Every published vector verifies, or is refused if its id says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from hmacfs import auth
from hmacfs.errors import BAD_PATH, JWT_WRONG, TOKEN_MISSING, TOKEN_WRONG, Refusal, Refused
from hmacfs.model import Endpoint, Grant, Head, Secret, Slot

VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "tokens.json").read_text("utf-8"))
}
ORIGINAL = ("v2", "v", "token", "v3", "bearer", "gojwt")
JWT_NOW = 1700000100.0
BEARER_NOW = 1717808000.0


def endpoint(vector: dict[str, Any], *protocols: str, prefix: str = "/upload/") -> Endpoint:
    deletes = vector.get("delete_secret")
    return Endpoint(
        prefix=prefix,
        directory="",
        protocols=protocols,
        secrets=(Secret(vector["secret"].encode()),),
        delete_secret=Secret(deletes.encode()) if deletes else None,
    )


def head_of(request: str) -> Head:
    lines = request.replace("\\r\\n", "\r\n").split("\r\n")
    method, target, *_ = lines[0].split(" ")
    path, _, query = target.partition("?")
    fields: dict[bytes, bytes] = {}
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            fields[name.lower().encode()] = value.strip().encode()
    length = fields.get(b"content-length")
    return Head(
        method=method,
        target=target.encode(),
        path=unquote(path),
        query=query,
        http10=False,
        keep_alive=True,
        fields=fields,
        length=None if length is None else int(length),
        chunked=False,
        expect_continue=False,
    )


def ask(vector: dict[str, Any], request: str, *protocols: str, prefix: str, now: float) -> Grant:
    door = endpoint(vector, *protocols, prefix=prefix)
    head = head_of(request)
    rel = head.path.removeprefix(prefix)
    return auth.upload(head, Slot(endpoint=door, rel=rel, key=rel), now=now)


@pytest.mark.parametrize(
    ("name", "dialect", "content_type"),
    [
        ("P1 v", "v", None),
        ("P1 v2", "v2", "text/plain"),
        ("P2 v", "v", None),
        ("P2 v2", "v2", "image/jpeg"),
        ("P3 v", "v", None),
        ("P3 v2", "v2", "application/octet-stream"),
        ("P4 v2 content-type with parameter (go-sendxmpp)", "v2", "text/plain; charset=utf-8"),
        ("P5 v2 empty content-type attribute (Converse, unknown file.type)", "v2", None),
        ("M1 Metronome token (PUT)", "token", "image/png"),
        ("E1 ejabberd v", "v", None),
        ("E2 ejabberd v", "v", None),
    ],
)
def test_a_server_s_url_is_granted(name: str, dialect: str, content_type: str | None) -> None:
    vector = VECTORS[name]
    grant = ask(vector, vector["request"], dialect, prefix="/upload/", now=JWT_NOW)
    assert grant == Grant(dialect=dialect, size=vector["size"], content_type=content_type)


@pytest.mark.parametrize("name", ["J1 Prosody 0.12", "J2 Prosody 13"])
def test_prosody_s_jwt_is_granted(name: str) -> None:
    vector = VECTORS[name]
    claims = vector["claims"]
    assert ask(vector, vector["request"], "jwt", prefix="/share/", now=JWT_NOW) == Grant(
        dialect="jwt",
        size=claims["filesize"],
        content_type=claims["filetype"],
        owner=claims["sub"],
        expires=claims["expires"],
    )


TEXT = "Content-Type: text/plain; charset=utf-8"
HI = "PUT /x/hi.txt?user=alice@example.org&expiry=1717808400\r\nContent-Length: 12\r\nAuthorization: Bearer "
FILE = "PUT /a1b2/file.txt?"
KIB = "\r\nContent-Length: 1024\r\n" + TEXT


@pytest.mark.parametrize(
    ("name", "before", "after", "want"),
    [
        (
            "P0 README example",
            "PUT /foo/bar.jpg?v=",
            "\r\nContent-Length: 1048576",
            Grant(dialect="v", size=1048576, content_type=None),
        ),
        ("O1 v", FILE + "v=", KIB, Grant(dialect="v", size=1024, content_type=None)),
        (
            "O2 v2/token, type from extension table",
            FILE + "v2=",
            KIB,
            Grant(dialect="v2", size=1024, content_type="text/plain; charset=utf-8"),
        ),
        (
            "O5 v3 standard",
            FILE + "expires=1717804800&v3=",
            KIB,
            Grant(dialect="v3", size=1024, content_type=None),
        ),
        (
            "O8 bearer network_resilient",
            HI,
            "",
            Grant(dialect="bearer", size=12, content_type=None, owner="alice@example.org"),
        ),
        (
            "O10 bearer standard",
            HI,
            "",
            Grant(dialect="bearer", size=12, content_type=None, owner="alice@example.org"),
        ),
        ("O3 v2/token fallback without type (REFUSE)", FILE + "v2=", KIB, TOKEN_WRONG),
        ("O3 v2/token fallback without type (REFUSE)", FILE + "token=", KIB, TOKEN_WRONG),
        ("O3 v2/token fallback without type (REFUSE)", FILE + "v2=", KIB.removesuffix(TEXT), TOKEN_WRONG),
        ("O4 v/v2/token path-only fallback (REFUSE)", FILE + "v=", KIB, TOKEN_WRONG),
        ("O4 v/v2/token path-only fallback (REFUSE)", FILE + "v2=", KIB, TOKEN_WRONG),
        ("O4 v/v2/token path-only fallback (REFUSE)", FILE + "token=", KIB, TOKEN_WRONG),
        ("O6 v3 simplified, no expiry (REFUSE)", FILE + "v3=", KIB, TOKEN_WRONG),
        ("O6 v3 simplified, no expiry (REFUSE)", FILE + "expires=1717808400&v3=", KIB, TOKEN_WRONG),
        ("O6 v3 simplified, no expiry (REFUSE)", FILE + "expires=&v3=", KIB, TOKEN_WRONG),
        ("O9 bearer session", HI.replace("expiry", "session_id=sess1&expiry"), "", JWT_WRONG),
        ("O11 bearer simple (REFUSE: never expires)", HI, "", JWT_WRONG),
        ("O12 bearer user-only (REFUSE: any file)", HI, "", JWT_WRONG),
    ],
)
def test_the_go_server_s_forms(name: str, before: str, after: str, want: Grant | Refusal) -> None:
    vector = VECTORS[name]
    now = 1717804700.0 if "v3" in name else BEARER_NOW
    request = before + vector["token"] + after
    if isinstance(want, Grant):
        assert ask(vector, request, *ORIGINAL, prefix="/", now=now) == want
        return
    with pytest.raises(Refused) as refused:
        ask(vector, request, *ORIGINAL, prefix="/", now=now)
    assert refused.value.refusal == want


def test_a_constant_x_signature_opens_no_form() -> None:
    vector = VECTORS["O7 X-Signature for POST /upload (REFUSE: constant)"]
    head = head_of(vector["request"] + "\r\nContent-Length: 99")
    with pytest.raises(Refused) as refused:
        auth.form(head, endpoint(vector, "v2", "v"), now=BEARER_NOW)
    assert refused.value.refusal == TOKEN_MISSING


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("O") and "bearer" in name])
def test_a_put_s_bearer_opens_no_form(name: str) -> None:
    """The form's own last segment is signed, and none of these signs it."""
    vector = VECTORS[name]
    head = head_of(vector["request"] + "\r\nContent-Length: 12")
    with pytest.raises(Refused) as refused:
        auth.form(head, endpoint(vector, *ORIGINAL), now=BEARER_NOW)
    assert refused.value.refusal == JWT_WRONG


def test_metronome_s_delete() -> None:
    vector = VECTORS["M2 Metronome token (DELETE)"]
    door = endpoint(vector, "token")
    head = head_of(vector["request"])
    auth.delete(head, Slot(endpoint=door, rel=vector["rel_path"], key="k"), now=JWT_NOW)
    with pytest.raises(Refused) as refused:
        auth.delete(head, Slot(endpoint=door, rel=vector["rel_path"] + "x", key="k"), now=JWT_NOW)
    assert refused.value.refusal == TOKEN_WRONG


def test_a_v2_token_does_not_become_a_v_token_of_another_size() -> None:
    vector = VECTORS["X1 v2-to-v confusion (MUST be refused)"]
    for protocols in (("v",), ("v2", "v")):
        with pytest.raises(Refused) as refused:
            ask(vector, vector["request"], *protocols, prefix="/upload/", now=JWT_NOW)
        assert refused.value.refusal == BAD_PATH


def test_every_vector_is_used_here() -> None:
    source = Path(__file__).read_text("utf-8")
    assert [name for name in VECTORS if f'"{name}"' not in source and "bearer" not in name] == []
