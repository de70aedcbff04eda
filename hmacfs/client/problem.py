"""Why a transfer did not end well: for good, for now, or because somebody stopped it.

Each message is whole words for a person; what a server said is made printable before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What went wrong, for a person and for a script."""

    words: str
    """One line: what is wrong and, where there is something to do, what to do."""
    status: int | None = None
    """HTTP status; None if no answer was the reason."""
    code: str | None = None
    """The server's stable code (docs/refusals.md); None if it sent none."""
    request_id: str | None = None
    """What the server's log calls the request; None if it did not say."""
    retry_after_s: float = field(default=0.0)
    """How long the server wants to be left alone."""


class Failed(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """Raised where trying again would change nothing."""

    def __init__(self, problem: Problem | str) -> None:
        """Fail for the reason `problem`, or for one that has no more than words."""
        self.problem = Problem(words=problem) if isinstance(problem, str) else problem
        super().__init__(self.problem.words)


class TransientError(Exception):
    """Raised where trying again may help."""

    def __init__(self, problem: Problem | str) -> None:
        """Tell the reason, as `Failed` does."""
        self.problem = Problem(words=problem) if isinstance(problem, str) else problem
        super().__init__(self.problem.words)


class GaveUp(Failed):
    """Raised where trying again has not helped so far; the transfer may be continued later."""
