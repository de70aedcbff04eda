"""A form's body: the file in it goes to the store, all else is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import KiB
from hmacfs.transfer.sinks import FileSink

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractContextManager

    from hmacfs.model import Plan
    from hmacfs.transfer.sinks import BodySource, ReservedFile

# A form may hold a few small fields beside the file; all of them are cheap to refuse.
FORM_PARTS: Final = 16
FORM_HEADER_BYTES: Final = 8 * KiB


class FormParser:
    """A multipart/form-data body: its field named "file" is written, all else is passed over.

    RFC 7578; parsed by the push parser of `multipart`, bounded but not strict: that would refuse the
    line end after the last boundary if it came by itself.
    """

    __slots__ = ("_current", "_parser", "name", "sink")

    def __init__(self, part: ReservedFile, boundary: str) -> None:
        """Write the file of a form with this `boundary` to `part`."""
        self._parser = PushMultipartParser(
            boundary,
            max_segment_count=FORM_PARTS,
            max_header_size=FORM_HEADER_BYTES,
        )
        self._current: MultipartSegment | None = None
        self.sink = FileSink(part.file, part.length, room=part.room)
        self.name: str | None = None

    @property
    def waited_s(self) -> float:
        """How long the last write was waiting."""
        return self.sink.waited_s

    @property
    def storing(self) -> asyncio.Future[None] | None:
        """Done when the thread that stores now has returned; None if none does."""
        return self.sink.storing

    def in_thread(self) -> AbstractContextManager[None]:
        """Return the context in which a thread stores."""
        return self.sink.in_thread()

    def guard(self, count: int = 0, *, wait: bool) -> AbstractContextManager[bool]:
        """Return the context of a write."""
        return self.sink.guard(count, wait=wait)

    def take(self, data: memoryview) -> None:
        """Parse `data` and write what belongs to the file. Raises Refused."""
        if not data:
            return  # the parser would take it for the end of the form
        try:
            for event in self._parser.parse(bytes(data)):
                self._on_event(event)
        except MultipartError as error:
            raise Refused(errors.FORM_MALFORMED, str(error)) from error

    def _on_event(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._current = event
            if event.name == "file":
                if self.name is not None:
                    raise Refused(errors.FORM_MALFORMED, "there are two fields named file")
                self.name = event.filename or ""
        elif event is not None and self._current is not None and self._current.name == "file":
            self.sink.take(memoryview(event))

    def finish(self) -> tuple[str, int, bytes]:
        """Return the file's name, size and digest. Raises Refused if the form is not whole."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise Refused(errors.FORM_MALFORMED, "its last boundary is missing") from error
        if not self.name:
            raise Refused(errors.FORM_MALFORMED)
        return self.name, self.sink.moved, self.sink.digest()


async def receive_form(
    link: BodySource, part: ReservedFile, boundary: str, plan: Plan
) -> tuple[str, int, bytes]:
    """Move the file of a form into `part`; give its name, size and BLAKE3 digest."""
    try:
        form = FormParser(part, boundary)
    except (MultipartError, ValueError) as error:
        raise Refused(errors.FORM_MALFORMED, str(error)) from error
    await link.receive_into(form, plan)
    return form.finish()
