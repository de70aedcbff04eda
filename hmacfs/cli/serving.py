"""The commands of whoever runs a server: serve, check-config, gen-config, stats."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from hmacfs import interrupts
from hmacfs.cli import loading

if TYPE_CHECKING:
    import argparse


def serve(options: argparse.Namespace) -> int:
    """Serve until told to stop; return the exit status."""
    from hmacfs import config, supervisor
    from hmacfs.listeners import ListenError
    from hmacfs.store import StorageError

    loaded = loading.load(options.config)
    if loaded is None:
        return 1
    reread = None if options.config is None else (lambda: config.load(options.config))
    try:
        return supervisor.run(loaded, reread)
    except (StorageError, ListenError, supervisor.StartError) as error:
        loading.say(f"hmacfs: {error}")
        return 1


def check_config(options: argparse.Namespace) -> int:
    """Tell every fault of a configuration; return the exit status."""
    from hmacfs.cli import trial

    loaded = loading.load(options.file)
    if loaded is None:
        return 1
    findings = trial.run(loaded)
    for notice in (*loaded.notices, *findings.notices):
        print(notice)
    for fault in findings.faults:
        loading.say(str(fault))
    if findings.faults:
        return 1
    print(f"{options.file}: files go to {loaded.settings.server.storage_path}")
    print(f"{options.file}: no faults")
    return 0


def gen_config(options: argparse.Namespace) -> int:
    """Write a configuration to start from; return the exit status."""
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
        loading.say(f"hmacfs: {options.output} cannot be made: {error.strerror or error}")
        return 1
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


def stats(options: argparse.Namespace) -> int:
    """Show what a running server does; return the exit status."""
    from hmacfs import stats
    from hmacfs.config import addresses, settings

    if options.config is None:
        address = (
            settings.Metrics().listen_address
        )  # `loading.load` would make a secret where there is no server
    elif (loaded := loading.load(options.config)) is not None:
        address = loaded.settings.metrics.listen_address
    else:
        return 1
    if not address:
        loading.say('hmacfs: [metrics] listen_address is "", so that no server tells what it does')
        return 1
    parsed = addresses.parse(address)
    if isinstance(parsed, addresses.Tcp) and parsed.port == 0:
        loading.say(
            f"hmacfs: [metrics] listen_address is {address}: the system chose the port; name one to be asked"
        )
        return 1
    interrupts.become_exceptions()
    show = stats.print_json if options.json else stats.print_once if options.once else stats.watch
    try:
        show(address, options.interval)
    except stats.Unreachable as error:
        loading.say(f"hmacfs: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0
