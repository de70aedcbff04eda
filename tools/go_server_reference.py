"""docs/go-server.md: what becomes of each key of the Go server's configuration, made of `compat`'s facts."""

from __future__ import annotations

from typing import Final

from hmacfs.config import compat
from hmacfs.config.fates import ConfigForm
from hmacfs.config.render import cell

_PREAMBLE: Final = """\
# Coming from the Go server: its configuration

<!-- Made by: python -m tools.go_server_reference > docs/go-server.md (a test compares) -->

`hmacfs serve --config THEIR.toml` runs with a configuration of the Go hmac-file-server as it is, also with
one that began as one of its published templates; only the secret must be a real one. `hmacfs check-config
THEIR.toml` says of each key in it what became of it:

- **honoured**: it is followed, under its own name or another one, which is named.
- **ignored**: it has no meaning here; the reason is named.
- **not yet**: what it asks for is not there; what happens instead is named.

Variants of spelling count as one key (`filettl`, `file_ttl`, `fileTTL`). If two keys say the same, our own
spelling wins over a variant and a key of ours over one of the Go server's; the report names the winner. A
value of a wrong type is a fault, and so is a key that neither server knows, except in tables that only the Go
server has: there it is ignored.

What differs:

- Since the Go server served `storage_path` itself from `/`, its store is adopted by `[[endpoint]]` with
  `prefix = "/"` and `directory = ""`.
- `readtimeout` and `writetimeout` limited whole transfers there; here they limit how long one may stall.
- `bind_ip = "::"` is every address, IPv4's too, as it was there.
- A class of clients had sizes of its own there (`strategy_mobile`); here each client has, by what is measured
  of it, and the smallest and the largest of those sizes are the bounds.

| table | key | type | fate | what it means here |
|---|---|---|---|---|
"""

_TYPES: Final = {
    ConfigForm.TEXT: "text",
    ConfigForm.FLAG: "true or false",
    ConfigForm.NUMBER: "whole number",
    ConfigForm.REAL: "number",
    ConfigForm.EITHER: "text or whole number",
    ConfigForm.TEXTS: "list of texts",
    ConfigForm.LIST: "list",
    ConfigForm.TABLE: "table",
    ConfigForm.OWN: "as ours",
}


def reference() -> str:
    """Return docs/go-server.md."""
    lines = [
        f"| `[{table}]` | `{name}` | {_TYPES[row.form]} | {row.fate.value} | {cell(row.words)} |\n"
        for table, rows in sorted(compat.ROWS.items())
        for name, row in sorted(rows.items())
    ]
    return _PREAMBLE + "".join(lines)


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - this is how docs/go-server.md is renewed
