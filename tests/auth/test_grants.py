"""Which dialect is chosen, what it needs, when it ends and which keys count."""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from hmacfs import auth
from hmacfs.errors import Refused
from hmacfs.model import Endpoint, Grant, Head, Secret, Slot

KEY = b"a-secret-of-this-endpoint-of-sixty-four-bytes-so-that-HS512-is-ok"
OLD = b"the-secret-that-is-being-replaced-of-sixty-four-bytes-and-even-more"
NOW = 1700000000.0
REL = "S1/hi.txt"


def endpoint(*protocols: str, keys: tuple[bytes, ...] = (KEY,), delete: bytes | None = None) -> Endpoint:
    return Endpoint(
        prefix="/upload/",
        directory="upload",
        protocols=protocols,
        secrets=tuple(Secret(key) for key in keys),
        delete_secret=None if delete is None else Secret(delete),
    )


def head(  # noqa: PLR0913 - what a request can carry
    *,
    method: str = "PUT",
    query: str = "",
    bearer: str | None = None,
    content_type: bytes | None = b"text/plain",
    length: int | None = 12,
    chunked: bool = False,
) -> Head:
    fields: dict[bytes, bytes] = {}
    if content_type is not None:
        fields[b"content-type"] = content_type
    if bearer is not None:
        fields[b"authorization"] = b"Bearer " + bearer.encode()
    return Head(
        method=method,
        target=b"/",
        path="/upload/" + REL,
        query=query,
        http10=False,
        keep_alive=True,
        fields=fields,
        length=length,
        chunked=chunked,
        expect_continue=False,
    )


def upload(request: Head, door: Endpoint, *, rel: str = REL, now: float = NOW) -> Grant:
    return auth.upload(request, Slot(endpoint=door, rel=rel, key="upload/" + rel), now=now)


def code(request: Head, door: Endpoint, *, rel: str = REL, now: float = NOW) -> str:
    with pytest.raises(Refused) as refused:
        upload(request, door, rel=rel, now=now)
    return refused.value.refusal.code


def mac(message: bytes, key: bytes = KEY) -> str:
    return hmac.digest(key, message, "sha256").hex()


def slot_token(**claims: Any) -> str:
    granted = {"exp": NOW + 300, "slot": "S1", "filename": "hi.txt", "filesize": 12, "filetype": "text/plain"}
    return jwt.encode(granted | claims, KEY, algorithm="HS256")


def go_token(algorithm: str = "HS256", key: bytes = KEY, **claims: Any) -> str:
    return jwt.encode({"exp": NOW + 300} | claims, key, algorithm=algorithm)


V = f"v={mac(b'S1/hi.txt 12')}"
MAC2 = mac(b"S1/hi.txt\x0012\x00text/plain")
V2 = f"v2={MAC2}"
TOKEN = f"token={MAC2}"
V3 = f"expires=1700000300&v3={mac(b'PUT' + bytes([10]) + b'1700000300' + bytes([10]) + b'/S1/hi.txt')}"
BAD = "0" * 64


@pytest.mark.parametrize(
    ("query", "enabled", "want"),
    [
        (V, ("v",), "v"),
        (V2, ("v2",), "v2"),
        (TOKEN, ("token",), "token"),
        (V3, ("v3",), "v3"),
        (f"{V}&{V2}", ("v", "v2"), "v2"),
        (f"{V2}&{V}&{TOKEN}&{V3}", ("v3", "token", "v"), "v"),
        (f"{V3}&{TOKEN}", ("v3", "token"), "token"),
        (f"v2={BAD}&{V}", ("v",), "v"),  # what is not enabled does not count
        (f"v2={BAD}&{V}", ("v", "v2"), "token_wrong"),  # what is enabled does
        (f"{V2}&v={BAD}", ("v", "v2"), "v2"),
        (f"v={BAD}&{TOKEN}", ("v", "token"), "token_wrong"),
        (f"token={BAD}&{V3}", ("token", "v3"), "token_wrong"),
        (f"v2={BAD}&{TOKEN}", ("v2", "token"), "token_wrong"),
        (V, ("v2",), "token_missing"),
        (V2, ("v",), "token_missing"),
        (f"v={MAC2}", ("v", "v2"), "token_wrong"),
        (V.replace("v=", "v2="), ("v", "v2"), "token_wrong"),
        (V.replace("v=", "v=%61").replace("%61", f"%{ord(V[2]):02x}", 1).replace(V[2:3], "", 1), ("v",), "v"),
        ("", ("v", "v2"), "token_missing"),
        ("", ("v", "jwt"), "jwt_missing"),
        ("", (), "token_missing"),
        (V.upper().replace("V=", "v="), ("v",), "v"),
        (f"x=1&&y&{V}&z=a=b", ("v",), "v"),
    ],
)
def test_choice_by_query(query: str, enabled: tuple[str, ...], want: str) -> None:
    request, door = head(query=query), endpoint(*enabled)
    if want in auth.DIALECTS:
        assert upload(request, door).dialect == want
    else:
        assert code(request, door) == want


