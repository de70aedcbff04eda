"""What became of one transfer, for a person, for a script and for the exit status."""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hmacfs.client.problem import Problem


class End(enum.StrEnum):
    """How a transfer ended; the value is part of --json."""

    DONE = "done"
    FAILED = "failed"
    """For good: the same again will fail again."""
    GAVE_UP = "gave-up"
    """After retries; may be continued."""
    INTERRUPTED = "interrupted"
    """By Ctrl-C; may be continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One transfer; the fields are the members of its object in --json."""

    file: str
    """Path of the file here; "-" is standard output."""
    url: str | None
    """Where it can be downloaded; None if it is nowhere, or the server did not say."""
    end: End
    size: int | None
    """Bytes of the file; None if they are not known."""
    sha256: str | None
    """Of the whole file, in hexadecimal digits; None if not all of it was seen."""
    seconds: float
    retries: int
    """How often it was waited and tried again."""
    resource: str | None = None
    """For an upload that may be continued: the URL to continue it at."""
    problem: Problem | None = None
    """Why it is not done."""

    def as_json(self) -> str:
        """Write it as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """Return 0 if all are done, 1 if one failed for good, else 3: what is left may be continued."""
    ends = {outcome.end for outcome in outcomes}
    if End.FAILED in ends:
        return 1
    return 0 if ends <= {End.DONE} else 3
