"""Clients that upload self-verifying contents in every protocol and download them, and the ledger of both.

What comes of an upload is noted as it was acknowledged; what is downloaded is compared at once.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

import exchanges
import serving
import upload_protocols as protocols
from contents import Contents
from exchanges import BrokenError, Client, Link, Site, Way
from upload_protocols import Slot, Stored

from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from contents import Content
    from serving import Answer
    from upload_protocols import Steps

DIRECTORIES = {"/upload/": "upload", "/share/": "share", "/go/": "go/files", "/files/": "files"}
# (share of the contents, smallest, largest)
SIZES = (
    (3, 1, 4 * KiB),
    (3, 4 * KiB, 80 * KiB),
    (3, 64 * KiB, 72 * KiB),
    (2, 80 * KiB, 300 * KiB),
    (1, 300 * KiB, 1536 * KiB),
)
KEY_UPDATE = "KeyUpdate"
KEY_UPDATE_FROM_BYTES = 300_000  # more than goes out in one turn
DOWNLOADS = 10
"""For each upload."""
# Shares of the uploads and the downloads:
DELETED = 0.1
KEY_UPDATES = 0.03
COLD = 0.1
RESETS = 0.02


class File:
    """A name, and the contents that may ever have stood there."""

    def __init__(self, content: Content) -> None:
        self.contents = [content]
        self.stored: Stored | None = None
        """What was acknowledged last."""
        self.may_be_gone = False
        """Whether it is deleted or expires."""


@dataclass
class Ledger:
    """What was sent, what was acknowledged, what was downloaded, and what was found wrong."""

    contents: Contents = field(default_factory=Contents)
    files: dict[str, File] = field(default_factory=dict)
    """By the last segment of the name."""
    begun: Counter[str] = field(default_factory=Counter)
    """Uploads by protocol."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Files by protocol."""
    answers: Counter[str] = field(default_factory=Counter)
    """Answers to downloads, by kind."""
    wrong: dict[str, str] = field(default_factory=dict)
    """The first that was found, by what is wrong."""
    news: threading.Condition = field(default_factory=threading.Condition)
    _readable: list[Stored] = field(default_factory=list)

    def content(self, size: int, *, below: str = "") -> Content:
        """Return a new content under a new name."""
        with self.news:
            name = f"{len(self.files):06x}.bin"
            content = self.contents.add(f"{below}{name}", 1, size)
            self.files[name] = File(content)
        return content

    def again(self, content: Content, size: int) -> Content:
        """Return a new content under the name of another one."""
        file = self.of(content)
        with self.news:
            newer = self.contents.add(content.name, file.contents[-1].generation + 1, size)
            file.contents.append(newer)
        return newer

    def of(self, content: Content) -> File:
        """Return the file of a content."""
        return self.files[content.name.rpartition("/")[2]]

    @property
    def uploaded(self) -> int:
        """Files acknowledged."""
        return self.acknowledged.total()

    @property
    def downloaded(self) -> int:
        """Downloads compared."""
        return sum(self.answers[kind] for kind in ("200", "206", "cut"))

    @property
    def is_ahead(self) -> bool:
        """Whether there are more downloads than there are to be for as many uploads."""
        return self.downloaded > DOWNLOADS * (self.uploaded + 10)

    def note_upload(self, protocol: str, acknowledged: list[Stored]) -> None:
        """Note how an upload has ended."""
        with self.news:
            self.begun[protocol] += 1
            for stored in acknowledged:
                file = self.of(stored.content)
                file.stored = stored
                if protocol == "race":
                    file.contents = [stored.content]  # the other one never stood there
                self.acknowledged[protocol] += 1
                self._readable.append(stored)
            self.news.notify_all()

    def note_answer(self, kind: str) -> None:
        """Note an answer to a download."""
        with self.news:
            self.answers[kind] += 1
            self.news.notify_all()

    def accuse(self, what: str, words: str = "") -> None:
        """Note that something is wrong."""
        with self.news:
            self.wrong.setdefault(what, words)
            self.news.notify_all()

    def choose(self, chance: random.Random, least: int = 0) -> Stored | None:
        """Return a file to download, new ones as often as old ones; None if there is none that large."""
        for _ in range(20):
            known = len(self._readable)
            if not known:
                return None
            first = max(known - 20, 0) if chance.random() < 0.5 else 0
            stored = self._readable[chance.randrange(first, known)]
            if stored.content.size >= least:
                return stored
        return None

    def judge(self, file: File, answer: Answer, asked: tuple[int, int] | None) -> str:
        """Say what is wrong with the answer to a download, which may have been cut; "" if nothing is."""
        total, start = int(answer.fields["content-length"]), 0
        if answer.status == 206:
            span, _, size = answer.fields["content-range"].removeprefix("bytes ").partition("/")
            first, _, last = span.partition("-")
            start, stop, whole = int(first), int(last) + 1, int(size)
            if asked is None or (start, stop) != (asked[0], min(asked[1], whole)) or stop - start != total:
                return f"{asked} was asked for, {span} of {whole} in {total} bytes came"
            total = whole
        for content in (likely := [content for content in file.contents if content.size == total]):
            if not (reason := self.contents.explain(content, answer.body, start)):
                return ""
        return reason if likely else f"{total} bytes; {self.contents.explain(file.contents[-1], answer.body)}"


