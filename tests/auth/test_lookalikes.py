"""A secret with an invisible end: what a token was made with instead is noticed, and lets nobody in."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Final

import pytest

from hmacfs import auth, config
from hmacfs.errors import Refused
from hmacfs.model import Endpoint, Head, Secret, Slot

NOW: Final = 1700000000.0
STRONG: Final = b"0f3c9d8e7b6a5f4e3d2c1b0a99887766aabbccddeeff00112233445566778899"
OTHER: Final = Secret(b"5d41402abc4b2a76b9719d911017c592e4da3b7fbbce2345d7772b0674a318d5")
REL: Final = "S1/hi.txt"
DOORS: Final = (*auth.DIALECTS, auth.TUS, "delete")


def endpoint_of(secret: str, door: str) -> Endpoint:
    """Read an endpoint of one protocol as a configuration has it."""
    protocol = "token" if door == "delete" else door
    text = (
        f'[security]\nsecret = "{secret}"\ndelete_secret = "{secret}"\n'
        f'[[endpoint]]\nprefix = "/upload/"\nprotocols = ["{protocol}"]\n'
    )
    return config.parse(text, name="t.toml", base_dir="/", environ={}).settings.endpoints[0]


def ask(endpoint: Endpoint, door: str, key: Secret) -> None:
    """Make a request with a token of `key`. Raises Refused."""
    signing = replace(endpoint, secrets=(key,))
    query, fields = "", {}
    if door == "delete":
        # Both of Metronome's secrets come from one configuration there.
        message = REL.encode() + b"\0" + key.reveal()
        query = f"token={hmac.digest(endpoint.secrets[0].reveal(), message, 'sha256').hex()}"
    elif door == auth.TUS:
        token = auth.sign_pass(key, "romeo", now=NOW, ttl_s=300)
        fields = {b"authorization": f"Bearer {token}".encode()}
    else:
        made = auth.sign(door, signing, auth.SlotRequest(REL, 12, "text/plain"), now=NOW, ttl_s=300)
        query = made.query
        fields = {name.lower().encode(): value.encode() for name, value in made.fields}
    head = Head(
        method="DELETE" if door == "delete" else "PUT",
        target=b"/",
        path=f"/upload/{REL}",
        query=query,
        http10=False,
        keep_alive=True,
        fields=fields,
        length=12,
        chunked=False,
        expect_continue=False,
    )
    slot = Slot(endpoint=endpoint, rel=REL, key=f"upload/{REL}")
    if door == "delete":
        auth.delete(head, slot, now=NOW)
    elif door == auth.TUS:
        auth.uploader(head, endpoint, now=NOW)
    else:
        auth.upload(head, slot, now=NOW)


@pytest.mark.parametrize("door", DOORS)
def test_a_token_of_what_was_meant_is_refused_and_noticed(door: str) -> None:
    endpoint = endpoint_of(STRONG.decode() + "\\r\\n", door)
    secret = endpoint.delete_secret if door == "delete" else endpoint.secrets[0]
    assert secret is not None
    meant = secret.lookalike
    assert meant is not None
    ask(endpoint, door, secret)  # what is written is what counts
    with pytest.raises(Refused):
        ask(endpoint, door, OTHER)
    assert not meant.matched
    with pytest.raises(Refused):
        ask(endpoint, door, Secret(STRONG))
    assert meant.matched
    assert meant.where == ("security.delete_secret" if door == "delete" else "security.secret")


@pytest.mark.parametrize("door", DOORS)
def test_a_secret_without_invisible_ends_has_no_lookalike(door: str) -> None:
    endpoint = endpoint_of(STRONG.decode(), door)
    assert endpoint.secrets[0].lookalike is None
    assert endpoint.delete_secret == Secret(STRONG)


def test_an_empty_key_is_nobodys_lookalike() -> None:
    text = '[security]\nsecret = "  \\n\\t  "\nallow_weak_secret = true\n'
    settings = config.parse(text, name="t.toml", base_dir="/", environ={}).settings
    assert settings.endpoints[0].secrets[0].lookalike is None
