"""`hmacfs put` and `hmacfs get` as a person or a script uses them: real processes, beside real servers."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import children
import pytest
import serving
from client.standin import Cut, Say, Stall

from hmacfs.client.sink import PartialDownload
from hmacfs.model import MiB
from tools import client_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.conftest import Done
    from client.standin import Standin

    Command = Callable[..., Done]

PAGE = Path(__file__).parents[2] / "docs/client.md"
SMALL = b"hello world\n"
LARGE = bytes(range(256)) * 4 * 9000  # more than goes without a question
REST = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "jwt"]
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hmacfs", *arguments]


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Server]:
    with serving.running(tmp_path_factory.mktemp("real"), rest=REST) as server:
        yield server


def test_the_page_is_that_of_the_options() -> None:
    assert PAGE.read_text(encoding="utf-8") == client_reference.text()


@pytest.mark.parametrize("protocol", ["v2", "jwt"])
def test_what_is_put_can_be_got(real: serving.Server, protocol: str, hmacfs: Command, tmp_path: Path) -> None:
    name = "très cool +%~(1).txt"
    (tmp_path / name).write_bytes(SMALL)
    (tmp_path / "large.bin").write_bytes(LARGE)
    signing = ("--config", str(real.config), "--base-url", real.url, "--protocol", protocol)
    put = hmacfs("put", *signing, name, "large.bin")
    assert (put.returncode, put.stderr) == (0, "")
    small, large = put.stdout.splitlines()
    assert (
        real.request("GET", small.removeprefix(real.url[: -len("/upload/")]))
        .fields["content-type"]
        .startswith("text/plain")
    )
    (tmp_path / "got").mkdir()
    for url, wanted, data in ((small, name, SMALL), (large, "large.bin", LARGE)):
        got = hmacfs("get", url, cwd=tmp_path / "got")
        assert (got.returncode, got.stdout, got.stderr) == (0, "", "")
        assert (tmp_path / "got" / wanted).read_bytes() == data
    again = hmacfs("get", small, cwd=tmp_path / "got")
    assert again.returncode == 1
    assert (
        again.stderr
        == f"hmacfs: {name}: exists already; name another file with -o, or replace it with --force\n"
    )


def test_a_file_that_rots_on_the_server_is_not_got(
    real: serving.Server, hmacfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(LARGE)
    put = hmacfs("put", "--config", str(real.config), "--base-url", real.url, "a.bin")
    url = put.stdout.strip()
    (tmp_path / "got").mkdir()
    assert hmacfs("get", url, "-o", "sound", cwd=tmp_path / "got").returncode == 0
    file = real.storage / "upload" / url.removeprefix(real.url)
    found = file.stat()
    with file.open("r+b") as opened:
        opened.seek(5 * MiB)
        opened.write(b"?")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))  # a disk that forgets tells nobody
    tag = real.get(url.removeprefix(real.url)).fields["etag"]
    for have in (0, 6 * MiB, len(LARGE)):  # the rest comes as 206; in the end there is none
        with PartialDownload(tmp_path / "got/a.bin", url, force=False) as part:
            part.begin(tag)
            part.write(file.read_bytes()[:have])
        got = hmacfs("get", url, cwd=tmp_path / "got")
        assert (got.returncode, got.stdout) == (1, "")
        assert "what came has another SHA-256 than the file that was uploaded" in got.stderr
        assert os.listdir(tmp_path / "got") == ["sound"]  # noqa: PTH208 - names alone


def test_many_files_at_once_and_json(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    names = [f"{number}.bin" for number in range(7)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    signing = ("--config", str(real.config), "--base-url", real.url)
    put = hmacfs("put", *signing, "--connections", "3", "--json", *names, "missing")
    assert put.returncode == 1
    ends = {ended["file"]: ended for ended in objects(put.stdout)}
    assert ends.keys() == {*names, "missing"}
    assert put.stderr == "hmacfs: missing: cannot be read: No such file or directory\n"
    assert ends["missing"]["end"] == "failed"
    assert ends["missing"]["url"] is None
    for name in names:
        assert ends[name]["end"] == "done"
        assert ends[name]["sha256"] == hashlib.sha256(name.encode()).hexdigest()
        assert real.get(ends[name]["url"].removeprefix(real.url)).body == name.encode()


def test_a_refusal_has_the_servers_words(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(SMALL)
    done = hmacfs("put", "--json", "a.txt", f"{real.url}slot/a.txt?v2=00")
    assert done.returncode == 1
    problem = objects(done.stdout)[0]["problem"]
    assert (problem["status"], problem["code"]) == (403, "token_wrong")
    assert done.stderr == f"hmacfs: a.txt: {problem['words']}\n"
    assert problem["request_id"] in problem["words"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["put"], "required"),
        (["put", "a"], "http or https URL"),
        (["put", "http://x/y"], "name the files"),
        (["put", "a", "ftp://x/y"], "http or https URL"),
        (["put", "a", "http://"], "http or https URL"),
        (["put", "a", "b", "http://x/y?v2=1"], "takes one file"),
        (["put", "--chunk", "0", "a", "http://x/y"], "at least one byte"),
        (["put", "--chunk", "some", "a", "http://x/y"], "10GB"),
        (["put", "--connections", "0", "a", "http://x/y"], "at least 1"),
        (["put", "--timeout", "0", "a", "http://x/y"], "more than no time"),
        (["put", "--header", "nonsense", "a", "http://x/y"], "Name: value"),
        (["put", "--header", "a: b\nc: d", "a", "http://x/y"], "Name: value"),
        (["put", "--token", "a b", "a", "http://x/y"], "no spaces"),
        (["get", "nonsense"], "http or https URL"),
        (["get", "http://x/"], "-o"),
        (["get", "--retries", "-1", "http://x/y"], "--retries"),
    ],
)
def test_misuse_is_told(arguments: list[str], words: str, hmacfs: Command) -> None:
    done = hmacfs(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_no_server_is_exit_status_3(hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(SMALL)
    put = hmacfs("put", "--retries", "0", "a.txt", "http://127.0.0.1:1/slot/a.txt")
    assert (put.returncode, put.stdout) == (3, "")
    assert put.stderr.startswith("hmacfs: a.txt: gave up: ")
    get = hmacfs("get", "--retries", "0", "http://127.0.0.1:1/slot/b.txt")
    assert (get.returncode, get.stdout) == (3, "")
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208 - names alone


def test_fields_and_token_go_with_each_request(standin: Standin, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(LARGE)
    extra = ("--token", "abc.def", "--header", "X-Shard: 7")
    done = hmacfs("put", *extra, "--type", "image/png", "a.bin", f"{standin.url}/files/")
    assert done.returncode == 0
    assert standin.methods() == ["OPTIONS", "POST", "PATCH"]
    for request in standin.seen:
        assert request.fields["authorization"] == "Bearer abc.def"
        assert request.fields["x-shard"] == "7"
    assert standin.seen[1].fields["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (("--token", "abc.def"), {}),
        (("--token", "@token"), {}),
        ((), {"HMACFS_TOKEN": "abc.def"}),
        ((), {"HMACFS_TOKEN": "@token"}),
        (("--token", "@token"), {"HMACFS_TOKEN": "other"}),
        (("--header", "@fields"), {}),
    ],
)
@pytest.mark.parametrize("verb", ["put", "get"])
def test_a_token_need_not_stand_among_the_arguments(
    standin: Standin, tmp_path: Path, verb: str, options: tuple[str, ...], environ: dict[str, str]
) -> None:
    (tmp_path / "token").write_text("abc.def\n")
    (tmp_path / "fields").write_text("Authorization: Bearer abc.def\r\n\nX-Shard: 7\n")
    standin.files["/slot/token"] = SMALL
    words = (
        ("token", f"{standin.url}/slot/new") if verb == "put" else ("-o", "-", f"{standin.url}/slot/token")
    )
    run = subprocess.run(
        command(verb, *options, *words),
        env={**os.environ, "HMACFS_TOKEN": "", **environ},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    (seen,) = standin.seen
    assert seen.fields["authorization"] == "Bearer abc.def"
    assert seen.fields.get("x-shard") == ("7" if "@fields" in options else None)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--token", "@missing"), "missing: No such file"),
        (("--token", "@."), "Is a directory"),
        (("--token", "@"), "Is a directory"),
        (("--token", "@binary"), "no text in UTF-8"),
        (("--token", "@\0"), "no text"),
        (("--token", "@empty"), "no spaces"),
        (("--token", "@secret"), "no spaces"),
        (("--header", "@secret"), "Name: value"),
        (("--header", "@missing"), "missing: No such file"),
    ],
)
def test_what_a_file_does_not_give_is_misuse(
    option: tuple[str, str], words: str, hmacfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "secret").write_text("s3cret is no token")
    done = hmacfs("get", *option, "http://x/y")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "s3cret" not in done.stderr


def test_an_interrupted_upload_says_how_it_goes_on(standin: Standin, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a file.bin").write_bytes(LARGE)
    standin.limit = f"max-append-size={5 * MiB}"
    standin.faults["PATCH"].append(Stall())
    with children.running(
        command("put", "--json", "a file.bin", f"{standin.url}/files/"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert standin.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(err.splitlines()) == 1
    assert err.startswith("hmacfs: a file.bin: interrupted; to go on, give: hmacfs put ")
    ended = objects(out)[0]
    assert (ended["end"], ended["resource"]) == ("interrupted", f"{standin.url}/files/0")
    standin.seen.clear()
    again = shlex.split(err.partition("give: hmacfs ")[2])
    done = hmacfs(*again)
    assert (done.returncode, done.stdout) == (0, f"{standin.url}/get/files/0\n")
    assert standin.files["/get/files/0"] == LARGE
    assert standin.methods() == ["HEAD", "PATCH"]


def test_an_interrupted_download_goes_on(standin: Standin, hmacfs: Command, tmp_path: Path) -> None:
    standin.files["/a.bin"] = LARGE
    standin.faults["GET"] += [Cut(after=1_000_000), Say(status=503)]
    url = f"{standin.url}/a.bin"
    first = hmacfs("get", "--retries", "1", "--json", url)
    assert first.returncode == 3
    assert objects(first.stdout)[0]["end"] == "gave-up"
    assert first.stderr.count("trying again") == 1
    second = hmacfs("get", "--json", url)
    assert second.returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == LARGE
    ended = objects(second.stdout)[0]
    assert (ended["size"], ended["sha256"]) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert standin.seen[-1].fields["range"] == "bytes=1000000-"


def test_a_download_may_go_to_standard_output(standin: Standin, tmp_path: Path) -> None:
    standin.files["/a.bin"] = LARGE
    standin.faults["GET"].append(Cut(after=1_000_000))
    done = subprocess.run(
        command("get", "--json", "-o", "-", f"{standin.url}/a.bin"),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == LARGE
    assert json.loads(done.stderr.splitlines()[-1])["end"] == "done"
    assert list(tmp_path.iterdir()) == []


def test_what_went_to_standard_output_is_not_sent_twice(standin: Standin, tmp_path: Path) -> None:
    standin.files["/a.bin"] = LARGE
    standin.ranges = False
    standin.faults["GET"].append(Cut(after=1_000_000))
    done = subprocess.run(
        command("get", "-o", "-", f"{standin.url}/a.bin"),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == LARGE[:1_000_000]
    assert b"does not go on where it stopped" in done.stderr


def test_a_terminal_sees_how_far_it_is(standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "[b]a.bin").write_bytes(LARGE)
    terminal, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command("put", "[b]a.bin", f"{standin.url}/slot/a.bin"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
            check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(theirs)
        os.close(terminal)
    assert done.stdout.decode() == f"{standin.url}/slot/a.bin\n"
    assert "[b]a.bin" in shown
    assert "8.8/8.8 MiB" in shown
