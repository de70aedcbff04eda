"""`hmacfs put` and `hmacfs get`: options in, transfers, what became of them out, exit status."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmacfs import interrupts
from hmacfs.client import download, options, outcome, source
from hmacfs.client.calls import UploadClient
from hmacfs.client.destination import Destination
from hmacfs.client.download import Download
from hmacfs.client.outcome import End, Outcome
from hmacfs.client.parallel import ParallelUpload
from hmacfs.client.problem import Failed, GaveUp, Problem
from hmacfs.client.progress import Screen
from hmacfs.client.retry import RetryPolicy
from hmacfs.client.sink import PartialDownload, Pipe
from hmacfs.client.source import Source
from hmacfs.client.transport import Transport
from hmacfs.client.upload import Upload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator

    Sign = Callable[[str, int, str], Destination]
    """Name, size and media type of a file in, its place out. Raises Failed."""

MISUSED: Final = 2


class _Misused(Exception):  # noqa: N818 - its text is a whole sentence for the user
    """The options do not go together; the text says why."""


def put(chosen: argparse.Namespace, sign: Sign | None) -> int:
    """Upload what `chosen` names; give the exit status. `sign` gives each file a URL, if none is named."""
    try:
        files, place = _targets(chosen.files, sign)
    except _Misused as misused:
        return _misused(str(misused))
    batch = Batch(chosen, show_url=True)
    return batch.run(lambda transport: _put_all(batch, transport, files, place))


def get(chosen: argparse.Namespace) -> int:
    """Download what `chosen` names; give the exit status."""
    target = chosen.output or download.name_of(chosen.url)
    if target is None:
        return _misused("the URL ends in no name that a file should get; name one with -o")
    batch = Batch(chosen, show_url=False)
    return batch.run(lambda transport: _get(batch, transport, target))


def _targets(words: list[str], sign: Sign | None) -> tuple[list[str], Sign]:
    """Return the files, and what gives each of them its place. Raises _Misused."""
    if sign is not None:
        return words, sign
    *files, last = words
    try:
        url = options.place_url(last)
    except ValueError as error:
        raise _Misused(str(error)) from error
    if not files:
        raise _Misused("name the files to upload, then the URL")
    place = Destination.read(url, "")
    if len(files) > 1 and not (place.is_endpoint and not place.parts):
        raise _Misused(
            "a signed URL, or that of an upload to go on with, takes one file; several need --base-url, "
            'or an endpoint ("/" at its end)'
        )
    return files, lambda _name, _size, kind: dataclasses.replace(place, content_type=kind)


def _misused(words: str) -> int:
    sys.stderr.write(f"hmacfs: {words}\n")
    return MISUSED


@dataclass(slots=True, kw_only=True)
class TransferRecord:
    """What is known of a transfer while it runs; the fields are those of `Outcome`."""

    url: str | None = None
    size: int | None = None
    sha256: str | None = None
    resource: str | None = None
    again: str = "give the same command again"
    """What to do if it does not end well."""


class Batch:
    """What all transfers of one command share: its options, the screen, and the outcomes."""

    def __init__(self, chosen: argparse.Namespace, *, show_url: bool) -> None:
        """Serve the options; `show_url`: whether the URL of what is done is worth a line of its own."""
        self.chosen = chosen
        self.screen = Screen()
        self._show_url = show_url
        self._outcomes: list[Outcome] = []

    def run(self, transfers: Callable[[Transport], Coroutine[None, None, None]]) -> int:
        """Run transfers to their ends; give the exit status."""
        fields = dict(self.chosen.header)
        if self.chosen.token is not None:
            fields["Authorization"] = f"Bearer {self.chosen.token}"

        async def connected() -> None:
            async with Transport(fields, timeout_s=self.chosen.timeout) as transport:
                await transfers(transport)

        with self.screen:
            try:
                asyncio.run(connected())
            except KeyboardInterrupt:
                return interrupts.INTERRUPTED
        return outcome.exit_status(self._outcomes)

    def retry_policy(self, file: str) -> RetryPolicy:
        """Return the patience for one transfer."""
        return RetryPolicy(
            self.chosen.retries,
            chance=random.random,
            rest=asyncio.sleep,
            say=lambda words: self.screen.say(f"{file}: {words}"),
        )

    @contextlib.contextmanager
    def record(self, file: str, retry_policy: RetryPolicy) -> Iterator[TransferRecord]:
        """Lend an account of one transfer, and tell how it ended."""
        record = TransferRecord()
        began_s = time.monotonic()
        end, problem = End.FAILED, None
        try:
            yield record
            end = End.DONE
        except GaveUp as gave_up:
            end, problem = End.GAVE_UP, gave_up.problem
            problem = dataclasses.replace(problem, words=f"{problem.words}; to go on, {record.again}")
        except Failed as failed:
            problem = failed.problem
        except asyncio.CancelledError:
            end, problem = End.INTERRUPTED, Problem(words=f"interrupted; to go on, {record.again}")
            raise
        finally:
            if end is End.DONE or problem is not None:
                self._tell(
                    Outcome(
                        file=file,
                        url=record.url,
                        end=end,
                        size=record.size,
                        sha256=record.sha256,
                        seconds=round(time.monotonic() - began_s, 3),
                        retries=retry_policy.waits,
                        resource=record.resource,
                        problem=problem,
                    )
                )

    def _tell(self, ended: Outcome) -> None:
        self._outcomes.append(ended)
        if ended.problem is not None:
            self.screen.say(f"{ended.file}: {ended.problem.words}")
        if self.chosen.json:
            line = ended.as_json()
        elif not self._show_url or ended.end is not End.DONE:
            return
        elif ended.url is None:
            self.screen.say(f"{ended.file}: is stored, and the server does not say where")
            return
        else:
            line = ended.url
        # Standard output may be the file itself.
        (self.screen.note if ended.file == "-" else self.screen.give)(line)


async def _put_all(batch: Batch, transport: Transport, files: list[str], place: Sign) -> None:
    """Upload all files, some of them at the same time; what connections they leave over they share."""
    waiting = iter(files)
    connections: int = batch.chosen.connections

    async def upload_next() -> None:
        for file in waiting:
            await _put(batch, transport, file, place, max(connections // len(files), 1))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(files))):
            group.create_task(upload_next())


async def _put(batch: Batch, transport: Transport, file: str, place: Sign, connections: int) -> None:
    retry_policy = batch.retry_policy(file)
    with (
        batch.record(file, retry_policy) as record,
        Source(file) as body,
        batch.screen.bar(body.name, body.size) as bar,
    ):
        record.size = body.size
        kind = batch.chosen.type or source.guess_type(body.name)
        there = place(body.name, body.size, kind)

        def moved(size: int) -> None:
            bar.show(size, body.size)

        chunk = batch.chosen.chunk
        client = UploadClient(transport, body, there, retry_policy)
        joined = ParallelUpload(client, connections=connections, chunk=chunk, moved=moved)
        upload: Upload | ParallelUpload = joined
        try:
            if not await joined.begin():
                upload = Upload(client, chunk=chunk, moved=moved)
            record.url = await upload.run()
            record.sha256 = (await body.digest()).hex()
        except (GaveUp, asyncio.CancelledError):
            if upload.resource is not None:
                record.resource = upload.resource
                more = _continuing(batch.chosen, file, upload.resource, there, connections)
                record.again = f"give: {more}"
            raise


def _continuing(
    chosen: argparse.Namespace, file: str, resource: str, place: Destination, connections: int
) -> str:
    """Write the command that goes on with an upload."""
    words = ["hmacfs", "put", "--type", place.content_type]
    words += [] if connections == 1 else ["--connections", str(connections)]
    words += [] if chosen.chunk is None else ["--chunk", str(chosen.chunk)]
    for name, value in place.fields.items():
        words += ["--header", f"{name}: {value}"]
    line = shlex.join([*words, file, resource])
    # What the user typed may be secret, and he knows it.
    return f"{line} (and the same --token and --header)" if chosen.token or chosen.header else line


async def _get(batch: Batch, transport: Transport, target: str) -> None:
    retry_policy = batch.retry_policy(target)
    url = batch.chosen.url
    with batch.record(target, retry_policy) as record:
        record.url = url
        opened = Pipe() if target == "-" else PartialDownload(Path(target), url, force=batch.chosen.force)
        with opened as sink, batch.screen.bar(Path(target).name) as bar:
            await Download(transport, url, sink, retry_policy, bar.show).run()
            record.size = sink.size
            record.sha256 = (await sink.digest()).hex()
