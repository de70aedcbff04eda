"""Configuration as text: `gen-config`, `gen-config --full` and docs/configuration.md.

All of it comes from the settings classes, so it cannot drift.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Final

from hmacfs.config import keys, units
from hmacfs.config.keys import ValueKind
from hmacfs.config.settings import TABLES, EndpointTable

if TYPE_CHECKING:
    from hmacfs.config.keys import KeyField

STORAGE: Final = "/srv/hmacfs"
"""Where the unit, the container and the examples in deploy/ keep files; the default is for trying."""

_WIDTH: Final = 100
_SHORT: Final = {
    "server": ("listen_address", "storage_path", "max_upload_size", "min_free_bytes", "file_ttl"),
    "metrics": ("listen_address",),
    "security": ("secret",),
}
_SHORT_DOOR: Final = ("prefix", "protocols")
_WORDS: Final = {
    ValueKind.COUNT: "whole number",
    ValueKind.SIZE: "size",
    ValueKind.DURATION: "duration",
    ValueKind.WHOLE_SECONDS: "duration, whole seconds",
    ValueKind.MODE: "octal mode in quotes",
    ValueKind.TEXT: "text",
    ValueKind.FLAG: "`true` or `false`",
    ValueKind.PATH: "path",
    ValueKind.LISTEN: "address",
    ValueKind.LISTENS: "address or list of them",
    ValueKind.SECRETS: "secret or list of them",
    ValueKind.SECRET: "secret",
    ValueKind.ORIGINS: "list of origins",
    ValueKind.NETWORKS: "list of networks",
}
_HEAD: Final = """\
# hmacfs configuration. Check it with: hmacfs check-config FILE
# It holds the secret: let nobody read it but root and the server's group (mode 0640).
# Sizes: "10GB", "512KiB" (powers of 1024) or bytes. Durations: "30s", "1h30m", "7d" or seconds.
"""
_PREAMBLE: Final = """\
# Configuration

<!-- Made by: python -m hmacfs.config.render > docs/configuration.md (a test compares) -->

One TOML file, read by `hmacfs serve --config FILE` and checked by `hmacfs check-config FILE`, which
names every fault at once with its line, its key, what was expected and the nearest known key. Unknown
keys are faults. It also tries what the configuration names: files, directories, sockets, certificates; run
it as the server's user. `hmacfs gen-config --output FILE` writes a short file to start from, readable by its
owner alone, `--full` one with every key and its default.

- A **size** is a string such as `"10GB"`, `"512 KiB"` or `"1.5TB"`, or a plain number of bytes. KB and
  KiB are both 1024.
- A **duration** is a string such as `"30s"`, `"5m"`, `"1h30m"`, `"7d"` (units ms, s, m, h, d, w, y), or
  a number of seconds.
- An **octal mode** is a string such as `"0640"`.
- An **address** is `"host:port"`, `"[IPv6]:port"` or `"unix:/path"`; port 0 lets the system choose. On every
  listener `":port"` and `"[::]:port"` are all addresses of IPv4 and IPv6, `"0.0.0.0:port"` those of IPv4;
  beside one of IPv4 with the same port `"[::]:port"` is IPv6 alone.
- A **path** that is relative starts at the working directory of the server.
- A **secret** is a string of at least 32 bytes, or `"${NAME}"` for the environment variable NAME.
  Short, regular and example secrets are refused unless `allow_weak_secret = true`. `openssl rand -hex
  32` makes a good one. What nobody sees at its ends (a blank, CR LF, a byte order mark) is part of it; the
  report and the log say so.

`SIGHUP` reads the file again and applies everything but the keys marked **restart**. A file with a
fault changes nothing.
"""

_GO_SERVER: Final = """\
## The Go server's keys

A configuration of the Go hmac-file-server is read as it is. What becomes of each of its keys:
[go-server.md](go-server.md).
"""


def short(secret: str) -> str:
    """Return a short commented configuration with `secret` in it; it runs as it is."""
    parts = [_HEAD]
    for table, names in _SHORT.items():
        entries = {entry.name: entry for entry in keys.entries(TABLES[table])}
        parts.append(_table(f"[{table}]", [entries[name] for name in names], secret))
    door = [entry for entry in keys.entries(EndpointTable) if entry.name in _SHORT_DOOR]
    parts.append(_table("[[endpoint]]", door, ""))
    return "\n".join(parts)


def full(secret: str) -> str:
    """Return a configuration with every key at its default, `secret` apart, and what each means."""
    parts = [_HEAD]
    parts += [_table(f"[{table}]", list(keys.entries(cls)), secret) for table, cls in TABLES.items()]
    parts.append(_table("[[endpoint]]", list(keys.entries(EndpointTable)), ""))
    return "\n".join(parts)


def reference() -> str:
    """Return docs/configuration.md."""
    parts = [_PREAMBLE]
    for table, cls in TABLES.items():
        parts.append(_section(f"[{table}]", cls))
    parts.append(_section("[[endpoint]]", EndpointTable))
    parts.append(_GO_SERVER)
    return "\n".join(parts)


def _table(header: str, entries: list[KeyField], secret: str) -> str:
    """Return one table as TOML, each key below its meaning."""
    blocks = [f"{header}\n"]
    for entry in entries:
        comment = textwrap.wrap(entry.key.meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        value = _quote(secret) if entry.key.kind is ValueKind.SECRETS else _toml(entry, written=True)
        blocks.append("\n".join([*comment, f"{entry.name} = {value}\n"]))
    return "".join(blocks)


def _toml(entry: KeyField, *, written: bool = False) -> str:
    """Return the default of a key as TOML, or what is `written` instead for a service to start from."""
    value = STORAGE if written and entry.name == "storage_path" else entry.default
    kind = entry.key.kind
    if value is None or isinstance(value, str) or (value == () and kind is not ValueKind.NETWORKS):
        return _quote("0s" if kind is ValueKind.DURATION else str(value or ""))
    if isinstance(value, tuple):
        words = ", ".join(_quote(str(one)) for one in value)
        return words if kind is ValueKind.LISTENS and len(value) == 1 else f"[{words}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    assert isinstance(value, (int, float))
    if kind is ValueKind.SIZE:
        return _quote(units.format_size(int(value)))
    if kind in (ValueKind.DURATION, ValueKind.WHOLE_SECONDS):
        return _quote(units.format_duration(value))
    return _quote(f"{int(value):04o}") if kind is ValueKind.MODE else str(value)


def _quote(text: str) -> str:
    """Return a basic TOML string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _section(header: str, cls: type) -> str:
    """Return one table of the reference, with the words of its class before it."""
    words = (cls.__doc__ or "").partition(": ")[2] or (cls.__doc__ or "")
    lines = [
        f"## `{header}`\n",
        f"{words[:1].upper()}{words[1:]}\n",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for entry in keys.entries(cls):
        restart = " **restart**" if entry.key.fixed else ""
        kind = _WORDS.get(entry.key.kind) or _choices(entry)
        lines.append(f"| `{entry.name}` | {kind} | `{_toml(entry)}` | {cell(entry.key.meaning)}{restart} |")
    return "\n".join(lines) + "\n"


def _choices(entry: KeyField) -> str:
    words = ", ".join(f"`{_quote(choice)}`" for choice in entry.key.choices)
    return f"list of {words}" if entry.key.kind is ValueKind.NAMES else words


def cell(text: str) -> str:
    """Return `text` as a cell of a table in Markdown has it."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[[endpoint]]", "`[[endpoint]]`")


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - this is how docs/configuration.md is renewed
