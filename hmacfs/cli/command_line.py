"""The command line: serve, check-config, gen-config, sign, put, get, expire, verify, stats."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

import hmacfs
from hmacfs.cli import serving, storage, transferring
from hmacfs.client import options as client_options
from hmacfs.model import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give the exit status: 0 fine, 1 refused, 2 misused."""
    options = parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="hmacfs", description=hmacfs.__doc__)
    top.add_argument("--version", action="version", version=f"hmacfs {hmacfs.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve in the foreground",
        description="Serve in the foreground. SIGTERM or SIGINT drains and ends, a second one ends at "
        "once; SIGHUP reloads the configuration, SIGUSR1 opens the log anew. Without --config: "
        "127.0.0.1:8080, storage in ./var, a random secret made once and kept in ./hmacfs.secret.",
    )
    serve.add_argument("--config", metavar="FILE", help="configuration to serve")
    serve.set_defaults(run=serving.serve)

    check = commands.add_parser(
        "check-config",
        help="check a configuration",
        description="Report every fault of a configuration at once; exit 1 if there is one. Also tries "
        "what it names, as this user, and says what becomes of each key of the Go server's.",
    )
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=serving.check_config)

    gen = commands.add_parser(
        "gen-config",
        help="print a configuration to start from",
        description="Print a commented configuration with a fresh random secret.",
    )
    gen.add_argument(
        "--output", metavar="FILE", help="make FILE, readable by its owner alone, instead of printing"
    )
    gen.add_argument("--full", action="store_true", help="list every key with its default")
    gen.set_defaults(run=serving.gen_config)

    sign = commands.add_parser(
        "sign",
        help="print a signed upload URL",
        description="Print a signed PUT URL, the header fields it needs and a curl command that uses it; "
        "with --protocol tus a token for files of this name and type, of SIZE bytes at most.",
    )
    sign.add_argument("--config", metavar="FILE", help="whose secret to use; else the embedded default")
    sign.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="v2",
        help="token dialect (default: v2)",
    )
    sign.add_argument(
        "--base-url",
        metavar="URL",
        required=True,
        help="public URL of an endpoint, like https://example.org/upload/",
    )
    sign.add_argument("name", metavar="NAME", help="file name, or SLOT/NAME; a random slot is made")
    sign.add_argument("size", metavar="SIZE", type=_size, help="exact size in bytes")
    sign.add_argument("type", metavar="TYPE", nargs="?", default="application/octet-stream")
    sign.set_defaults(run=transferring.sign)

    put = commands.add_parser("put", help="upload files")
    client_options.add_put(put)
    put.set_defaults(run=transferring.put)

    get = commands.add_parser("get", help="download a file")
    client_options.add_get(get)
    get.set_defaults(run=transferring.get)

    expire = commands.add_parser(
        "expire",
        help="remove files whose time is over",
        description="Remove files whose signed expiry or file_ttl has passed. The server does so by "
        "itself every sweep_interval; this is for cron, or to look first.",
    )
    expire.add_argument("--config", metavar="FILE", help="configuration of the storage")
    expire.add_argument("--dry-run", action="store_true", help="list them and remove nothing")
    expire.set_defaults(run=storage.expire)

    verify = commands.add_parser(
        "verify",
        help="compare the stored files with their digests",
        description="Read every stored file and compare it with the digest in the index; list those that are "
        "not what was uploaded, and exit 1 if there is one. Changes nothing; the server may run meanwhile.",
    )
    verify.add_argument("--config", metavar="FILE", help="configuration of the storage")
    verify.set_defaults(run=storage.verify)

    stats = commands.add_parser(
        "stats",
        help="show what a running server does",
        description="Show rates, latencies, throughput and errors of a running server, as it tells them on "
        "[metrics] listen_address of the configuration, until Ctrl-C. Into a pipe one snapshot is printed.",
    )
    stats.add_argument(
        "--config", metavar="FILE", help="configuration of the server; else its default address"
    )
    stats.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_seconds,
        default=1.0,
        help="time over which rates are taken (default: 1)",
    )
    form = stats.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="print one snapshot")
    form.add_argument("--json", action="store_true", help="print one snapshot as JSON")
    stats.set_defaults(run=serving.stats)
    return top


def _size(text: str) -> int:
    """Read a number of bytes. Raises ValueError, which argparse tells the user."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)


def _seconds(text: str) -> float:
    """Read a time above 0. Raises ValueError, which argparse tells the user."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds
