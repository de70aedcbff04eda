"""Cross-origin fields of answers and preflights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import cors

CHAT = "https://chat.example"


@pytest.mark.parametrize("origin", [None, b"null", b"https://any.example", b"\xff\r\n"])
def test_any_origin(origin: bytes | None) -> None:
    fields = dict(cors.fields(origin, ["*"]))
    assert fields["Access-Control-Allow-Origin"] == "*"
    assert {"Content-Range", "Repr-Digest"} <= set(fields["Access-Control-Expose-Headers"].split(", "))
    assert "Vary" not in fields
    assert "Access-Control-Allow-Credentials" not in fields


def test_a_listed_origin_is_echoed_and_the_answer_varies() -> None:
    fields = dict(cors.fields(CHAT.encode(), ["https://other.example", CHAT]))
    assert fields["Access-Control-Allow-Origin"] == CHAT
    assert fields["Vary"] == "Origin"
    assert "Access-Control-Expose-Headers" in fields


@pytest.mark.parametrize(
    "origin",
    [None, b"", b"null", b"http://chat.example", b"https://chat.example.evil", b"https://chat.example:444"],
)
def test_another_origin_gets_nothing_but_vary(origin: bytes | None) -> None:
    assert cors.fields(origin, [CHAT]) == [("Vary", "Origin")]
    assert cors.preflight(origin, None, [CHAT], 60) == [("Vary", "Origin")]


def test_no_allowed_origins_is_no_cors() -> None:
    assert cors.fields(b"https://chat.example", []) == []


@pytest.mark.parametrize(
    ("origin", "allow_origins", "same"),
    [
        (CHAT.encode(), ["*"], True),
        (CHAT.encode(), [CHAT], True),
        (None, [CHAT], True),  # Vary, which a 304 must have if its 200 has it
        (b"https://other.example", [CHAT], True),
        (None, [], True),
        (None, ["*"], False),
    ],
)
def test_a_304_has_the_fields_of_its_200_where_somebody_weighs_them(
    origin: bytes | None, allow_origins: list[str], *, same: bool
) -> None:
    wanted = cors.fields(origin, allow_origins) if same else []
    assert cors.unmodified_fields(origin, allow_origins) == wanted


def test_preflight() -> None:
    fields = dict(cors.preflight(b"https://a.example", b"authorization, content-type", ["*"], 86400))
    assert fields["Access-Control-Allow-Origin"] == "*"
    assert {"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"} == set(
        fields["Access-Control-Allow-Methods"].split(", ")
    )
    allowed = fields["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Content-Type", "Range", "If-Range"} <= set(allowed)
    assert len(allowed) == len({name.lower() for name in allowed})
    assert fields["Access-Control-Max-Age"] == "86400"


def test_preflight_grants_well_formed_names_asked_for() -> None:
    asked = b"x-file-name, RANGE, x file, x-file-name,\x00,\xe9,,x-other"
    fields = dict(cors.preflight(None, asked, ["*"], 1))
    names = fields["Access-Control-Allow-Headers"].split(", ")
    assert names[-2:] == ["x-file-name", "x-other"]


def test_preflight_grants_what_resumable_clients_ask_for() -> None:
    asked = (
        "authorization,content-type,tus-resumable,upload-length,upload-metadata,upload-offset,x-request-id"
    )
    more = "upload-checksum,upload-concat,upload-defer-length,upload-complete,upload-draft-interop-version"
    names = f"{asked},{more},x-http-method-override".split(",")
    fields = dict(cors.preflight(b"https://a.example", ",".join(names).encode(), ["*"], 1))
    assert set(names) <= set(fields["Access-Control-Allow-Headers"].lower().split(", "))


@given(asked=st.binary(max_size=500))
def test_preflight_never_echoes_what_could_split(asked: bytes) -> None:
    for _, value in cors.preflight(asked, asked, ["*"], 1):
        assert value.isascii()
        assert value.isprintable()