def bearer_mac(*, form: int, until: int, name: str = "hi.txt", size: int = 12, user: str = "a@b") -> str:
    message = f"{user}\0{name}\0{size}\0"
    message += f"{until - 86400}\0{until}\0network_resilient" if form == 1 else f"{until - 3600}"
    return base64.b64encode(hmac.digest(KEY, message.encode(), "sha256")).decode()


UNTIL = int(NOW) + 300
USER = f"user=a%40b&expiry={UNTIL}"
MAC3 = bearer_mac(form=3, until=UNTIL)


@pytest.mark.parametrize(
    ("bearer", "enabled", "want"),
    [
        (slot_token(), ("jwt",), "jwt"),
        (slot_token(), ("jwt", "gojwt"), "jwt"),
        (slot_token(), ("gojwt", "bearer", "jwt"), "jwt"),
        (slot_token(), ("gojwt",), "jwt_wrong"),  # a token for one slot is no token for all
        (slot_token(slot="S2"), ("jwt", "gojwt"), "jwt_wrong"),
        (slot_token(), ("bearer",), "jwt_wrong"),
        (go_token(), ("gojwt",), "gojwt"),
        (go_token(), ("jwt", "gojwt"), "gojwt"),
        (go_token(), ("jwt",), "jwt_wrong"),
        (go_token("HS384"), ("gojwt",), "gojwt"),
        (go_token("HS512"), ("gojwt", "jwt"), "gojwt"),
        (go_token(key=OLD), ("gojwt",), "jwt_wrong"),
        (jwt.encode({"sub": "x"}, KEY, algorithm="HS256"), ("gojwt",), "jwt_wrong"),  # no exp
        (MAC3, ("bearer",), "bearer"),
        (MAC3, ("jwt", "gojwt", "bearer"), "bearer"),
        (MAC3, ("jwt", "gojwt"), "jwt_wrong"),
        (MAC3[:-2] + "A=", ("bearer",), "jwt_wrong"),
        ("a.b.c", ("jwt", "gojwt"), "jwt_wrong"),
        (slot_token(), ("v2",), "token_missing"),
    ],
)
def test_choice_by_authorization(bearer: str, enabled: tuple[str, ...], want: str) -> None:
    request, door = head(bearer=bearer, query=USER), endpoint(*enabled)
    if want in auth.DIALECTS:
        assert upload(request, door).dialect == want
    else:
        assert code(request, door) == want


def test_a_query_token_comes_before_a_bearer_and_there_is_no_way_back() -> None:
    door = endpoint("v", "jwt")
    assert upload(head(query=V, bearer="x"), door).dialect == "v"
    assert code(head(query=f"v={BAD}", bearer=slot_token()), door) == "token_wrong"


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"Bearer  "])
def test_the_scheme_s_case_and_blanks_do_not_matter(scheme: bytes) -> None:
    request = head()
    request.fields = {b"authorization": scheme + b" " + slot_token().encode()}
    assert upload(request, endpoint("jwt")).dialect == "jwt"


