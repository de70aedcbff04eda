"""Uploads in each protocol, as the requests that they take: generators that are told the answers.

None in place of an answer stands for a connection that broke; how far the upload is by then is asked for, as
a client does. A generator ends with what was acknowledged: which contents must stand where.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote

import languages
import serving

from hmacfs.auth import jose, keyring, metronome
from hmacfs.model import KiB, Secret

if TYPE_CHECKING:
    from contents import Content
    from serving import Answer

SECRET = Secret(serving.SECRET.encode())
DELETE_SECRET = "kT4vX9qLm2Wz7RbN8dYc3HfJ6sPaG5uE1oQi0MtC"
ENDPOINTS = f"""
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
delete_secret = "{DELETE_SECRET}"
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
[[endpoint]]
prefix = "/go/"
directory = "go/files"
protocols = ["v3", "bearer", "gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
TYPE = "application/octet-stream"
BOUNDARY = "XyZ"
# Of a hundred requests forty bring an upload's last byte: no chance that so many do not.
TRIES = 40
PARTS = 3
"""Partial uploads of one that is joined."""
INTERIM = {"Expect": "100-continue", "Upload-Draft-Interop-Version": "8"}
"""Asks for interim answers: 100 and 104."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request with its whole body."""

    method: str
    target: str
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: bool = True
    """Whether Content-Length says how long the body is."""

    @property
    def head(self) -> bytes:
        """Its first bytes, up to the body."""
        counted = self.length and (self.body or self.method in {"PUT", "POST", "PATCH"})
        return serving.head(self.method, self.target, self.fields, len(self.body) if counted else None)


class Round(NamedTuple):
    """Requests that are made at the same time."""

    requests: tuple[Request, ...]
    pipelined: bool = False
    """Whether all are sent on one connection, whose sending side is then ended; else each has its own."""


class Stored(NamedTuple):
    """What was acknowledged."""

    content: Content
    path: str
    found: bool = False
    """Whether its upload was refused or not answered, and it was found to stand there all the same."""


Answers: TypeAlias = "tuple[Answer | None, ...]"
Steps: TypeAlias = Generator[Round, Answers, list[Stored]]
One: TypeAlias = Generator[Round, Answers, "Answer | None"]


def ask(method: str, target: str, fields: dict[str, str], body: bytes = b"") -> One:
    """Make one request."""
    (answer,) = yield Round((Request(method=method, target=target, fields=fields, body=body),))
    return answer


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a content may be uploaded to, by whoever has the token."""

    prefix: str
    content: Content
    dialect: str = "v2"
    expires: float | None = None
    """When the file is to be gone (of the dialect jwt)."""

    @property
    def path(self) -> str:
        """Where the file stands in the end."""
        return f"{self.prefix}{quote(self.content.name)}"

    def signed(self) -> tuple[str, dict[str, str]]:
        """Return target and fields of a PUT."""
        name, size = self.content.name, self.content.size
        if self.dialect == "jwt":
            first, _, rest = name.partition("/")
            now = time.time()
            claims = {"slot": first, "filename": rest, "filesize": size, "filetype": TYPE}
            if self.expires is not None:
                claims["expires"] = int(self.expires)
            claims |= {"iat": int(now), "exp": int(now + serving.TTL_S)}
            token = jose.sign(claims, SECRET)
            return self.path, {"Authorization": f"Bearer {token}", "Content-Type": TYPE}
        if self.dialect in {"bearer", "gojwt"}:
            target, value = serving.bearer(name, size, TYPE, dialect=self.dialect, prefix=self.prefix)
            return target, {"Authorization": value, "Content-Type": TYPE}
        return serving.signed(name, size, TYPE, dialect=self.dialect, prefix=self.prefix), {
            "Content-Type": TYPE
        }


Write: TypeAlias = Callable[[str, dict[str, str], bytes, int, random.Random], Request]
"""Write a request with what comes from an offset on: of a target, fields, all bytes, and the offset."""


def put(target: str, fields: dict[str, str], data: bytes, at: int, chance: random.Random) -> Request:
    """All of it at once; what is left of one that broke off is gone on with by another protocol."""
    if at:
        return chance.choice((content_range, ietf))(target, fields, data, at, chance)
    return Request(method="PUT", target=target, fields=fields, body=data)


def chunked(target: str, fields: dict[str, str], data: bytes, at: int, chance: random.Random) -> Request:
    """All of it in the chunked coding."""
    if at:
        return put(target, fields, data, at, chance)
    body = languages.chunked(data, chance.choice((1000, 16 * KiB, 70_000)))
    return Request(
        method="PUT",
        target=target,
        fields={**fields, "Transfer-Encoding": "chunked"},
        body=body,
        length=False,
    )


def content_range(
    target: str, fields: dict[str, str], data: bytes, at: int, chance: random.Random
) -> Request:
    """The next piece, by Content-Range."""
    stop = _stop(at, len(data), chance)
    told = {"Content-Range": f"bytes {at}-{stop - 1}/{len(data)}"}
    return Request(method="PUT", target=target, fields={**fields, **told}, body=data[at:stop])


def ietf(target: str, fields: dict[str, str], data: bytes, at: int, chance: random.Random) -> Request:
    """The next piece, as the IETF's draft has it."""
    stop = _stop(at, len(data), chance)
    told = {**fields, "Upload-Complete": f"?{stop == len(data):d}"}
    if not at:
        told["Upload-Length"] = str(len(data))
        return Request(method="PUT", target=target, fields=told, body=data[:stop])
    told |= {"Upload-Offset": str(at), **languages.PART}
    return Request(method="PATCH", target=target, fields=told, body=data[at:stop])


def _stop(at: int, size: int, chance: random.Random) -> int:
    """Choose where a piece ends: often with the file."""
    return size if chance.random() < 0.4 else chance.randint(at + 1, size)


def to_slot(slot: Slot, write: Write, chance: random.Random) -> Steps:
    """Upload to a slot; after a break ask how far it is, or just send all of it again."""
    target, fields = slot.signed()
    data = slot.content.data
    if chance.random() < 0.3:
        fields |= INTERIM
    at: int | None = 0
    for _ in range(TRIES):
        if at is None and chance.random() < 0.7:
            told = yield from ask("HEAD", target, fields)
            at = 0 if told is not None and told.status == 404 else _offset(told, len(data))
            if at == len(data):
                return [Stored(slot.content, slot.path, found=True)]
        elif at is None:
            at = 0
        if at is not None:
            (answer,) = yield Round((write(target, fields, data, at, chance),))
            at = _offset(answer, len(data))
            if at == len(data):
                return [Stored(slot.content, slot.path)]
    return []


def _offset(answer: Answer | None, size: int) -> int | None:
    """Return how far an upload is by an answer: `size` if the file stands, None if it does not say."""
    if answer is None or answer.status not in {200, 201, 204}:
        return None
    if answer.fields.get("upload-complete") == "?0":
        return int(answer.fields["upload-offset"])
    return size


def race(one: Slot, other: Slot) -> Steps:
    """Send two generations to one slot at the same time: one of them is stored."""
    requests = []
    for slot in (one, other):
        target, fields = slot.signed()
        requests.append(Request(method="PUT", target=target, fields=fields, body=slot.content.data))
    answers = yield Round(tuple(requests))
    stored = [
        Stored(slot.content, slot.path)
        for slot, answer in zip((one, other), answers, strict=True)
        if answer is not None and answer.status == 201
    ]
    assert len(stored) < 2, f"both were stored: {answers}"
    return stored


def pipelined(slots: list[Slot]) -> Steps:
    """Upload and download one after the other, all sent at once; then say that nothing more comes."""
    requests = []
    for slot in slots:
        target, fields = slot.signed()
        requests.append(Request(method="PUT", target=target, fields=fields, body=slot.content.data))
        requests.append(Request(method="GET", target=slot.path))
    answers = yield Round(tuple(requests), pipelined=True)
    stored = []
    for slot, put_answer, got in zip(slots, answers[::2], answers[1::2], strict=True):
        if put_answer is not None and put_answer.status == 201:
            stored.append(Stored(slot.content, slot.path))
            if got is not None and got.status == 200:
                assert got.body == slot.content.data, f"GET behind PUT {slot.path}: {got.body[:80]!r}"
    return stored


def form(content: Content) -> Steps:
    """Send the file of a form, as curl does."""
    _, token = serving.bearer("any/name", 0, dialect="gojwt")
    name = content.name.rpartition("/")[2]
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = top.encode() + content.data + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = {"Authorization": token, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = yield from ask("POST", "/upload", fields, body)
    if answer is None or answer.status != 200:
        return []
    return [Stored(content, f"/go/{quote(name)}")]


def tus(content: Content, chance: random.Random, *, expires: float | None = None) -> Steps:
    """Upload to a collection by tus."""
    holds = languages.holder() if expires is None else languages.holder(expires=int(expires))
    fields = {**languages.TUS, **holds}
    target = yield from _created(fields, content, content.data, chance)
    if target and (yield from _patched(fields, target, content.data, chance)):
        return [Stored(content, f"{target}/{quote(content.name.rpartition('/')[2])}")]
    return []


def joined(content: Content, chance: random.Random) -> Steps:
    """Upload partial uploads at the same time, and join them (tus, concatenation)."""
    fields = {**languages.TUS, **languages.holder()}
    size = content.size
    cuts = sorted(chance.randint(1, size - 1) for _ in range(PARTS - 1))
    parts = [
        content.data[start:stop]
        for start, stop in zip([0, *cuts], [*cuts, size], strict=True)
        if stop > start
    ]
    targets = []
    for part in parts:
        partial = {**fields, "Upload-Concat": "partial"}
        target = yield from _created(partial, content, part, chance, with_upload=False)
        if not target:
            return []
        targets.append(target)
    yield Round(tuple(_patch(fields, t, part, 0) for t, part in zip(targets, parts, strict=True)))
    for target, part in zip(targets, parts, strict=True):
        if not (yield from _patched(fields, target, part, chance, at=None)):
            return []
    told = {**fields, "Upload-Concat": f"final;{' '.join(targets)}", "Upload-Metadata": _metadata(content)}
    for _ in range(TRIES):
        answer = yield from ask("POST", "/files/", told)
        if answer is not None and answer.status == 201:
            return [Stored(content, answer.fields["content-location"])]
    return []


def _metadata(content: Content) -> str:
    return f"filename {base64.b64encode(content.name.rpartition('/')[2].encode()).decode()}"


def _created(
    fields: dict[str, str], content: Content, data: bytes, chance: random.Random, *, with_upload: bool = True
) -> Generator[Round, Answers, str]:
    """Begin an upload by tus; give its target, "" if it could not be begun."""
    told = {**fields, "Upload-Length": str(len(data)), "Upload-Metadata": _metadata(content)}
    for _ in range(TRIES):
        body = b""
        if with_upload and chance.random() < 0.3:
            body = data[: chance.randint(1, len(data))]
        answer = yield from ask("POST", "/files/", {**told, **(languages.OCTETS if body else {})}, body)
        if answer is not None and answer.status == 201:
            return answer.fields["location"]
    return ""


def _patched(
    fields: dict[str, str], target: str, data: bytes, chance: random.Random, *, at: int | None = None
) -> Generator[Round, Answers, bool]:
    """Append by tus until all is there; give whether that was acknowledged."""
    for _ in range(TRIES):
        if at is None:
            told = yield from ask("HEAD", target, fields)
            if told is None or told.status != 200:
                continue
            at = int(told.fields["upload-offset"])
        if at < len(data):
            (answer,) = yield Round((_patch(fields, target, data[: _stop(at, len(data), chance)], at),))
            at = None
            if answer is not None and answer.status == 204:
                at = int(answer.fields["upload-offset"])
        if at == len(data):
            return True
    return False


def _patch(fields: dict[str, str], target: str, data: bytes, at: int) -> Request:
    told = {**fields, **languages.OCTETS, "Upload-Offset": str(at)}
    return Request(method="PATCH", target=target, fields=told, body=data[at:])


def chunks(content: Content, chance: random.Random) -> Steps:
    """Upload the Go server's chunks: two at the same time, in any order."""
    query = serving.signed(content.name, content.size, TYPE).partition("?")[2]
    target = f"/chunked-upload?{query}"
    told = {"X-Filename": content.name, "X-Total-Size": str(content.size), "Content-Type": TYPE}
    stored = Stored(content, f"/upload/{quote(content.name)}")
    begun = yield from ask("POST", target, told)
    if begun is None or begun.status != 201:
        return []
    session, size = (json.loads(begun.body)[name] for name in ("session_id", "chunk_size"))
    left = list(range(-(-content.size // size)))
    for _ in range(TRIES + len(left)):
        chance.shuffle(left)
        tried = tuple(left[:2])
        answers = yield Round(tuple(_chunk(target, session, content, n, size) for n in tried))
        told_of = [json.loads(a.body) for a in answers if a is not None and a.status == 200]
        left = [n for n in left if n not in {one.get("chunk") for one in told_of}]
        if any(one.get("completed") for one in told_of):
            return [stored]
        if not left:
            status = yield from ask("GET", f"/upload-status?session_id={session}&{query}", {})
            if status is not None and status.status == 200 and json.loads(status.body)["completed"]:
                return [stored]
            left = [0]  # again: whoever sends it finds the upload finished, or finishes it
    return []


def _chunk(target: str, session: str, content: Content, number: int, size: int) -> Request:
    fields = {"X-Upload-Session-ID": session, "X-Chunk-Number": str(number)}
    body = content.data[number * size : (number + 1) * size]
    return Request(method="POST", target=target, fields=fields, body=body)


def deletion(stored: Stored) -> Request:
    """Write Metronome's DELETE of a file below /upload/."""
    message = metronome.message_delete(stored.content.name, Secret(DELETE_SECRET.encode()))
    return Request(method="DELETE", target=f"{stored.path}?token={keyring.sign(SECRET, message).hex()}")
