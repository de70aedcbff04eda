"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload-12), step by step with a real curl."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from cutting import Break, Weather
from e2e import resumable, slots
from e2e.resumable import SIZE, MiB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cutting import Relay
    from e2e.resumable import Ticket

VERSION = "8"
PART = "application/partial-upload"
MISMATCH = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
INCONSISTENT = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response head on the wire, interim or final."""

    status: int
    fields: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What curl got for one request."""

    exit: int
    answers: list[Answer]
    body: str

    @property
    def final(self) -> Answer:
        """The last answer, which is not interim."""
        assert self.exit == 0, self
        assert self.answers[-1].status >= 200, self
        return self.answers[-1]

    @property
    def interim(self) -> list[Answer]:
        """The answers 104 Upload Resumption Supported."""
        return [answer for answer in self.answers if answer.status == 104]


def heads(dump: str, url: str) -> list[Answer]:
    """Read what curl has written with --dump-header; Location is made absolute."""
    answers: list[Answer] = []
    for line in dump.splitlines():
        if match := re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", line):
            answers.append(Answer(status=int(match[1]), fields={}))
        elif line:
            name, _, value = line.partition(": ")
            answers[-1].fields[name.lower()] = urljoin(url, value) if name == "Location" else value
    return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Curl:
    """Runs curl with what one user always says."""

    program: str
    folder: Path
    fields: dict[str, str]
    version: str | None = VERSION
    """Upload-Draft-Interop-Version."""

    def ask(
        self, method: str, url: str, fields: dict[str, str] | None = None, body: bytes | None = None
    ) -> Exchange:
        """Make one request."""
        dump = self.folder / "heads"
        dump.write_bytes(b"")
        command = [self.program, "--silent", "--dump-header", str(dump)]
        command += ["--head"] if method == "HEAD" else ["--request", method]
        said = {**self.fields, **(fields or {})}
        if self.version is not None:
            said["Upload-Draft-Interop-Version"] = self.version
        if body is not None:
            said.setdefault("Content-Type", "application/octet-stream")
            (self.folder / "body").write_bytes(body)
            command += ["--data-binary", f"@{self.folder / 'body'}"]
        for name, value in said.items():
            command += ["--header", f"{name}: {value}"]
        done = subprocess.run([*command, url], capture_output=True, check=False)
        return Exchange(
            exit=done.returncode,
            answers=heads(dump.read_text(), url),
            body=done.stdout.decode(errors="replace"),
        )