@pytest.mark.parametrize(
    ("query", "bearer", "dialect", "unsized"),
    [
        (V, None, "v", False),
        (V2, None, "v2", False),
        (TOKEN, None, "token", False),
        (V3, None, "v3", True),
        (USER, MAC3, "bearer", False),
        ("", go_token(), "gojwt", True),
    ],
)
def test_a_token_that_signs_a_length_is_judged_by_one(
    query: str, bearer: str | None, dialect: str, *, unsized: bool
) -> None:
    door = endpoint(dialect)
    chunked = head(query=query, bearer=bearer, length=None, chunked=True)
    unframed = head(query=query, bearer=bearer, length=None)
    if unsized:
        assert upload(chunked, door).size is None
        assert upload(unframed, door).size == 0
    else:
        assert code(chunked, door) == "length_required"
        assert code(unframed, door) in {"length_required", "jwt_wrong"}
    assert upload(head(query=query, bearer=bearer), door).size == 12


EMPTY = {
    "v": f"v={mac(b'S1/hi.txt 0')}",
    "v2": "v2=" + mac(b"S1/hi.txt" + bytes(1) + b"0" + bytes(1) + b"text/plain"),
    "token": "token=" + mac(b"S1/hi.txt" + bytes(1) + b"0" + bytes(1) + b"text/plain"),
}


@pytest.mark.parametrize("dialect", EMPTY)
@pytest.mark.parametrize("length", [None, 0])
def test_no_framing_is_an_empty_body(dialect: str, length: int | None) -> None:
    """RFC 9112 6.3."""
    assert upload(head(query=EMPTY[dialect], length=length), endpoint(dialect)).size == 0


def test_no_framing_is_the_empty_file_of_a_slot() -> None:
    assert upload(head(bearer=slot_token(filesize=0), length=None), endpoint("jwt")).size == 0


@pytest.mark.parametrize(
    ("length", "chunked", "want"),
    [
        (12, False, None),
        (None, True, None),
        (None, False, "length_required"),
        (11, False, "size_mismatch"),
        (13, False, "size_mismatch"),
        (0, False, "size_mismatch"),
    ],
)
def test_length_against_filesize(length: int | None, want: str | None, *, chunked: bool) -> None:
    request = head(bearer=slot_token(), length=length, chunked=chunked)
    if want is None:
        assert upload(request, endpoint("jwt")).size == 12
    else:
        assert code(request, endpoint("jwt")) == want


@pytest.mark.parametrize(
    ("claims", "want"),
    [
        ({}, Grant(dialect="jwt", size=12, content_type="text/plain")),
        ({"filesize": 12.0}, Grant(dialect="jwt", size=12, content_type="text/plain")),
        (
            {"sub": "zoë@b", "expires": 1700604800},
            Grant(dialect="jwt", size=12, content_type="text/plain", owner="zoë@b", expires=1700604800.0),
        ),
        ({"filetype": ""}, Grant(dialect="jwt", size=12, content_type=None)),
        ({"filetype": "a/b\r\nSet-Cookie: x"}, Grant(dialect="jwt", size=12, content_type=None)),
        ({"filetype": "é/b"}, Grant(dialect="jwt", size=12, content_type=None)),
        ({"filetype": "a/" + "b" * 254}, Grant(dialect="jwt", size=12, content_type=None)),
    ],
)
def test_what_a_slot_s_token_grants(claims: dict[str, Any], want: Grant) -> None:
    assert upload(head(bearer=slot_token(**claims)), endpoint("jwt")) == want


