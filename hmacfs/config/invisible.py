"""What a secret begins or ends with that nobody sees: left by an editor, a shell, another system.

Pure: bytes in, the same without it and words out.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_NAMES: Final = {
    "\n": "LF",
    "\r": "CR",
    "\t": "a tab",
    " ": "a blank",
    "\0": "NUL",
    "\ufeff": "a byte order mark",
}
# Control and format characters, and separators (Unicode Standard, 4.5).
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})


def trim(secret: bytes) -> tuple[bytes, str]:
    """Return `secret` without its invisible ends, and words that say what they are; "" if it has none."""
    text = secret.decode("utf-8", "surrogateescape")
    inner = text
    while inner and _unseen(inner[0]):
        inner = inner[1:]
    start = text[: len(text) - len(inner)]
    while inner and _unseen(inner[-1]):
        inner = inner[:-1]
    end = text[len(start) + len(inner) :]
    words = [f"begins with {_spell(start)}"] if start else []
    words += [f"ends in {_spell(end)}"] if end else []
    return inner.encode("utf-8", "surrogateescape"), " and ".join(words)


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _spell(characters: str) -> str:
    """Name the characters, of many alike the first few."""
    names = [_NAMES.get(one) or f"U+{ord(one):04X}" for one in characters[:4]]
    return " ".join(names) + (" and more" if len(characters) > len(names) else "")
