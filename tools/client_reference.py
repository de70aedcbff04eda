"""The page docs/client.md, made of the options themselves."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from hmacfs.client import options

OPENING: Final = """\
# The client

<!-- Made by: python -m tools.client_reference > docs/client.md (a test compares) -->

`hmacfs put` and `hmacfs get` move files to and from this server, or any other of its kind. Progress and what
goes wrong are on standard error; on standard output are the URLs of what was uploaded, one a line, or JSON.

- **Links that break.** What has come is not sent again: an upload goes on where the server says it stopped
  (draft "Resumable Uploads for HTTP", interop version 8), a download by Range, under one strong ETag. To a
  server that knows no resumable uploads a file goes in one plain PUT.
- **Several connections.** `--connections N` sends N files at the same time, or, where there are fewer, large
  files in parts: N for one file, N/2 for each of two. That is done at endpoints whose server joins partial
  uploads (tus 1.0.0, concatenation: OPTIONS says so), with files of 8 MiB or more, a connection for each 4
  MiB. A slot's file has one connection, since its bytes go in order. Each part goes on by itself after a
  break. Worth it where one connection cannot fill the line: over long ways, with losses, or where each is
  held to a rate.
- **Waits.** Broken connections, timeouts and the statuses 408, 423, 425, 429 and 5xx (but 501 and 505) are
  tried again, after waits whose bounds double from 1 to 60 seconds, and of which chance takes a share.
  Progress begins them anew; each connection has waits of its own. Retry-After is obeyed up to five minutes.
- **Digests.** The SHA-256 of an upload goes with its last request (Repr-Digest, RFC 9530), and a server that
  knows the field refuses a file that came otherwise. It is taken as the bytes go by; of a file in parts in a
  pass of its own meanwhile. To answer that request the server has a second more for each 32 MiB of the file.
  One that a download's answer has is compared before the file gets its name; this server tells it of every
  file that `put` has brought.
- **No state.** `put` keeps nothing: the server is asked, and what stands whole at that URL counts as this
  file if its SHA-256 is the same; where the server tells none, a whole upload of the same size does. The
  parts of a file are named behind the endpoint's URL, `https://host/files/#ID,ID,ID`; if they were joined and
  the answer was lost, it is asked for again. A server that cannot give it again has perhaps stored the file,
  which is then said: it is not sent once more. `get` keeps FILE.part, which knows by an extended attribute
  what it is the beginning of; on a file system without these a later run begins anew.
- **Trust.** Certificates are checked against the system's authorities; SSL_CERT_FILE names others.
- **Secrets.** Other users of a machine may see the arguments of a command, a signed URL among them, and not
  its environment nor what `@FILE` names: so a token is given as HMACFS_TOKEN or `--token @FILE`, and other
  secret fields as `--header @FILE`. They go to the origin of the URL in the command, whatever it is. A
  download's redirections are followed, but not out of https; what leads to another origin (scheme, host and
  port) gets none of the fields given, no cookie and no token, nor does what follows. An upload follows no
  redirection. A token signed here for an endpoint (`--protocol tus`) is good for a day, since each request
  shows it.
"""
CLOSING: Final = """\
## Exit status

| status | meaning |
|---|---|
| 0 | all done |
| 1 | refused, or failed for good: the same again will fail again |
| 2 | misused |
| 3 | gave up after retries; may be continued |
| 130 | Ctrl-C; may be continued |

## JSON

With `--json` each file is one line on standard output (on standard error for `get -o -`), as soon as it ends:

| member | meaning |
|---|---|
| `file` | path of the file here |
| `url` | where it can be downloaded; null if it is nowhere or the server did not say |
| `end` | `done`, `failed`, `gave-up` or `interrupted` |
| `size`, `sha256` | of the whole file; null if unknown |
| `seconds`, `retries` | how long it took, and how often it was tried again |
| `resource` | where an upload can be continued by `hmacfs put FILE RESOURCE`; null if it cannot; \
of one in parts the endpoint's URL with their names |
| `problem` | null, or an object: `words`, and, null where there are none, `status` (HTTP), `code` \
([refusals](refusals.md)), `request_id`, `retry_after_s` |
"""


def text() -> str:
    """Return the whole page as Markdown."""
    put = argparse.ArgumentParser(prog="hmacfs put")
    options.add_put(put)
    get = argparse.ArgumentParser(prog="hmacfs get")
    options.add_get(get)
    return "\n".join((OPENING, *_command(put), *_command(get), CLOSING))


def _command(parser: argparse.ArgumentParser) -> list[str]:
    usage = [f"{parser.prog} [OPTION]... URL"]
    if parser.usage is not None:
        usage = [line.strip() for line in (parser.usage % {"prog": parser.prog}).splitlines()]
    rows = [f"| {_name(action)} | {_help(action)} |" for action in parser._actions]  # noqa: SLF001 - there is no public list
    return [
        f"## {parser.prog}",
        "",
        "```",
        *usage,
        "```",
        "",
        parser.description or "",
        "",
        "| argument | meaning |",
        "|---|---|",
        *rows,
        "",
    ]


def _name(action: argparse.Action) -> str:
    value = "|".join(action.choices) if action.choices else str(action.metavar or action.dest)
    if not action.option_strings:
        return f"`{value}`"
    takes = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"`{option}{takes}`" for option in action.option_strings).replace("|", "\\|")


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default}


if __name__ == "__main__":
    sys.stdout.write(text())