@pytest.mark.parametrize(
    ("sent", "signed", "want"),
    [
        (None, b"application/octet-stream", "application/octet-stream"),
        (b"", b"application/octet-stream", "application/octet-stream"),
        (None, b"", None),
        (b"", b"", None),
        (b" \ta/b \t", b"a/b", "a/b"),
        (b"a/b;c=d", b"a/b;c=d", "a/b;c=d"),
        (b"a/\xc3\xa9", b"a/\xc3\xa9", None),  # verifies, but cannot be served
        (b"a/b", b"", "token_wrong"),
        (b"a/b", b"application/octet-stream", "token_wrong"),
        (b"application/octet-stream", b"", "token_wrong"),
        (None, b"text/plain", "text/plain"),  # what the name suggests
        (b"", b"text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (None, b"image/png", "token_wrong"),
        (b"text/plain; charset=UTF-8", b"text/plain", "text/plain"),
        (b"text/plain;charset=x;y=z", b"text/plain", "text/plain"),
        (b"text/plain ; x", b"text/plain", "text/plain"),
        (b"text/plain", b"text/plain; charset=UTF-8", "token_wrong"),
        (b"a/b; c=d", b"text/plain", "token_wrong"),  # a type was sent, so none is guessed
        (b"; c=d", b"", None),
        (b"a/b", b"A/b", "token_wrong"),
        (b"a/b; c=d", b"a/b;c=d", "token_wrong"),
    ],
)
@pytest.mark.parametrize("dialect", ["v2", "token"])
def test_type_of_v2(dialect: str, sent: bytes | None, signed: bytes, want: str | None) -> None:
    request = head(query=f"{dialect}={mac(b'S1/hi.txt' + b'%c12%c' % (0, 0) + signed)}", content_type=sent)
    if want == "token_wrong":
        assert code(request, endpoint(dialect)) == want
    else:
        assert upload(request, endpoint(dialect)) == Grant(dialect=dialect, size=12, content_type=want)


@pytest.mark.parametrize(
    ("query", "bearer", "dialect", "until"),
    [
        ("", slot_token(exp=NOW + 300), "jwt", NOW + 300),
        ("", go_token(), "gojwt", NOW + 300),
        (V3, None, "v3", NOW + 300),
        (USER, MAC3, "bearer", NOW + 300),
        (USER, bearer_mac(form=1, until=UNTIL), "bearer", NOW + 300),
    ],
)
def test_a_token_ends_a_minute_after_its_time(
    query: str, bearer: str | None, dialect: str, until: float
) -> None:
    request, door = head(query=query, bearer=bearer), endpoint(dialect)
    assert upload(request, door, now=until + 60).size == 12
    assert code(request, door, now=until + 60.001) == "token_expired"
    assert code(request, door, now=until + 40 * 86400) == "token_expired"


@pytest.mark.parametrize(
    ("query", "bearer"),
    [
        (f"{V3.replace('v3=', 'v3=0')}", None),
        (USER, "A" + MAC3[1:] if MAC3[0] != "A" else "B" + MAC3[1:]),
        ("", slot_token()[:-2] + "AA"),
    ],
)
def test_a_wrong_token_is_not_said_to_be_expired(query: str, bearer: str | None) -> None:
    assert (
        code(head(query=query, bearer=bearer), endpoint("v3", "bearer", "jwt"), now=NOW * 2)
        != "token_expired"
    )


@pytest.mark.parametrize(("form", "lifetime"), [(1, 86400), (3, 3600)])
def test_a_bearer_lasts_no_longer_than_its_form_allows(form: int, lifetime: int) -> None:
    """The issue time is signed, and one in the future is nobody's."""
    until = int(NOW) + lifetime
    request = head(query=f"user=a@b&expiry={until}", bearer=bearer_mac(form=form, until=until))
    assert upload(request, endpoint("bearer"), now=NOW - 60).owner == "a@b"
    assert code(request, endpoint("bearer"), now=NOW - 61) == "jwt_wrong"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "user=a@b",
        f"expiry={UNTIL}",
        f"user=&expiry={UNTIL}",
        f"user=a@c&expiry={UNTIL}",
        f"user=a@b&expiry={UNTIL + 1}",
        f"user=a@b&expiry=0{UNTIL}",
        f"user=a@b&expiry=+{UNTIL}",
        f"user=a@b&expiry={UNTIL}.0",
        f"user=a@b&expiry={UNTIL}%20",
        f"user=a@b&expiry={'9' * 40}",
        f"user=a@b&expiry=-{UNTIL}",
        f"user=a@b%00hi.txt&expiry={UNTIL}",
        f"user=a@b&expiry={UNTIL}&session_id=x&resume_allowed=true".replace("a@b", "A@b"),
    ],
)
def test_a_bearer_s_query_is_exact(query: str) -> None:
    assert code(head(query=query, bearer=MAC3), endpoint("bearer")) == "jwt_wrong"


