"""The Go server's users start with one command: `serve --config THEIR.toml` runs, and takes an upload."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import go_keys
import pytest
import serving

if TYPE_CHECKING:
    from pathlib import Path


def configuration(name: str, where: Path) -> str:
    """Return a template whose secret is a real one, and which has room on a machine that runs tests."""
    port = "server.port" if name == "ejabberd" else "server.listen_address"
    return go_keys.template(
        name,
        {
            "server.storage_path": f"'{where}/store'",
            "server.upload_path": f"'{where}/store'",
            "server.listen_address": "",
            "server.port": "",
            port: "'0'",
            "server.bind_ip": "'127.0.0.1'",
            "server.metricsport": "'0'",
            "server.min_free_bytes": "'1MB'",
            "server.loggingjson": "true",
            "metrics.port": "0",
            "logging.file": "",
            "logging.level": "'INFO'",
            "security.secret": "" if name == "ejabberd" else f"'{serving.SECRET}'",
            "auth.shared_secret": f"'{serving.SECRET}'",
        },
    )


@pytest.mark.parametrize("name", go_keys.TEMPLATES)
def test_a_template_runs(name: str, tmp_path: Path) -> None:
    with serving.start(tmp_path, configuration(name, tmp_path)) as server:
        rel = serving.fresh()
        assert server.put(rel, b"hello").status == 201
        assert server.get(rel).body == b"hello"
        assert server.operate("/readyz")[0] == 200
        assert server.stop() == 0
    checked = subprocess.run(
        [sys.executable, "-m", "hmacfs", "check-config", str(server.config)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=serving.PATIENCE_S,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
