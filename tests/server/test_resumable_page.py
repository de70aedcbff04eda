"""The examples of docs/resumable.md, as they stand there, in a shell against the running server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import languages
import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Server

PAGE = Path(__file__).parents[2] / "docs/resumable.md"
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
TEXT = "".join(f"line {number}\n" for number in range(300))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("page"), rest=languages.CONFIG) as server:
        yield server


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example(server: Server, example: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    program("curl")
    (tmp_path / "file").write_text(TEXT)
    base = f"http://{server.host}:{server.port}"
    slot = serving.signed(serving.fresh("a.txt"), len(TEXT), "text/plain")
    given = {
        "base": base,
        "file": str(tmp_path / "file"),
        "name": "example.txt",
        "size": str(len(TEXT)),
        "slot": base + slot,
        "token": f"Authorization: {languages.ALICE['Authorization']}",
        "gojwt": f"Authorization: {languages.go_bearer()['Authorization']}",
    }
    done = subprocess.run(
        ["sh", "-euc", example], env={**os.environ, **given}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(TEXT)
    assert len(EXAMPLES) == 4
