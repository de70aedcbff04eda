"""Where each key of a TOML document stands: key path to line.

tomli gives values without positions. This scanner runs only on text that tomli has accepted, so it
looks for ends and names and checks nothing (https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import tomli

if TYPE_CHECKING:
    from hmacfs.config.report import KeyPath

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
# One string, the multi-line forms first; a multi-line one may end in up to two more quotes.
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER_VALUE: Final = re.compile(r"[^,\]}\n#]*")


def lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, at which each key path of `text` first stands."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.found


class _Scanner:
    """One walk over a document, from its start to its end."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._last: dict[KeyPath, int] = {}  # array of tables: index of its last table

    def document(self) -> None:
        """Walk over headers and pairs."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        """Walk over `[table]` or `[[array]]`; give the path of the table it opens."""
        opening = self._at
        array = self._text.startswith("[[", opening)
        self._at += 2 if array else 1
        names = self._key()
        self._at = self._text.index("]", self._at) + (2 if array else 1)
        path: KeyPath = ()
        for depth, name in enumerate(names, start=1):
            path += (name,)
            self._note(path, opening)
            if array and depth == len(names):
                self._last[path] = self._last.get(path, -1) + 1
            if path in self._last:
                path += (self._last[path],)
                self._note(path, opening)
        return path

    def _pair(self, table: KeyPath) -> None:
        """Walk over `key = value` inside `table`."""
        start = self._at
        path = table
        for name in self._key():
            path += (name,)
            self._note(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """Walk over a dotted key; give its parts."""
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            if match := _BARE_KEY.match(self._text, self._at):
                parts.append(match.group())
            else:
                match = _STRING.match(self._text, self._at)
                assert match is not None
                parts.append(tomli.loads(f"key = {match.group()}")["key"])
            self._at = match.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        """Walk over one value, noting what lies in it."""
        if match := _STRING.match(self._text, self._at):
            self._at = match.end()
        elif self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        else:
            self._skip(_OTHER_VALUE)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._text[self._at] != "]":
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if match := pattern.match(self._text, self._at):
            self._at = match.end()

    def _note(self, path: KeyPath, at: int) -> None:
        """Remember the line of `path`; `at` never goes back behind the last one."""
        self._line += self._text.count("\n", self._counted_to, at)
        self._counted_to = at
        self.found.setdefault(path, self._line)
