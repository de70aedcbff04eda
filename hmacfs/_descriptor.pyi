"""The owner of one open descriptor: what needs the file holds this object, never the number."""

from types import TracebackType

from typing_extensions import Self, disjoint_base

@disjoint_base
class Descriptor:
    """One open file or socket. Owned: closed by `close`, or when nothing refers to it any more."""

    def __new__(cls, number: int, *, owned: bool = True) -> Self:
        """Own the open descriptor `number`; if not `owned`, only stand for it until `close`."""

    @property
    def closed(self) -> bool:
        """Whether every further use is refused."""

    def fileno(self) -> int:
        """Return the number, for a call that ends before anything else can close it. Raises ValueError."""

    def use(self) -> Use:
        """Return a context that gives the number and keeps it open: for a thread that did not open the file."""

    def duplicate(self) -> Descriptor:
        """Return the owner of a duplicate (dup(2)), closed on exec(3). Raises OSError, ValueError if it is closed."""

    def close(self) -> None:
        """Refuse every further use, and close the descriptor once no call uses it; may be called again."""

@disjoint_base
class Use:
    """A context in which a descriptor's number stays that of its file."""

    def __new__(cls, descriptor: Descriptor) -> Self: ...
    def __enter__(self) -> int:
        """Return the number. Raises ValueError if the descriptor is closed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the use. Raises OSError if it was the last and closing fails."""
