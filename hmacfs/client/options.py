"""The options of `hmacfs put` and `hmacfs get`; light, so that --help is quick."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import Final

from hmacfs.client import urls
from hmacfs.model import PROTOCOLS

# With the waits of `retry`: three minutes at most, half of that on average; a train's longest tunnel.
RETRIES: Final = 8
TIMEOUT_S: Final = 60.0

PUT: Final = (
    "Upload files and print the URL to download each from. URL is a signed upload URL, which takes one file, "
    'or an endpoint for resumable uploads, which ends in "/". With --base-url URLs are signed here instead. '
    "An upload that was interrupted says how it is continued."
)
GET: Final = (
    "Download a file into the working directory, under the last part of its URL. What came is in FILE.part "
    "until all of it is there; given again, the command of a download that was interrupted goes on with it."
)
ENDS: Final = (
    "Exit status: 0 done, 1 refused or failed for good, 2 misused, 3 gave up after retries, 130 Ctrl-C."
)

VARIABLE: Final = "HMACFS_TOKEN"
"""Of the environment, which other users do not see: the token where none is named."""
FROM_FILE: Final = "@"
"""Begins what is no secret but the name of its file: other users see the arguments of a command."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
# RFC 9110 5.1 and 5.5.
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)")


def add_put(parser: argparse.ArgumentParser) -> None:
    """Add what `put` takes."""
    parser.description = f"{PUT} {ENDS}"
    parser.usage = "%(prog)s [OPTION]... FILE... URL\n       %(prog)s [OPTION]... --base-url URL FILE..."
    parser.add_argument("files", metavar="FILE", nargs="+", help="files to upload; the last is the URL")
    parser.add_argument("--type", metavar="TYPE", help="media type (default: by the file's name)")
    parser.add_argument(
        "--connections",
        metavar="N",
        type=_count,
        default=1,
        help="connections at the same time: each for a file, or, where there are fewer files, for a part of "
        "a large one that goes to an endpoint; a slot's file has one (default: %(default)s)",
    )
    parser.add_argument(
        "--chunk",
        metavar="SIZE",
        type=_chunk,
        help="bytes of one request, like 8M (default: what the server advises)",
    )
    signing = parser.add_argument_group("signing")
    signing.add_argument(
        "--base-url",
        metavar="URL",
        type=_url,
        help="public URL of an endpoint, like https://example.org/upload/: sign a URL for each file",
    )
    signing.add_argument("--config", metavar="FILE", help="whose secret to use; else the embedded default")
    signing.add_argument(
        "--protocol", choices=PROTOCOLS, default="v2", help="token dialect (default: %(default)s)"
    )
    _add_common(parser)


def add_get(parser: argparse.ArgumentParser) -> None:
    """Add what `get` takes."""
    parser.description = f"{GET} {ENDS}"
    parser.add_argument("url", metavar="URL", type=_url, help="URL of the file")
    parser.add_argument("-o", "--output", metavar="FILE", help='file to write; "-" is standard output')
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--header",
        metavar="FIELD",
        type=_fields,
        action="extend",
        default=[],
        help='header field of each request, like "Name: value"; @FILE reads one a line; may be repeated',
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        type=_token,
        default=os.environ.get(VARIABLE) or None,
        help=f"bearer token of each request; @FILE reads it (default: {VARIABLE} of the environment)",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=_number,
        default=RETRIES,
        help="tries in a row without a byte of progress before giving up (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_time,
        default=TIMEOUT_S,
        help="how long no byte may move before a request counts as broken, like 30s (default: 60s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")


def _url(text: str) -> str:
    """Read a URL that can be asked."""
    if not urls.can_be_asked(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no http or https URL")
    return text


def place_url(text: str) -> str:
    """Read the last of several words, which must be a URL. Raises ValueError, whose text says why."""
    try:
        return _url(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"the last argument of put is where to: {error}") from error


def _fields(text: str) -> list[tuple[str, str]]:
    lines = _read(text).splitlines() if text.startswith(FROM_FILE) else [text]
    matches = [_FIELD.fullmatch(line) for line in lines if line.strip()]
    if not all(matches):
        raise argparse.ArgumentTypeError("a header field is written 'Name: value'")
    return [(match[1], match[2]) for match in matches if match]


def _token(text: str) -> str:
    value = _read(text).strip() if text.startswith(FROM_FILE) else text
    if not _TOKEN.fullmatch(value):
        raise argparse.ArgumentTypeError(
            f"a token, here or in {VARIABLE}, has no spaces and no other than ASCII characters"
        )
    return value


def _read(named: str) -> str:
    """Return the text of the file that is named behind "@"."""
    file = named.removeprefix(FROM_FILE)
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{file}: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError, or a NUL in the name
        raise argparse.ArgumentTypeError(f"{file}: is no text in UTF-8") from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("not a number")
    return int(text)


def _count(text: str) -> int:
    if (number := _number(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _chunk(text: str) -> int:
    from hmacfs.config import units

    try:
        size = units.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if size < 1:
        raise argparse.ArgumentTypeError("at least one byte")
    return size


def _time(text: str) -> float:
    from hmacfs.config import units

    try:
        seconds = units.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("more than no time")
    return seconds
