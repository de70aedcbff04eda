"""Where and with what a bench ran: what any figure has to be read with. Names no host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benches import contenders

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES: Final = ("uvloop", "httptools", "cython")
CLIENTS: Final = {"wrk": ("wrk", "-v"), "h2load": ("h2load", "--version")}


def describe(root: Path, names: Iterable[str], command: str) -> dict[str, object]:
    """Return host, kernel, versions, revision and command."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.count(":") == 1
    )
    models = [value.strip() for name, value in fields.items() if name.strip() == "model name"]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command,
        "revision": _first_line("git", "describe", "--always", "--dirty"),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "file_system": _first_line("findmnt", "-no", "FSTYPE", "-T", str(root)),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],  # of others: what is above a few tenths spoils figures
        "versions": versions(names),
        "logs": "every server writes a line for each request to /dev/null",
    }


def caption(host: dict[str, object]) -> str:
    """Return one line that says what a chart was measured on."""
    return (
        f"{host['cpu']}, Linux {host['kernel']}, {host['file_system']}; {host['command']}; {host['revision']}"
    )


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of contenders, clients and what hmacfs is made of."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    commands = CLIENTS | {name: contenders.CONTENDERS[name].version for name in names}
    for name, command in commands.items():
        if command[0] == "python":
            found[name] = importlib.metadata.version(command[1])
        else:
            found[name] = _version(command)
    if "granian" in found:
        found["starlette"] = importlib.metadata.version("starlette")
    return found


def _version(command: tuple[str, ...]) -> str:
    # Some say it on standard error, some fail after saying it.
    run = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PATH": contenders.PATH},
    )
    match = re.search(r"\d+(\.\d+)+", run.stdout)
    return match[0] if match else "unknown"


def _first_line(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.partition("\n")[0].strip()
