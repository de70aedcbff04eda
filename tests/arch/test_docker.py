"""The image, without a Docker engine: what the Dockerfile says, and its RUN lines run in clean folders."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (keyword, rest) of each instruction, with continuation lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines) + "\n")
    return [(line.split()[0].upper(), line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each build stage."""
    found: list[list[tuple[str, str]]] = []
    for keyword, rest in instructions((ROOT / "Dockerfile").read_text()):
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, rest))
    return found


def only(stage: list[tuple[str, str]], keyword: str) -> str:
    """Return the one instruction of this kind."""
    (rest,) = [rest for word, rest in stage if word == keyword]
    return rest


def test_the_wheel_is_built_in_one_stage_and_installed_in_the_next() -> None:
    build, final = stages()
    assert "pip wheel" in " ".join(rest for _, rest in build)
    assert "pip install" in " ".join(rest for _, rest in final)
    assert not re.search(r"\b(gcc|apt-get)\b", " ".join(rest for _, rest in final))


def test_the_image_runs_as_nobody_in_particular() -> None:
    uid, gid = only(stages()[-1], "USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    keywords = [keyword for keyword, _ in stages()[-1]]
    assert "RUN" not in keywords[keywords.index("USER") :]


def test_nothing_comes_from_outside_the_build_context() -> None:
    every = [instruction for stage in stages() for instruction in stage]
    assert not [rest for keyword, rest in every if keyword == "ADD"]
    assert not [rest for keyword, rest in every if re.search(r"https?://", rest) and keyword != "HEALTHCHECK"]
    assert not [rest for keyword, rest in every if re.search(r"\b(curl|wget|git)\b", rest)]


def test_the_image_says_how_it_is_stopped_reached_and_kept() -> None:
    final = stages()[-1]
    assert only(final, "STOPSIGNAL") == "SIGTERM"
    assert only(final, "EXPOSE").split() == ["8080", "9090"]
    assert only(final, "VOLUME") == "/srv/hmacfs"
    assert json.loads(only(final, "ENTRYPOINT")) == ["hmacfs"]
    assert json.loads(only(final, "CMD"))[0] == "serve"
    assert "/etc/hmacfs/config.toml" in only(final, "CMD")


def test_every_copied_file_is_let_into_the_build_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for stage in stages()
        for keyword, rest in stage
        if keyword == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied <= allowed


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers /readyz with the server's own mood."""

    mood = 200

    def do_GET(self) -> None:
        self.send_response(self.mood if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("mood", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_tells_ready_from_not(mood: int | None, healthy: bool) -> None:  # noqa: FBT001 - a row
    command = json.loads(only(stages()[-1], "HEALTHCHECK").partition("CMD ")[2])
    with http.server.HTTPServer(("127.0.0.1", 0), type("Mood", (Ready,), {"mood": mood})) as server:
        address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            if mood is None:
                address = "127.0.0.1:1"  # tcpmux: nobody listens
            assert "127.0.0.1:9090/readyz" in command[-1]
            check = [sys.executable, *command[1:-1], command[-1].replace("127.0.0.1:9090", address)]
            run = subprocess.run(check, capture_output=True, check=False)
        finally:
            server.shutdown()
            thread.join()
    assert (run.returncode == 0) is healthy, run.stderr


def copy_as_told(stage: list[tuple[str, str]], folder: Path) -> None:
    """Do the COPY instructions that take from the build context, as .dockerignore lets them."""
    ignored = shutil.ignore_patterns("__pycache__", "_*.c", "_*.html", "*.so")
    for keyword, rest in stage:
        if keyword != "COPY":
            continue
        *sources, target = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, folder / target)


def run_as_told(stage: list[tuple[str, str]], word: str, folder: Path, moved: dict[str, Path]) -> None:
    """Run the one RUN instruction that says `word`, with the image's folders moved elsewhere."""
    (script,) = [rest for keyword, rest in stage if keyword == "RUN" and word in rest]
    script = re.sub(r"--mount=\S+\s+", "", script)
    for inside, outside in moved.items():
        script = script.replace(inside, shlex.quote(str(outside)))
    subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True)
    path = os.pathsep.join([str(folder / "python" / "bin"), os.environ.get("PATH", os.defpath)])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env=clean | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.timeout(600)  # compiles the core and fetches every dependency
def test_the_steps_of_the_image_give_a_working_hmacfs(tmp_path: Path) -> None:
    build, final = stages()
    source, image = tmp_path / "src", tmp_path / "image"
    source.mkdir()
    image.mkdir()
    moved = {"/wheels": tmp_path / "wheels", "/opt/hmacfs": tmp_path / "opt"}
    copy_as_told(build, source)
    run_as_told(build, "pip wheel", source, moved)
    run_as_told(final, "pip install", image, moved)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for arguments in (["--help"], ["serve", "--help"]):
        command = [str(tmp_path / "opt" / "bin" / "hmacfs"), *arguments]
        run = subprocess.run(command, cwd=image, env=clean, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "serve" in run.stdout
