"""The page docs/logs.md, made of the tables of the log: `python -m tools.logs_reference >docs/logs.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from hmacfs.log.events import EVENTS, REQUEST_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENING: Final = r"""# Logs

Written by `python -m tools.logs_reference`; change `hmacfs/log/events.py`, not this file.

One line per request and per event, on standard error or in the file that `[logging] file` names, in
logfmt or, with `format = "json"`, one JSON object per line. Each line begins with `ts` (UTC,
milliseconds), `level` (`debug`, `info`, `warn`, `error`) and `event`, one of the names below, which do
not change. Requests that ended in 500 or 507 have level `warn`, all others `info`.

Values are printable ASCII. A byte outside 0x20 to 0x7e and the backslash are written `\xNN`; in JSON and
in quotes the backslash itself is doubled, as both formats demand. A value is cut after 512 characters, a
`trace` after 8192. `-redacted-` stands for the value of a query parameter that carries a token (`v`,
`v2`, `v3`, `token` and the like), for 64 or more hexadecimal digits, for a JWT, for what follows
`Bearer` or `Basic`, and for `user:password` of a URL.

Lines are held for up to a second, or until 32 KiB are together; warnings and errors are written at once.
If the stream takes no more, up to 1 MiB is held; later lines are dropped and counted in
`hmacfs_log_dropped_lines_total`.

After logrotate has moved the file, send SIGUSR1 to the server: every worker opens the file anew. SIGHUP does
so too.
"""


def text() -> str:
    """Return the whole reference as Markdown."""
    return "\n".join(
        (
            OPENING,
            *_table("Events", "event", EVENTS),
            "",
            *_table("Fields of a request line", "field", REQUEST_FIELDS),
            "",
        )
    )


def _table(title: str, column: str, rows: Mapping[str, str]) -> list[str]:
    return [
        f"## {title}",
        "",
        f"| {column} | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in rows.items()),
    ]


if __name__ == "__main__":
    sys.stdout.write(text())