@pytest.fixture
def curl(ticket: Ticket, tmp_path: Path, program: Callable[[str], str]) -> Curl:
    return Curl(program=program("curl"), folder=tmp_path, fields=ticket.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a file can be sent to."""

    method: str
    put: str
    get: str | None
    """Where its readers find it; None if only the upload's own URL leads there."""
    curl: Curl
    length: int | None = None
    """Bytes of the file, where that must be said at once: a slot is for a file of one size."""

    def create(self, body: bytes, complete: str) -> Exchange:
        """Begin an upload with `body`; `complete` is "?1" if that is all, else "?0"."""
        fields = {"Upload-Complete": complete}
        if self.length is not None:
            fields["Upload-Length"] = str(self.length)
        return self.curl.ask(self.method, self.put, fields, body)

    def append(self, url: str, offset: int, complete: str, body: bytes) -> Exchange:
        """Go on with the upload at `url`; `complete` is "?1" if this ends it, else "?0"."""
        fields = {"Content-Type": PART, "Upload-Offset": str(offset), "Upload-Complete": complete}
        return self.curl.ask("PATCH", url, fields, body)

    def tell(self, url: str) -> Answer:
        """Ask how far the upload at `url` has come."""
        return self.curl.ask("HEAD", url).final


@pytest.fixture(params=["collection", "v2", "jwt"])
def target(
    request: pytest.FixtureRequest,
    relay: Relay,
    ticket: Ticket,
    tmp_path: Path,
    program: Callable[[str], str],
) -> Target:
    """Return a collection of uploads, and slots for one file that XMPP servers have granted."""
    curl = program("curl")
    if request.param == "collection":
        own = Curl(program=curl, folder=tmp_path, fields=ticket.fields)
        return Target(method="POST", put=ticket.endpoint, get=None, curl=own)
    slot = slots.grant(relay.address, request.param, "film.mp4", SIZE, "application/octet-stream")
    own = Curl(program=curl, folder=tmp_path, fields=slot.fields)
    return Target(method="PUT", put=slot.put, get=slot.get, curl=own, length=SIZE)


@pytest.fixture
def body() -> bytes:
    return secrets.token_bytes(SIZE)


def test_a_client_asks_whether_it_may(target: Target) -> None:
    answer = target.curl.ask("OPTIONS", target.put).final
    limits = dict(part.strip().split("=") for part in answer.fields["upload-limit"].split(","))
    assert int(limits["max-size"]) >= SIZE


def test_an_upload_that_nothing_interrupts(target: Target, body: bytes) -> None:
    """The client learns early where it could go on, and gets the answer that it would have got anyway."""
    done = target.create(body, "?1")
    assert (done.final.status, done.final.fields["upload-complete"]) == (201, "?1")
    location = done.interim[0].fields["location"]
    assert done.interim[0].fields["upload-draft-interop-version"] == VERSION
    assert resumable.read(target.get or location).body == body


def test_an_upload_of_a_client_that_does_not_say_its_version(target: Target, body: bytes) -> None:
    """It might take an interim answer that it does not know for the answer."""
    plain = dataclasses.replace(target.curl, version=None)
    done = plain.ask(target.method, target.put, {"Upload-Complete": "?1"}, body)
    assert (done.final.status, done.interim) == (201, [])


@pytest.mark.parametrize("how", [Break.RESET, Break.END])
def test_an_upload_goes_on_where_it_was_cut(how: Break, target: Target, body: bytes, relay: Relay) -> None:
    relay.change(Weather(cut_every_bytes=2 * MiB, cuts=1, how=how))
    begun = target.create(body, "?1")
    assert begun.exit != 0
    location = begun.interim[0].fields["location"]
    told = target.tell(location)
    assert told.status in {200, 204}
    assert told.fields["upload-complete"] == "?0"
    assert told.fields["upload-length"] == str(SIZE)
    assert told.fields["cache-control"] == "no-store"
    offset = int(told.fields["upload-offset"])
    assert MiB < offset < 2 * MiB
    done = target.append(location, offset, "?1", body[offset:])
    assert 200 <= done.final.status < 300
    assert done.final.fields["upload-complete"] == "?1"
    assert resumable.read(target.get or location).body == body


@pytest.mark.parametrize("target", ["collection"], indirect=True)
def test_an_upload_in_parts_with_an_empty_one_at_the_end(target: Target, body: bytes) -> None:
    """Of one whose length nobody has told: a slot's is in its token."""
    begun = target.create(body[:MiB], "?0").final
    assert (begun.status, begun.fields["upload-complete"]) == (201, "?0")
    location = begun.fields["location"]
    more = target.append(location, MiB, "?0", body[MiB:]).final
    assert (more.status, more.fields["upload-complete"]) == (204, "?0")
    assert target.tell(location).fields["upload-offset"] == str(SIZE)
    done = target.append(location, SIZE, "?1", b"").final
    assert 200 <= done.status < 300
    assert done.fields["upload-complete"] == "?1"
    assert resumable.read(target.get or location).body == body


@pytest.mark.parametrize("offset", [0, MiB - 1, MiB + 1])
def test_a_part_at_another_place_is_refused(offset: int, target: Target, body: bytes) -> None:
    """What has come already is not taken twice, and there are no holes."""
    begun = target.create(body[:MiB], "?0").final
    location = begun.fields["location"]
    refused = target.append(location, offset, "?0", body[offset : offset + MiB])
    assert (refused.final.status, refused.final.fields["upload-offset"]) == (409, str(MiB))
    problem = json.loads(refused.body)
    assert problem["type"] == MISMATCH
    assert (problem["expected-offset"], problem["provided-offset"]) == (MiB, offset)
    assert target.append(location, MiB, "?1", body[MiB:]).final.fields["upload-complete"] == "?1"
    assert resumable.read(target.get or location).body == body


def test_an_upload_that_ends_before_its_length_is_refused(target: Target, body: bytes) -> None:
    target = dataclasses.replace(target, length=SIZE)
    begun = target.create(body[:MiB], "?0").final
    refused = target.append(begun.fields["location"], MiB, "?1", body[MiB:-1])
    assert refused.final.status == 400
    assert json.loads(refused.body)["type"] == INCONSISTENT


def test_an_upload_is_taken_back(ticket: Ticket, curl: Curl, body: bytes) -> None:
    begun = curl.ask("POST", ticket.endpoint, {"Upload-Complete": "?0"}, body[:MiB])
    location = begun.final.fields["location"]
    assert curl.ask("DELETE", location).final.status == 204
    assert curl.ask("HEAD", location).final.status in {404, 410}
