"""What is signed verifies, and nothing but what is signed does."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hmacfs import auth
from hmacfs.errors import Refused
from hmacfs.model import Endpoint, Grant, Head, Secret, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1700000000.0
ENDPOINT = Endpoint(
    prefix="/upload/",
    directory="upload",
    protocols=auth.DIALECTS,
    secrets=(Secret(b"a-secret-of-this-endpoint-32-bytes"),),
)

DIALECTS = st.sampled_from(auth.DIALECTS)
TEXT = st.characters(exclude_categories=("Cc", "Cs"))
SEGMENTS = st.text(TEXT.filter(lambda character: character != "/"), min_size=1, max_size=40)
RELS = st.builds("/".join, st.lists(SEGMENTS, min_size=2, max_size=3))
SIZES = st.integers(0, 2**53)
TYPES = st.text(TEXT, max_size=40).filter(lambda text: text == text.strip(" \t"))
REFUSED = {401, 403, 411, 413}


def put(rel: str, size: int, query: str, fields: Mapping[bytes, bytes]) -> Head:
    return Head(
        method="PUT",
        target=b"/",
        path="/upload/" + rel,
        query=query,
        http10=False,
        keep_alive=True,
        fields=fields,
        length=size,
        chunked=False,
        expect_continue=False,
    )


def signed(dialect: str, rel: str, size: int, content_type: str, *, ttl_s: float = 300) -> Head:
    made = auth.sign(dialect, ENDPOINT, auth.SlotRequest(rel, size, content_type), now=NOW, ttl_s=ttl_s)
    return put(rel, size, made.query, {name.lower().encode(): value.encode() for name, value in made.fields})


def upload(head: Head, rel: str, *, endpoint: Endpoint = ENDPOINT, now: float = NOW) -> Grant:
    return auth.upload(head, Slot(endpoint=endpoint, rel=rel, key="upload/" + rel), now=now)


def status(head: Head, rel: str, *, endpoint: Endpoint = ENDPOINT, now: float = NOW) -> int:
    with pytest.raises(Refused) as refused:
        upload(head, rel, endpoint=endpoint, now=now)
    return refused.value.refusal.status


@given(dialect=DIALECTS, rel=RELS, size=SIZES, content_type=TYPES)
def test_what_is_signed_verifies(dialect: str, rel: str, size: int, content_type: str) -> None:
    grant = upload(signed(dialect, rel, size, content_type), rel)
    assert (grant.dialect, grant.size) == (dialect, size)
    if dialect in {"v2", "token"}:
        assert grant.content_type in {content_type, None}
        assert (grant.content_type is not None) == (content_type != "" and content_type.isascii())


@given(dialect=DIALECTS, rel=RELS, size=SIZES, other=RELS)
def test_another_path_is_refused(dialect: str, rel: str, size: int, other: str) -> None:
    assume(other != rel and dialect != "gojwt")
    if dialect == "bearer":  # signs the name alone
        assume(other.rpartition("/")[2] != rel.rpartition("/")[2])
    assert status(signed(dialect, rel, size, "a/b"), other) == 403


@given(dialect=DIALECTS, rel=RELS, size=SIZES, other=SIZES)
def test_another_size_is_refused(dialect: str, rel: str, size: int, other: int) -> None:
    assume(other != size and dialect not in {"v3", "gojwt"})
    head = signed(dialect, rel, size, "a/b")
    head.length = other
    assert status(head, rel) == (413 if dialect == "jwt" else 403)


@given(dialect=st.sampled_from(["v2", "token"]), rel=RELS, content_type=TYPES, other=TYPES)
def test_another_type_is_refused(dialect: str, rel: str, content_type: str, other: str) -> None:
    assume(other != content_type and (content_type, other) != ("application/octet-stream", ""))
    head = signed(dialect, rel, 12, content_type)
    head.fields = {b"content-type": other.encode()}
    assert status(head, rel) == 403


@given(rel=RELS, content_type=TYPES)
def test_a_jwt_s_type_is_the_signed_one_whatever_is_sent(rel: str, content_type: str) -> None:
    head = signed("jwt", rel, 12, "text/plain")
    head.fields = {**head.fields, b"content-type": content_type.encode()}
    assert upload(head, rel).content_type == "text/plain"


@given(dialect=DIALECTS, rel=RELS, method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]))
def test_another_method_is_refused(dialect: str, rel: str, method: str) -> None:
    head = signed(dialect, rel, 12, "a/b")
    head.method = method
    assert status(head, rel) == 405


@given(dialect=st.sampled_from(["v", "v2", "token", "v3"]), rel=RELS, bit=st.integers(0, 255))
def test_any_bit_of_a_mac_counts(dialect: str, rel: str, bit: int) -> None:
    head = signed(dialect, rel, 12, "a/b")
    name, _, rest = head.query.partition("=")
    mac, tail = rest[:64], rest[64:]
    flipped = int(mac, 16) ^ (1 << bit)
    head.query = f"{name}={flipped:064x}{tail}"
    assert status(head, rel) == 403


@given(
    dialect=st.sampled_from(["jwt", "gojwt", "bearer"]), rel=RELS, at=st.integers(0), bit=st.integers(0, 7)
)
def test_any_bit_of_a_bearer_token_counts(dialect: str, rel: str, at: int, bit: int) -> None:
    head = signed(dialect, rel, 12, "a/b")
    token = bytearray(head.fields[b"authorization"].removeprefix(b"Bearer "))
    at %= len(token)
    token[at] ^= 1 << bit
    # A blank at the end is the field's optional white space and not the token's.
    assume(bytes(token).strip(b" \t") == bytes(token))
    head.fields = {**head.fields, b"authorization": b"Bearer " + token}
    assert status(head, rel) == 403


@given(dialect=st.sampled_from(["jwt", "gojwt"]), rel=RELS, at=st.integers(0), bit=st.integers(0, 7))
def test_any_bit_under_the_base64_counts(dialect: str, rel: str, at: int, bit: int) -> None:
    head = signed(dialect, rel, 12, "a/b")
    parts = [
        base64.urlsafe_b64decode(part + b"==")
        for part in head.fields[b"authorization"].removeprefix(b"Bearer ").split(b".")
    ]
    at %= sum(map(len, parts))
    index = 0
    while at >= len(parts[index]):
        at -= len(parts[index])
        index += 1
    changed = bytearray(parts[index])
    changed[at] ^= 1 << bit
    parts[index] = bytes(changed)
    token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    head.fields = {b"authorization": b"Bearer " + token}
    assert status(head, rel) == 403


@given(made=DIALECTS, read=DIALECTS, rel=RELS, size=SIZES)
def test_a_token_of_one_dialect_is_none_of_another(made: str, read: str, rel: str, size: int) -> None:
    """The same request at an endpoint with the same secret and another dialect."""
    assume(made != read)
    endpoint = replace(ENDPOINT, protocols=(read,))
    assert status(signed(made, rel, size, "a/b"), rel, endpoint=endpoint) in REFUSED


@given(made=st.sampled_from(["v", "v2", "token", "v3"]), read=DIALECTS, rel=RELS, size=SIZES)
def test_a_mac_of_one_dialect_under_the_name_of_another(made: str, read: str, rel: str, size: int) -> None:
    assume(made != read and {made, read} != {"v2", "token"})  # one message under two names, by design
    head = signed(made, rel, size, "a/b")
    name, _, rest = head.query.partition("=")
    mac = rest[:64]
    assert name == made
    if read in {"jwt", "gojwt", "bearer"}:
        token = base64.b64encode(bytes.fromhex(mac))
        head.query = f"user=hmacfs&expiry={int(NOW) + 300}"
        head.fields = {**head.fields, b"authorization": b"Bearer " + token}
    else:
        head.query = f"{read}={mac}&expires={int(NOW) + 300}"
    assert status(head, rel) in REFUSED


@given(rel=RELS, size=SIZES, control=st.sampled_from("\0\n\r\t\x1f\x7f"), at=st.integers(0, 40))
def test_a_path_that_cannot_be_signed(rel: str, size: int, control: str, at: int) -> None:
    broken = rel[:at] + control + rel[at:]
    for dialect in auth.DIALECTS:
        with pytest.raises(Refused) as refused:
            auth.sign(dialect, ENDPOINT, auth.SlotRequest(broken, size, ""), now=NOW, ttl_s=300)
        assert refused.value.refusal.code == "bad_path"


@pytest.mark.parametrize("ttl_s", [60, 3600, 3601, 86400])
@pytest.mark.parametrize("dialect", ["jwt", "gojwt", "v3", "bearer"])
def test_a_signed_token_lasts_as_long_as_asked(dialect: str, ttl_s: int) -> None:
    head = signed(dialect, "S1/hi.txt", 12, "a/b", ttl_s=ttl_s)
    assert upload(head, "S1/hi.txt", now=NOW).size == 12
    assert upload(head, "S1/hi.txt", now=NOW + ttl_s + 60).size == 12
    assert status(head, "S1/hi.txt", now=NOW + ttl_s + 61) == 403


@pytest.mark.parametrize(
    ("dialect", "content_type", "ttl_s"),
    [("v4", "", 60), ("", "", 60), ("v2", " a/b", 60), ("v2", "a\r\nb", 60), ("bearer", "", 86401)],
)
def test_what_no_dialect_can_sign(dialect: str, content_type: str, ttl_s: int) -> None:
    with pytest.raises(ValueError, match=r"dialect|content type|day"):
        auth.sign(dialect, ENDPOINT, auth.SlotRequest("S1/hi.txt", 12, content_type), now=NOW, ttl_s=ttl_s)