def size_of(chance: random.Random) -> int:
    _, least, most = chance.choices(SIZES, [share for share, _, _ in SIZES])[0]
    return chance.randint(least, most)


class Uploader:
    """Uploads in all protocols, one after the other."""

    def __init__(  # noqa: PLR0913 - what a client needs
        self,
        ledger: Ledger,
        site: Site,
        over: threading.Event,
        seed: str,
        *,
        weights: Mapping[str, int],
        sound: bool,
    ) -> None:
        """Choose protocols by `weights`; if the server is `sound`, what is sent whole must be stored."""
        self.ledger = ledger
        self.chance = random.Random(seed)
        self._site = site
        self._over = over
        self._weights = weights
        self._sound = sound
        self._deletable: list[Stored] = []

    def run(self) -> None:
        """Upload until it is over."""
        with Client(self._site, self.chance) as client:
            while not self._over.is_set():
                try:
                    self._upload(client)
                except TimeoutError as error:
                    self.ledger.accuse(f"no answer: {error}")
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not pass unnoticed
                    self.ledger.accuse(f"{type(error).__name__} while uploading", str(error))
                client.let_go()

    def _upload(self, client: Client) -> None:
        """Make one upload, and now and then delete one."""
        (protocol,) = self.chance.choices(list(self._weights), list(self._weights.values()))
        acknowledged = _drive(client, PROTOCOLS[protocol](self))
        self.ledger.note_upload(protocol, acknowledged)
        wanted = {"form": 0, "pipelined": 2}.get(protocol, 1)  # a form that breaks off cannot be gone on with
        if self._sound and len(acknowledged) < wanted:
            self.ledger.accuse(f"not stored: {protocol}")
        self._deletable += [stored for stored in acknowledged if stored.path.startswith("/upload/")]
        if self._deletable and self.chance.random() < DELETED:
            self._delete(client, self._deletable.pop(self.chance.randrange(len(self._deletable))))

    def _delete(self, client: Client, stored: Stored) -> None:
        """Delete a file, and perhaps upload another to its name."""
        file = self.ledger.of(stored.content)
        file.may_be_gone = True
        (answer,) = client.make(protocols.Round((protocols.deletion(stored),)))
        if answer is None or answer.status != 204 or self.chance.random() < 0.5:
            return
        slot = Slot("/upload/", self.ledger.again(stored.content, size_of(self.chance)))
        acknowledged = _drive(client, protocols.to_slot(slot, protocols.put, self.chance))
        self.ledger.note_upload("put where one was deleted", acknowledged)
        if acknowledged:
            file.may_be_gone = False

    def content(self, *, below: str = "") -> Content:
        """Return a new content."""
        return self.ledger.content(size_of(self.chance), below=below)

    def slot(self, prefix: str, dialect: str, size: int = 0, expires: float | None = None) -> Slot:
        """Return a new slot, in a directory that others use too, in a new one, or in none."""
        below = f"{self.chance.randrange(50)}/"
        if dialect != "jwt" and self.chance.random() < 0.2:
            below = self.chance.choice(("", f"{self.chance.getrandbits(64):016x}/"))
        content = self.ledger.content(size or size_of(self.chance), below=below)
        return Slot(prefix, content, dialect, expires)

    def expiring(self) -> Steps:
        """Upload a file that is soon gone again."""
        slot = self.slot("/share/", "jwt", expires=time.time() + self.chance.randint(1, 4))
        self.ledger.of(slot.content).may_be_gone = True
        return protocols.to_slot(slot, protocols.put, self.chance)

    def race(self) -> Steps:
        """Upload two contents to one slot at the same time."""
        one = self.slot("/upload/", "v2")
        return protocols.race(one, Slot("/upload/", self.ledger.again(one.content, one.content.size)))

    def pipelined(self) -> Steps:
        """Upload a tiny and a small file and say at once that nothing more comes."""
        sizes = (100, self.chance.randint(60_000, 70_000))
        return protocols.pipelined([self.slot("/upload/", "v2", size) for size in sizes])


