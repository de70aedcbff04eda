"""A command loads what it needs: one that lists files no server, the supervisor no connections."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import serving

from hmacfs import config, store

if TYPE_CHECKING:
    from pathlib import Path

RUN = """
import sys
from hmacfs import cli
status = cli.main(sys.argv[1:])
print("loaded:", *sorted(sys.modules))
sys.exit(status)
"""
SERVER = ("uvloop", "httptools", "hmacfs._front", "hmacfs._hot", "hmacfs.connection", "hmacfs.supervisor")
COMMANDS = [
    ["expire", "--config", "c.toml"],
    ["expire", "--dry-run", "--config", "c.toml"],
    ["verify", "--config", "c.toml"],
    ["check-config", "c.toml"],
    ["gen-config"],
    ["sign", "--config", "c.toml", "--base-url", "http://127.0.0.1/upload/", "name", "3"],
]


def loaded(*arguments: str, where: Path) -> set[str]:
    """Return the modules of an interpreter that has done this."""
    run = subprocess.run(
        [sys.executable, "-c", *arguments], cwd=where, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_loads_no_server(tmp_path: Path, command: list[str]) -> None:
    text = serving.configuration(tmp_path / "store")
    (tmp_path / "c.toml").write_text(text)
    settings = config.parse(text, name="c.toml", base_dir=tmp_path, environ={}).settings
    store.Store.open(settings.server.storage_path, store.Rules.of(settings)).close()
    found = loaded(RUN, *command, where=tmp_path)
    assert "hmacfs.cli.command_line" in found
    assert found & {*SERVER, "hmacfs.worker"} == set()


def test_the_supervisor_loads_nothing_that_serves_clients(tmp_path: Path) -> None:
    found = loaded("import sys, hmacfs.supervisor; print('loaded:', *sys.modules)", where=tmp_path)
    assert {"uvloop", "hmacfs.worker", "hmacfs.supervisor.supervisor"} <= found
    assert found & {"hmacfs.worker.process", "hmacfs.app", "hmacfs.connection", "hmacfs._front"} == set()
