"""Contents that say whose they are: wherever 32 bytes of one turn up, they name it and their place in it.

Each block of 32 bytes holds the number of its content, its own index and 16 bytes that follow from both.
"""

from __future__ import annotations

import functools
import hashlib
from array import array
from dataclasses import dataclass, field

BLOCK = 32
_WORD = 8  # four of them in a block
_CACHED = 512
# So far behind the first wrong byte the number of another content is looked for.
_SEARCHED = 64 * 1024
_SHOWN = 80
_RUNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one upload brings: bytes that follow from its name and generation."""

    name: str
    generation: int
    size: int

    @property
    def number(self) -> bytes:
        """Eight bytes by which each of its blocks begins."""
        return _number(self.name, self.generation)

    @property
    def data(self) -> bytes:
        """All of its bytes."""
        return _data(self.name, self.generation, self.size)

    def __str__(self) -> str:
        return f"{self.name} (generation {self.generation}, {self.size} bytes)"


@functools.lru_cache(_CACHED)
def _number(name: str, generation: int) -> bytes:
    return hashlib.blake2b(f"{name}/{generation}".encode(), digest_size=_WORD).digest()


@functools.lru_cache(_CACHED)
def _data(name: str, generation: int, size: int) -> bytes:
    count = -(-size // BLOCK)
    number = _number(name, generation)
    rest = array("Q", hashlib.shake_128(number).digest(count * 2 * _WORD))
    words = array("Q", bytes(count * BLOCK))
    words[0::4] = array("Q", number * count)
    words[1::4] = array("Q", range(count))
    words[2::4] = rest[0::2]
    words[3::4] = rest[1::2]
    return words.tobytes()[:size]


@dataclass(slots=True)
class Contents:
    """All contents of a test, so that bytes of any of them can be told."""

    _by_number: dict[bytes, Content] = field(default_factory=dict)

    def add(self, name: str, generation: int, size: int) -> Content:
        """Return a content, and know it from now on."""
        content = Content(name=name, generation=generation, size=size)
        self._by_number[content.number] = content
        return content

    def explain(self, wanted: Content, data: bytes, start: int = 0) -> str:
        """Say where `data` differs from the bytes of `wanted` from `start` on, and whose it is; else "".

        Data that ends early differs in nothing.
        """
        right = wanted.data[start : start + len(data)]
        if data == right:
            return ""
        first = next(
            (at for at, (one, other) in enumerate(zip(data, right, strict=False)) if one != other), None
        )
        if first is None:
            return f"{len(data) - len(right)} bytes too many for {wanted}, from byte {start + len(right)} on"
        lines = [f"{len(data)} bytes from byte {start} on of {wanted} differ from byte {start + first} on:"]
        at = first
        for _ in range(_RUNS):
            if at >= len(data):
                break
            line, at = self._run(data, at, start)
            lines.append(line)
        return "\n  ".join(lines)

    def _run(self, data: bytes, at: int, start: int) -> tuple[str, int]:
        """Describe the bytes at `at` that come from one place, and say where they end."""
        # The block in which they differ may have begun before.
        for begin in range(max(at - BLOCK + 1, 0), min(at + _SEARCHED, len(data) - 2 * _WORD)):
            content = self._by_number.get(data[begin : begin + _WORD])
            if content is None:
                continue
            source = int.from_bytes(data[begin + _WORD : begin + 2 * _WORD], "little") * BLOCK
            end = begin + _common(data, begin, content.data, source)
            if end <= at:
                continue
            shown = f"{data[at:begin][:_SHOWN]!r}, then " if begin > at else ""
            first = max(begin, at)
            line = f"{shown}bytes {start + first} to {start + end} are {source + first - begin} to"
            return f"{line} {source + end - begin} of {content}", end
        return f"from byte {start + at} on: {data[at : at + _SHOWN]!r}", len(data)


def _common(one: bytes, at: int, other: bytes, other_at: int) -> int:
    """Return how many bytes agree from these places on."""
    most = min(len(one) - at, len(other) - other_at)
    if one[at : at + most] == other[other_at : other_at + most]:
        return most
    low, high = 0, most  # the first `low` agree, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        if one[at + low : at + middle] == other[other_at + low : other_at + middle]:
            low = middle
        else:
            high = middle
    return low
