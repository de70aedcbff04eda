"""One value at a time: what TOML holds to what the settings hold, by kind.

Pure: a value and its key's rules in, the setting out, or `Wrong` with what to write instead.
Secrets are read elsewhere (`keyring`), since they need files and the environment.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import re
from typing import TYPE_CHECKING, Final

from hmacfs.config import addresses, units
from hmacfs.config.keys import ValueKind
from hmacfs.model import Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hmacfs.config.keys import Key

_MODE: Final = re.compile(r"0?o?([0-7]{3,4})", re.ASCII)
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)


class Wrong(ValueError):  # noqa: N818 - it names the value, as Refused does
    """Raised for a value that breaks its key's rules."""

    def __init__(self, expected: str, *, index: int | None = None, nearest: str = "") -> None:
        """Say what is `expected`, at which `index` of a list, and which known word is `nearest`."""
        super().__init__(expected)
        self.expected = expected
        self.index = index
        self.nearest = nearest


def read(value: object, key: Key) -> object:
    """Return the setting that `value` means; raise Wrong if it means none."""
    return _READERS[key.kind](value, key)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is spelled most like `word`; "" if none is near."""
    return next(iter(difflib.get_close_matches(word.lower(), list(known), n=1)), "")


def _count(value: object, key: Key) -> int:
    expected = f"a whole number from {key.least:.0f} to {key.most:.0f}"
    if not isinstance(value, int) or isinstance(value, bool) or not key.least <= value <= key.most:
        raise Wrong(expected)
    return value


def _size(value: object, key: Key) -> int:
    try:
        size = units.parse_size(value)
    except ValueError as error:
        raise Wrong(str(error)) from None
    if not key.least <= size <= key.most:
        least, most = units.format_size(int(key.least)), units.format_size(int(key.most))
        raise Wrong(f"a size from {least} to {most}" if key.most < units.MOST else f"a size from {least}")
    return size


def _duration(value: object, key: Key) -> float:
    try:
        duration = units.parse_duration(value)
    except ValueError as error:
        raise Wrong(str(error)) from None
    if not key.least <= duration <= key.most:
        least, most = units.format_duration(key.least), units.format_duration(key.most)
        raise Wrong(f"a duration from {least} to {most}" if key.most < units.MOST else f"at least {least}")
    return duration


def _whole_seconds(value: object, key: Key) -> int:
    return int(_duration(value, key))


def _mode(value: object, key: Key) -> int:
    match = _MODE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong('an octal mode in quotes, such as "0640"')
    mode = int(match[1], 8)
    must, may = int(key.least), int(key.most)
    if mode & must != must or mode & ~may:
        raise Wrong(f"a mode with the bits of {must:04o} and none but those of {may:04o}")
    return mode


def _text(value: object, key: Key) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise Wrong("a path in quotes" if key.kind is ValueKind.PATH else "printable text in quotes")
    return value


def _flag(value: object, _key: Key) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false, without quotes")
    return value


def _choice(value: object, key: Key) -> str:
    if not isinstance(value, str) or value not in key.choices:
        words = " or ".join(f'"{choice}"' for choice in key.choices)
        raise Wrong(words, nearest=nearest(value, key.choices) if isinstance(value, str) else "")
    return Durability(value) if key.choices == tuple(Durability) else value


def _list(value: object, expected: str, check: Callable[[str], None]) -> tuple[str, ...]:
    """Check each string of a list; `check` raises Wrong."""
    if not isinstance(value, list) or not value:
        raise Wrong(expected)
    for index, item in enumerate(value):
        try:
            if not isinstance(item, str):
                raise Wrong("a string in quotes")  # noqa: TRY301 - the index is added below
            check(item)
        except Wrong as wrong:
            raise Wrong(wrong.expected, index=index, nearest=wrong.nearest) from None
        if item in value[:index]:
            raise Wrong("each one once", index=index)
    return tuple(value)


def _address(text: str) -> None:
    try:
        addresses.parse(text)
    except ValueError as error:
        raise Wrong(str(error)) from None


def _listens(value: object, _key: Key) -> tuple[str, ...]:
    if isinstance(value, str):
        _address(value)
        return (value,)
    return _list(value, f"{addresses.WORDS}, or a list of these", _address)


def _listen(value: object, _key: Key) -> str:
    if not isinstance(value, str):
        raise Wrong(addresses.WORDS)
    if value:
        _address(value)
    return value


def _names(value: object, key: Key) -> tuple[str, ...]:
    def check(name: str) -> None:
        if name not in key.choices:
            raise Wrong(f"one of {', '.join(key.choices)}", nearest=nearest(name, key.choices))

    return _list(value, f"a list with some of {', '.join(key.choices)}", check)


def _origins(value: object, _key: Key) -> tuple[str, ...]:
    def check(origin: str) -> None:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise Wrong('"*" or an origin in lower case without a path, such as "https://chat.example"')

    if value == []:
        return ()
    return _list(value, "a list of origins", check)


def _network(text: str) -> None:
    if text == "unix":
        return
    try:
        ipaddress.ip_network(text)
    except ValueError:
        near = ""
        with contextlib.suppress(ValueError):
            near = str(ipaddress.ip_network(text, strict=False))
        words = 'a network such as "10.0.0.0/8" or "::1", or "unix"'
        raise Wrong(words, nearest=near) from None


def _networks(value: object, _key: Key) -> tuple[str, ...]:
    if value == []:
        return ()
    return _list(value, "a list of networks", _network)


_READERS: Final[dict[ValueKind, Callable[[object, Key], object]]] = {
    ValueKind.COUNT: _count,
    ValueKind.SIZE: _size,
    ValueKind.DURATION: _duration,
    ValueKind.WHOLE_SECONDS: _whole_seconds,
    ValueKind.MODE: _mode,
    ValueKind.TEXT: _text,
    ValueKind.FLAG: _flag,
    ValueKind.CHOICE: _choice,
    ValueKind.PATH: _text,
    ValueKind.LISTEN: _listen,
    ValueKind.LISTENS: _listens,
    ValueKind.NAMES: _names,
    ValueKind.ORIGINS: _origins,
    ValueKind.NETWORKS: _networks,
}
