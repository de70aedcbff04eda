"""Ctrl-C at any time of a command's life: a quiet end with exit status 130, also while it imports."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import children
import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Runs a command, and tells what it imports, or interrupts it as it is about to import one module.
COMMAND = """
import json, signal, sys
from hmacfs.__main__ import main

at, *sys.argv[1:] = sys.argv[1:]
names = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        names.append(name)
        if name == at:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Watch())
try:
    status = main()
except SystemExit as end:  # of argparse
    status = end.code
if not at:
    print(json.dumps(names), file=sys.stderr)
sys.exit(status)
"""
COMMANDS = {
    "serve": ("--config", "config.toml"),
    "check-config": ("config.toml",),
    "gen-config": (),
    "sign": ("--config", "config.toml", "--base-url", "http://x/upload/", "name", "5"),
    "put": ("--retries", "0", "config.toml", "http://127.0.0.1:1/slot"),
    "get": ("--retries", "0", "http://127.0.0.1:1/file"),
    "expire": ("--config", "config.toml", "--dry-run"),
    "stats": ("--config", "config.toml", "--once"),
}
EACH = 8
GOES_ON = r"(hmacfs: [a-z.]+: interrupted; to go on, give the same command again\n)?"
"""What a transfer says that had begun: its library imports some modules late."""


def run(where: Path, at: str, *words: str) -> tuple[int, str, str]:
    """Run a command that is interrupted at an import; give its status and what it said."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with children.running(
        [sys.executable, "-c", COMMAND, at, *words], cwd=where, text=True, **options
    ) as ran:
        out, err = ran.communicate()
        return ran.returncode, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_whoever_is_interrupted_while_it_imports_is_quiet(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that the server imports all, and does not run
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "config.toml").write_text(
            f'[server]\nlisten_address = "{address}"\nstorage_path = "{tmp_path}/store"\n'
            f'[metrics]\nlisten_address = "127.0.0.1:1"\n[security]\nsecret = "{"s" * 32}"\n'
        )
        words = (command, *COMMANDS[command])
        told = json.loads(run(tmp_path, "", *words)[2].splitlines()[-1])
        first, *others, last = [name for name in told if name.startswith("hmacfs.")] or told
        others += [name for name in told if name not in {first, last}]
        for name in (first, last, *random.Random(command).sample(others, EACH)):
            status, out, err = run(tmp_path, name, *words)
            assert (status, out) == (130, ""), (name, err)
            assert re.fullmatch(GOES_ON, err), (name, err)
