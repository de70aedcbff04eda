"""Requests of resumable uploads to a running server: tokens, the languages' fields, what a refusal says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import serving
import wire

from hmacfs.auth import original, passes
from hmacfs.model import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Answer, Server

CONFIG = """
[timeouts]
linger = "1s"
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
[[endpoint]]
prefix = "/others/"
protocols = ["tus"]
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "jwt", "gojwt"]
"""
LIMIT = 1_000_000
SERVER = f"max_upload_size = {LIMIT}\n"
TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}
PART = {"Content-Type": "application/partial-upload"}
TOKENS = itertools.count()
REGISTERED = "https://iana.org/assignments/http-problem-types#"


@contextlib.contextmanager
def served(where: Path, server: str = SERVER) -> Iterator[Server]:
    """Return a server of two workers at which all languages are spoken; it settles in the end."""
    with serving.running(where, rest=CONFIG, server=server, workers=2) as running:
        yield running
        wire.settle(running)


def holder(owner: str = "alice@chat.test", *, ttl_s: float = serving.TTL_S, **claims: Any) -> dict[str, str]:
    """Return the field by which `owner` may use an endpoint of protocol tus."""
    token = passes.sign(Secret(serving.SECRET.encode()), owner, now=time.time(), ttl_s=ttl_s, **claims)
    return {"Authorization": f"Bearer {token}"}


def go_bearer() -> dict[str, str]:
    """Return a token unlike every other: seconds are all that tells one from another."""
    token = original.sign_jwt(
        Secret(serving.SECRET.encode()), now=time.time(), ttl_s=serving.TTL_S + next(TOKENS)
    )
    return {"Authorization": f"Bearer {token}"}


ALICE = holder()
BOB = holder("bob@chat.test")


def create(server: Server, length: int, *, holds: dict[str, str] = ALICE, **fields: str) -> str:
    """Begin an upload by tus; give its URL's path."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    answer = server.request("POST", "/files/", fields={**TUS, **holds, "Upload-Length": str(length), **named})
    assert answer.status == 201, answer
    return answer.fields["location"]


def patch(
    server: Server, url: str, offset: int, body: bytes, *, holds: dict[str, str] = ALICE, **fields: str
) -> Answer:
    """Append by tus."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    sent = {**TUS, **OCTETS, **holds, "Upload-Offset": str(offset), "Content-Length": str(len(body)), **named}
    return server.request("PATCH", url, fields=sent, body=body)


def offset(server: Server, url: str, holds: dict[str, str] = ALICE) -> int:
    """Ask by tus how far an upload is."""
    answer = server.request("HEAD", url, fields={**TUS, **holds})
    assert answer.status == 200, answer
    return int(answer.fields["upload-offset"])


def append(  # noqa: PLR0913 - a request
    server: Server,
    url: str,
    at: int,
    body: bytes,
    *,
    ends: bool,
    holds: dict[str, str] = ALICE,
    **fields: str,
) -> Answer:
    """Append as the IETF's draft has it."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    complete = {"Upload-Complete": f"?{ends:d}", "Upload-Offset": str(at), "Content-Length": str(len(body))}
    return server.request("PATCH", url, fields={**PART, **holds, **complete, **named}, body=body)


def file_of(server: Server, answer: Answer) -> bytes:
    """Return the file that an answer about a complete upload points to."""
    return server.request("GET", answer.fields["content-location"]).body


def refusal(answer: Answer) -> tuple[int, str]:
    """Return status and code of a refusal, which must be a sound problem (RFC 9457)."""
    assert answer.fields["content-type"] == "application/problem+json", answer
    problem = json.loads(answer.body)
    assert problem["status"] == answer.status
    assert problem["title"]
    assert problem["type"].startswith((REGISTERED, "urn:", "https://")), problem
    return answer.status, problem["code"]


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    """Return Repr-Digest or Content-Digest of `body`."""
    value = hashlib.new(algorithm.replace("-", ""), body).digest()
    return f"{algorithm}=:{base64.b64encode(value).decode()}:"


def chunked(body: bytes, size: int = 1000, trailer: str = "") -> bytes:
    """Write a body in the chunked coding."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    last = f"0\r\n{trailer}\r\n".encode()
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + last