@pytest.mark.parametrize("user", ["", "a\0b", "a\n", "\x7f"])
def test_a_bearer_s_user_has_a_plain_name_even_if_signed(user: str) -> None:
    bearer = bearer_mac(form=3, until=UNTIL, user=user)
    query = f"user={quote(user)}&expiry={UNTIL}"
    assert code(head(query=query, bearer=bearer), endpoint("bearer")) == "jwt_wrong"


def test_a_bearer_has_one_spelling() -> None:
    spare = chr(ord(MAC3[-2]) + 1)  # the last character's two low bits mean nothing
    assert base64.b64decode(f"{MAC3[:-2]}{spare}=") == base64.b64decode(MAC3)
    for token in (f"{MAC3[:-2]}{spare}=", MAC3[:-1], MAC3 + "=", MAC3[:9] + "-" + MAC3[9:], MAC3 + "\xe9"):
        assert code(head(query=USER, bearer=token), endpoint("bearer")) == "jwt_wrong"


def test_no_session_no_agent_and_no_proxy_stretches_a_token() -> None:
    request = head(query=USER + "&session_id=x&resume_allowed=true&network_resilience=true", bearer=MAC3)
    request.fields = {
        **request.fields,
        b"user-agent": b"mobile client bot",
        b"x-forwarded-for": b"127.0.0.1",
        b"x-upload-session-id": b"x",
    }
    assert upload(request, endpoint("bearer"), now=UNTIL + 60).size == 12
    assert code(request, endpoint("bearer"), now=UNTIL + 61) == "token_expired"


@pytest.mark.parametrize(
    "expires", ["", "expires=&", "expires=01700000300&", "expires=%201700000300&", "expires=1700000301&"]
)
def test_v3_needs_its_signed_expiry(expires: str) -> None:
    request = head(query=V3.replace("expires=1700000300&", expires))
    assert code(request, endpoint("v3")) == "token_wrong"


KEYS = (KEY, OLD)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("dialect", auth.DIALECTS)
def test_while_a_secret_is_replaced_both_verify(dialect: str, key: bytes) -> None:
    signed = auth.sign(
        dialect, endpoint(dialect, keys=(key,)), auth.SlotRequest(REL, 12, "text/plain"), now=NOW, ttl_s=300
    )
    request = head(query=signed.query)
    request.fields = {name.lower().encode(): value.encode() for name, value in signed.fields}
    assert upload(request, endpoint(dialect, keys=KEYS)).size == 12
    assert upload(request, endpoint(dialect, keys=(b"third", *KEYS, b"fourth"))).size == 12
    assert code(request, endpoint(dialect, keys=tuple(other for other in KEYS if other != key))) in {
        "token_wrong",
        "jwt_wrong",
    }
    assert code(request, endpoint(dialect, keys=())) in {"token_wrong", "jwt_wrong"}


def test_the_newest_secret_signs() -> None:
    signed = auth.sign("v", endpoint("v", keys=KEYS), auth.SlotRequest(REL, 12, ""), now=NOW, ttl_s=300)
    assert signed.query == V


DELETE_MESSAGE = REL.encode() + b"\0other-secret"


@pytest.mark.parametrize(
    ("query", "protocols", "secret", "want"),
    [
        (f"token={mac(DELETE_MESSAGE)}", ("token",), b"other-secret", None),
        (f"token={mac(DELETE_MESSAGE, OLD)}", ("token",), b"other-secret", None),
        (f"token={mac(DELETE_MESSAGE)}", ("token",), b"another-secret", "token_wrong"),
        (f"token={mac(DELETE_MESSAGE)}", ("token",), None, "method_not_allowed"),
        (f"token={mac(DELETE_MESSAGE)}", ("v", "v2"), b"other-secret", "method_not_allowed"),
        (f"v={mac(DELETE_MESSAGE)}", ("v", "token"), b"other-secret", "token_missing"),
        (V, ("v", "token"), b"other-secret", "token_missing"),
        (TOKEN, ("token",), b"other-secret", "token_wrong"),
        (f"token={mac(REL.encode())}", ("token",), b"other-secret", "token_wrong"),
        ("", ("token",), b"other-secret", "token_missing"),
    ],
)
def test_delete(query: str, protocols: tuple[str, ...], secret: bytes | None, want: str | None) -> None:
    door = endpoint(*protocols, keys=KEYS, delete=secret)
    slot = Slot(endpoint=door, rel=REL, key="upload/" + REL)
    request = head(method="DELETE", query=query, length=None)
    if want is None:
        auth.delete(request, slot, now=NOW)
        return
    with pytest.raises(Refused) as refused:
        auth.delete(request, slot, now=NOW)
    assert refused.value.refusal.code == want
    assert refused.value.refusal.status != 405 or any(name == "Allow" for name, _ in refused.value.fields)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "OPTIONS"])
