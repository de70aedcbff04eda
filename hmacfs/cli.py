"""The command line: serve, check-config, gen-config, sign, put, get, expire, verify, stats."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import hmacfs
from hmacfs import interrupts
from hmacfs.client import options as client_options
from hmacfs.model import PROTOCOLS, TUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmacfs.auth import Signed, SlotRequest
    from hmacfs.client.destination import Destination
    from hmacfs.config import Loaded, Settings
    from hmacfs.model import Endpoint

SIGN_TTL_S: Final = 600.0  # Prosody 13's own validity of a slot
PASS_TTL_S: Final = 86400.0  # each request of an upload shows it; an unfinished one is kept so long


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
    serve.set_defaults(run=_serve)

    check = commands.add_parser(
        "check-config",
        help="check a configuration",
        description="Report every fault of a configuration at once; exit 1 if there is one. Also tries "
        "what it names, as this user, and says what becomes of each key of the Go server's.",
    )
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check_config)

    gen = commands.add_parser(
        "gen-config",
        help="print a configuration to start from",
        description="Print a commented configuration with a fresh random secret.",
    )
    gen.add_argument(
        "--output", metavar="FILE", help="make FILE, readable by its owner alone, instead of printing"
    )
    gen.add_argument("--full", action="store_true", help="list every key with its default")
    gen.set_defaults(run=_gen_config)

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
    sign.set_defaults(run=_sign)

    put = commands.add_parser("put", help="upload files")
    client_options.add_put(put)
    put.set_defaults(run=_put)

    get = commands.add_parser("get", help="download a file")
    client_options.add_get(get)
    get.set_defaults(run=_get)

    expire = commands.add_parser(
        "expire",
        help="remove files whose time is over",
        description="Remove files whose signed expiry or file_ttl has passed. The server does so by "
        "itself every sweep_interval; this is for cron, or to look first.",
    )
    expire.add_argument("--config", metavar="FILE", help="configuration of the storage")
    expire.add_argument("--dry-run", action="store_true", help="list them and remove nothing")
    expire.set_defaults(run=_expire)

    verify = commands.add_parser(
        "verify",
        help="compare the stored files with their digests",
        description="Read every stored file and compare it with the digest in the index; list those that are "
        "not what was uploaded, and exit 1 if there is one. Changes nothing; the server may run meanwhile.",
    )
    verify.add_argument("--config", metavar="FILE", help="configuration of the storage")
    verify.set_defaults(run=_verify)

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
    stats.set_defaults(run=_stats)
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


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _load(file: str | None) -> Loaded | None:
    """Return the settings of `file`, or the embedded default; None after saying what is wrong."""
    from hmacfs import config

    try:
        if file is None:
            return config.Loaded(settings=config.embedded(Path.cwd()), notices=())
        return config.load(file)
    except config.Faulty as faulty:
        for fault in faulty.faults:
            _say(str(fault))
        return None


def _serve(options: argparse.Namespace) -> int:
    from hmacfs import config, supervisor
    from hmacfs.store import StorageError
    from hmacfs.supervisor.listeners import ListenError

    loaded = _load(options.config)
    if loaded is None:
        return 1
    reread = None if options.config is None else (lambda: config.load(options.config))
    try:
        return supervisor.run(loaded, reread)
    except (StorageError, ListenError, supervisor.StartError) as error:
        _say(f"hmacfs: {error}")
        return 1


def _check_config(options: argparse.Namespace) -> int:
    from hmacfs.supervisor import trial

    loaded = _load(options.file)
    if loaded is None:
        return 1
    findings = trial.run(loaded)
    for notice in (*loaded.notices, *findings.notices):
        print(notice)
    for fault in findings.faults:
        _say(str(fault))
    if findings.faults:
        return 1
    print(f"{options.file}: files go to {loaded.settings.server.storage_path}")
    print(f"{options.file}: no faults")
    return 0


def _gen_config(options: argparse.Namespace) -> int:
    from hmacfs.config import render

    write = render.full if options.full else render.short
    text = write(secrets.token_hex(32))
    if options.output is None:
        print(text, end="")
        return 0
    try:
        # Never over another one: the XMPP server knows that one's secret.
        fd = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _say(f"hmacfs: {options.output} cannot be made: {error.strerror or error}")
        return 1
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


def _sign(options: argparse.Namespace) -> int:
    loaded = _load(options.config)
    if loaded is None:
        return 1
    try:
        if options.protocol == TUS:
            return _sign_pass(options, loaded.settings)
        url, signed = _slot(options, loaded.settings, _asked(options))
    except ValueError as error:
        _say(f"hmacfs: {error}")
        return 1
    print(url)
    for name, value in signed.fields:
        print(f"{name}: {value}")
    headers = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in signed.fields)
    print(f"curl -T {shlex.quote(options.name.rpartition('/')[2])}{headers} {shlex.quote(url)}")
    return 0


def _sign_pass(options: argparse.Namespace, settings: Settings) -> int:
    """Print what lets a client begin an upload at an endpoint of protocol tus. Raises ValueError."""
    name = options.name.rpartition("/")[2]
    base, bearer = _pass(options, settings, _asked(options)._replace(rel=name), SIGN_TTL_S)
    bearer = f"Authorization: {bearer}"
    print(base)
    print(bearer)
    # All at once, as a creation with upload; a client of tus would go on where this breaks off.
    fields = (
        bearer,
        "Tus-Resumable: 1.0.0",
        f"Upload-Length: {options.size}",
        "Content-Type: application/offset+octet-stream",
    )
    headers = "".join(f" -H {shlex.quote(field)}" for field in fields)
    print(f"curl --data-binary {shlex.quote(f'@{name}')}{headers} {shlex.quote(base)}")
    return 0


def _asked(options: argparse.Namespace) -> SlotRequest:
    from hmacfs import auth

    return auth.SlotRequest(options.name, options.size, options.type)


def _pass(
    options: argparse.Namespace, settings: Settings, asked: SlotRequest, ttl_s: float
) -> tuple[str, str]:
    """Return the URL of an endpoint of protocol tus, and the Authorization for a file. Raises ValueError."""
    from hmacfs import auth

    base = options.base_url if options.base_url.endswith("/") else f"{options.base_url}/"
    endpoint = _able(settings, base, TUS)
    claims = {"max_size": asked.size, "name": asked.rel, "type": asked.content_type}
    token = auth.sign_pass(endpoint.secrets[0], "hmacfs", now=time.time(), ttl_s=ttl_s, **claims)
    return base, f"Bearer {token}"


def _slot(options: argparse.Namespace, settings: Settings, asked: SlotRequest) -> tuple[str, Signed]:
    """Return the upload URL of a file, and what signs it. Raises ValueError, whose text says why not."""
    from hmacfs import auth
    from hmacfs.app import routing
    from hmacfs.errors import Refused
    from hmacfs.http import target

    base = options.base_url if options.base_url.endswith("/") else f"{options.base_url}/"
    endpoint = _able(settings, base, options.protocol)
    rel = asked.rel if "/" in asked.rel else f"{secrets.token_urlsafe(18)}/{asked.rel}"
    try:
        # What the server would not take is not signed either.
        path = target.decode_path(quote(endpoint.prefix + rel).encode())
        routing.find(path, (endpoint,))
        request = asked._replace(rel=rel)
        signed = auth.sign(options.protocol, endpoint, request, now=time.time(), ttl_s=SIGN_TTL_S)
    except Refused as refused:
        raise ValueError(f"{rel!r} cannot be uploaded: {refused.refusal.words}") from refused
    return base + quote(rel, safe="/-._~") + (f"?{signed.query}" if signed.query else ""), signed


def _put(options: argparse.Namespace) -> int:
    from hmacfs import auth
    from hmacfs.client import command
    from hmacfs.client.destination import Destination
    from hmacfs.client.problem import Failed

    interrupts.become_exceptions()
    if options.base_url is None:
        return command.put(options, None)
    loaded = _load(options.config)
    if loaded is None:
        return 1

    def sign(name: str, size: int, kind: str) -> Destination:
        asked = auth.SlotRequest(name, size, kind)
        try:
            if options.protocol == TUS:
                url, bearer = _pass(options, loaded.settings, asked, PASS_TTL_S)
                return Destination(url=url, fields={"Authorization": bearer}, content_type=kind)
            url, signed = _slot(options, loaded.settings, asked)
        except ValueError as error:
            raise Failed(str(error)) from error
        # The client says of each request itself how long and of what type it is.
        fields = {field: value for field, value in signed.fields if field == "Authorization"}
        return Destination(url=url, fields=fields, content_type=kind)

    return command.put(options, sign)


def _get(options: argparse.Namespace) -> int:
    from hmacfs.client import command

    interrupts.become_exceptions()
    return command.get(options)


def _able(settings: Settings, base: str, protocol: str) -> Endpoint:
    """Return the endpoint at `base` that takes `protocol`, else any that does: a proxy may map paths.

    Raises ValueError if none does.
    """
    able = [endpoint for endpoint in settings.endpoints if protocol in endpoint.protocols]
    exact = [endpoint for endpoint in able if endpoint.prefix == urlsplit(base).path]
    if not able:
        raise ValueError(f"no endpoint takes {protocol}; name it in an [[endpoint]]'s protocols")
    return (exact or able)[0]


def _expire(options: argparse.Namespace) -> int:
    from hmacfs import store, worker

    loaded = _load(options.config)
    if loaded is None:
        return 1
    server = loaded.settings.server
    try:
        if options.dry_run:
            count = 0
            for record in store.list_expired(server.storage_path, worker.rules(loaded.settings), time.time()):
                count += 1
                print(f"{record.size}\t{store.printable(record.key)}")
            print(f"{count} files would be removed")
        else:
            swept = store.expire(server.storage_path, worker.rules(loaded.settings), time.time())
            print("the server is at it already" if swept is None else f"{swept.removed} files removed")
    except store.StorageError as error:
        _say(f"hmacfs: {error}")
        return 1
    return 0


def _verify(options: argparse.Namespace) -> int:
    import sqlite3
    from collections import Counter

    from rich.console import Console
    from rich.progress import Progress

    from hmacfs import store, worker

    loaded = _load(options.config)
    if loaded is None:
        return 1
    path = loaded.settings.server.storage_path
    found: Counter[store.FileVerdict] = Counter()
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("comparing", total=None)
            for record, verdict in store.verify(path, worker.rules(loaded.settings)):
                found[verdict] += 1
                progress.update(task, description=f"{found.total()} files compared")
                if verdict in {store.FileVerdict.DIFFERENT, store.FileVerdict.UNREADABLE}:
                    print(f"{verdict}\t{store.printable(record.key)}")
    except (store.StorageError, sqlite3.Error) as error:
        _say(f"hmacfs: {error}")
        return 1
    _say(", ".join(f"{found[verdict]} {verdict}" for verdict in store.FileVerdict))
    return 1 if found[store.FileVerdict.DIFFERENT] or found[store.FileVerdict.UNREADABLE] else 0


def _stats(options: argparse.Namespace) -> int:
    from hmacfs import stats
    from hmacfs.config import addresses, settings

    if options.config is None:
        address = settings.Metrics().listen_address  # `_load` would make a secret where there is no server
    elif (loaded := _load(options.config)) is not None:
        address = loaded.settings.metrics.listen_address
    else:
        return 1
    if not address:
        _say('hmacfs: [metrics] listen_address is "", so that no server tells what it does')
        return 1
    parsed = addresses.parse(address)
    if isinstance(parsed, addresses.Tcp) and parsed.port == 0:
        _say(
            f"hmacfs: [metrics] listen_address is {address}: the system chose the port; name one to be asked"
        )
        return 1
    interrupts.become_exceptions()
    show = stats.print_json if options.json else stats.print_once if options.once else stats.watch
    try:
        show(address, options.interval)
    except stats.Unreachable as error:
        _say(f"hmacfs: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0