def _drive(client: Client, steps: Steps) -> list[Stored]:
    """Make the requests of an upload; give what was acknowledged."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(client.make(asked))
    except StopIteration as stop:
        return list(stop.value)


def _slotted(prefix: str, dialect: str, write: protocols.Write, size: int = 0) -> Callable[[Uploader], Steps]:
    return lambda client: protocols.to_slot(client.slot(prefix, dialect, size), write, client.chance)


PROTOCOLS: Mapping[str, Callable[[Uploader], Steps]] = {
    "put v2": _slotted("/upload/", "v2", protocols.put),
    "put v": _slotted("/upload/", "v", protocols.put),
    "put jwt": _slotted("/share/", "jwt", protocols.put),
    "put v3": _slotted("/go/", "v3", protocols.put),
    "put gojwt": _slotted("/go/", "gojwt", protocols.put),
    "put 70 kB": _slotted("/upload/", "v2", protocols.put, 70_000),
    "put 1.5 MB": _slotted("/upload/", "v2", protocols.put, 1536 * KiB),
    "pipelined": Uploader.pipelined,
    "race": Uploader.race,
    "expiring": Uploader.expiring,
    "chunked coding": _slotted("/share/", "jwt", protocols.chunked),
    "form": lambda client: protocols.form(client.content()),
    "content-range": _slotted("/upload/", "v2", protocols.content_range),
    "content-range 900 kB": _slotted("/upload/", "v2", protocols.content_range, 900_000),
    "ietf": _slotted("/upload/", "v2", protocols.ietf),
    "ietf jwt": _slotted("/share/", "jwt", protocols.ietf),
    "ietf 900 kB": _slotted("/upload/", "v2", protocols.ietf, 900_000),
    "tus": lambda client: protocols.tus(client.content(), client.chance),
    "tus joined": lambda client: protocols.joined(client.content(), client.chance),
    "go chunks": lambda client: protocols.chunks(client.content(below="chunks/"), client.chance),
}


class Reader:
    """Downloads files and parts of them, several on one connection."""

    def __init__(  # noqa: PLR0913 - what a client needs
        self,
        ledger: Ledger,
        site: Site,
        over: threading.Event,
        seed: str,
        *,
        where: Path,
        sound: bool,
    ) -> None:
        """Write what is logged of keys into `where`; refusals are no fault if the server is not `sound`."""
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._site = site
        self._over = over
        self._where = where
        self._refusals = frozenset[int]() if sound else frozenset({500, 503})

    def run(self) -> None:
        """Download until it is over."""
        while not self._over.is_set():
            try:
                if self._ledger.is_ahead:
                    self._over.wait(0.01)
                elif self._chance.random() < KEY_UPDATES:
                    self._update_keys()
                else:
                    self._read_on()
            except TimeoutError as error:
                self._ledger.accuse("no answer to GET", str(error))
            except OSError:  # refused, reset or closed as it connects
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not pass unnoticed
                self._ledger.accuse(f"{type(error).__name__} while downloading", str(error))

    def _read_on(self) -> None:
        """Make some requests on one connection."""
        with self._site.connect(self._chance.choice(exchanges.WAYS)) as link:
            for _ in range(self._chance.randint(1, 12)):
                if self._over.is_set() or not link.usable:
                    return
                self._read(link)

    def _read(self, link: Link) -> None:
        """Download one file, or send some requests at once and read all of their answers."""
        asked: list[tuple[Stored, tuple[int, int] | None]] = []
        for _ in range(self._chance.choice((1, 1, 1, 4))):
            stored = self._ledger.choose(self._chance)
            if stored is None:
                self._over.wait(0.01)
                return
            if self._chance.random() < COLD:
                _forget(place_of(self._site.server.storage, stored.path))
            asked.append((stored, self._span(stored.content.size) if self._chance.random() < 0.3 else None))
        gone = [self._ledger.of(stored.content).may_be_gone for stored, _ in asked]
        with contextlib.suppress(OSError):
            link.send(b"".join(_get(stored.path, span) for stored, span in asked))
        for (stored, span), was_gone in zip(asked, gone, strict=True):
            if self._chance.random() < RESETS:
                link.reset()
                return
            try:
                answer = link.read()
            except BrokenError as broken:
                if broken.got is not None:
                    self._check(stored, broken.got, span, link.way.value, cut=True)
                link.close()
                return
            self._check(stored, answer, span, link.way.value, gone=was_gone)

    def _span(self, size: int) -> tuple[int, int]:
        start = self._chance.randrange(size)
        return start, self._chance.randint(start + 1, size)

    def _check(  # noqa: PLR0913 - what is known of a download
        self,
        stored: Stored,
        answer: Answer,
        span: tuple[int, int] | None,
        way: str,
        *,
        gone: bool = False,
        cut: bool = False,
    ) -> None:
        """Compare what came with what was sent."""
        file = self._ledger.of(stored.content)
        status = answer.status
        if status in {200, 206}:
            self._ledger.note_answer("cut" if cut else str(status))
            if reason := self._ledger.judge(file, answer, span):
                beside = " beside a KeyUpdate" if way == KEY_UPDATE else ""
                self._ledger.accuse(f"GET {stored.path}{beside}", f"{status} ({way}): {reason}")
            return
        self._ledger.note_answer(str(status))
        again = len(file.contents) > 1  # what stands there may have changed on the way
        missing = status == 404 and (gone or file.may_be_gone or again)
        shorter = status == 416 and again
        if not (missing or shorter or status in self._refusals):
            self._ledger.accuse(f"{status} to GET", f"{stored.path} ({way}): {answer.body[:200]!r}")

    def _update_keys(self) -> None:
        """Download over TLS with a KeyUpdate in two records; others download between them."""
        stored = self._ledger.choose(self._chance, KEY_UPDATE_FROM_BYTES)
        if stored is None:
            return
        gone = self._ledger.of(stored.content).may_be_gone
        request = _get(stored.path, None)
        answer = exchanges.get_with_split_key_update(self._site, request, self._where, self._read_over_tls)
        if answer is not None:
            self._ledger.note_answer(KEY_UPDATE)
            self._check(stored, answer, None, KEY_UPDATE, gone=gone)

    def _read_over_tls(self) -> None:
        with contextlib.suppress(OSError), self._site.connect(Way.TLS) as link:
            for _ in range(3):
                if link.usable:
                    self._read(link)


def _get(path: str, span: tuple[int, int] | None) -> bytes:
    return serving.head("GET", path, {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"})


def place_of(storage: Path, path: str) -> Path:
    """Return where a file stands whose URL has this path."""
    prefix = next(prefix for prefix in DIRECTORIES if path.startswith(prefix))
    return storage / DIRECTORIES[prefix] / unquote(path[len(prefix) :])


def _forget(file: Path) -> None:
    """Have the kernel drop what it holds of a file, so that it must come from the disk."""
    with contextlib.suppress(OSError):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