def test_a_delete_s_token_deletes_only_by_delete(method: str) -> None:
    door = endpoint("token", delete=b"other-secret")
    request = head(method=method, query=f"token={mac(DELETE_MESSAGE)}")
    with pytest.raises(Refused) as refused:
        auth.delete(request, Slot(endpoint=door, rel=REL, key=REL), now=NOW)
    assert refused.value.refusal.code == "method_not_allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_form_is_only_posted(method: str) -> None:
    with pytest.raises(Refused) as refused:
        auth.form(head(method=method, query=USER, bearer=FORM3, length=400), endpoint("bearer"), now=NOW)
    assert refused.value.refusal.code == "method_not_allowed"


def test_a_delete_s_token_is_no_upload_s() -> None:
    door = endpoint("token", "v2", "v", delete=b"other-secret")
    for name in ("token", "v2", "v"):
        assert code(head(query=f"{name}={mac(DELETE_MESSAGE)}"), door) == "token_wrong"


FORM3 = bearer_mac(form=3, until=UNTIL, name="upload", size=400)
FORM1 = bearer_mac(form=1, until=UNTIL, name="upload", size=400)
ALL_FORMS = ("bearer", "gojwt")


@pytest.mark.parametrize(
    ("bearer", "length", "protocols", "want"),
    [
        (FORM3, 400, ("bearer",), Grant(dialect="bearer", size=None, content_type=None, owner="a@b")),
        (FORM1, 400, ALL_FORMS, Grant(dialect="bearer", size=None, content_type=None, owner="a@b")),
        (FORM3, 401, ("bearer",), "jwt_wrong"),
        (FORM3, None, ("bearer",), "length_required"),
        (MAC3, 12, ("bearer",), "jwt_wrong"),
        (FORM3, 400, ("gojwt",), "jwt_wrong"),
        (
            go_token(sub="a@b"),
            400,
            ("gojwt",),
            Grant(dialect="gojwt", size=None, content_type=None, owner="a@b"),
        ),
        (go_token(), None, ALL_FORMS, Grant(dialect="gojwt", size=None, content_type=None)),
        (go_token(exp=NOW - 61), 400, ("gojwt",), "token_expired"),
        (go_token(), 400, ("bearer",), "jwt_wrong"),
        (slot_token(), 400, ("gojwt",), "jwt_wrong"),
        (slot_token(), 400, ("gojwt", "jwt"), "jwt_wrong"),
        (slot_token(), 400, ("jwt",), "jwt_wrong"),
        (None, 400, ALL_FORMS, "jwt_missing"),
        (None, 400, ("v", "v2", "token"), "token_missing"),
    ],
)
def test_form(bearer: str | None, length: int | None, protocols: tuple[str, ...], want: Grant | str) -> None:
    request = head(method="POST", query=USER, bearer=bearer, length=length, chunked=length is None)
    if isinstance(want, Grant):
        assert auth.form(request, endpoint(*protocols), now=NOW) == want
        return
    with pytest.raises(Refused) as refused:
        auth.form(request, endpoint(*protocols), now=NOW)
    assert refused.value.refusal.code == want


@pytest.mark.parametrize("protocol", ["v", "v2", "token"])
def test_a_form_takes_no_query_token(protocol: str) -> None:
    request = head(method="POST", query=f"{V}&{V2}&{TOKEN}")
    with pytest.raises(Refused) as refused:
        auth.form(request, endpoint(protocol), now=NOW)
    assert refused.value.refusal.code == "token_missing"
