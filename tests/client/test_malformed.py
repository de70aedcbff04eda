"""Whatever a server answers, a command ends with a status of its own and with lines for a person."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING

import pytest
from client import raw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hmacfs import cli
from hmacfs.model import MiB

if TYPE_CHECKING:
    from pathlib import Path


EXAMPLES = 1000 if os.environ.get("HMACFS_FULL") == "1" else 30
SIZE = 20
SHA256 = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
FIELDS = {
    "Location": (
        *(
            "",
            "/",
            "/files/1",
            "x",
            "//",
            "//[",
            "http://",
            "http://:80/",
            "http://x:99999999/",
            "http://[::1",
        ),
        *(
            "javascript:alert(1)",
            "ftp://127.0.0.1/x",
            "http://127.0.0.1:1/x",
            "\x1b[2J",
            "/é",
            "?",
            "#",
            "a b",
        ),
        *("http://\udcff/", "http://xn--/", "http://xn--a/", "http://" + "a" * 300 + "/", "/" + "a" * 9000),
    ),
    "Content-Location": ("", "/got", "http://[", "mailto:a@b", "/\x7f"),
    "Upload-Offset": ("0", "1", "20", "21", "-1", "1.5", "999999999999999", "9" * 30, "a", "0, 0", ""),
    "Upload-Length": ("20", "0", "21", "a", ""),
    "Upload-Complete": ("?0", "?1", "1", "?2", "", "?1;a"),
    "Upload-Limit": ("max-size=1", "max-append-size=0", "max-append-size=1", "a", "", "max-size=" + "9" * 15),
    "Repr-Digest": (SHA256, "sha-256=:A:", "sha-256=::", ":::", ""),
    "ETag": ('"a"', 'W/"a"', '"', "", "a\x80"),
    "Content-Range": ("bytes 0-0/1", "bytes 0-19/20", "bytes */20", "bytes 5-1/2", "bytes 0-0/*", "x", ""),
    "Content-Encoding": ("gzip", "identity", "", "br, gzip"),
    "Content-Type": ("application/problem+json", "application/problem+json; charset=x", "text/html", ""),
    "Retry-After": (
        "0",
        "-1",
        "999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 99 Foo",
        "x",
        "\x1b[",
    ),
    "X-Request-Id": ("a", "\x1b[2J", "é" * 400, ""),
    "Set-Cookie": ("a=b", "=", "a=b; Domain=.com; Expires=x", "\x00"),
    "Tus-Version": ("1.0.0", "0.1", ""),
    "Tus-Extension": ("creation,concatenation", ",", ""),
    "Tus-Max-Size": ("1", "a", "999999999999"),
    "Transfer-Encoding": ("chunked", "gzip"),
}
BODIES = (
    *(b"", b"x", b"x" * SIZE, b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5000, b"x" * 100_000),
    *(
        b'{"code": 1, "title": null}',
        b'{"code": "a\\u001bb", "title": "\\ud800", "detail": "' + b"x" * 999 + b'"}',
    ),
)
STATUSES = (
    *(200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409),
    *(410, 413, 416, 460, 501),
)
STRANGE = (
    b"",
    b"\r\n",
    b"HTTP/1.1",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 \xff\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
)

fields = st.sampled_from([(name, value) for name, values in FIELDS.items() for value in values])
sound = st.builds(
    raw.answer, st.sampled_from(STATUSES), st.lists(fields, max_size=6), st.sampled_from(BODIES)
)
unsound = (
    st.sampled_from(STRANGE)
    | st.binary(max_size=40)
    | st.builds(
        raw.answer, st.sampled_from((0, 99, 100, 103, 600, 999, "abc", "")), st.lists(fields, max_size=2)
    )
)
answers = st.lists(sound | sound | sound | unsound, min_size=1, max_size=5)

COMMANDS = {
    "slot": ("put", "file", "{url}/slot/file?v2=00"),
    "slot in parts": ("put", "--chunk", "5", "file", "{url}/slot/file?v2=00"),
    "endpoint": ("put", "file", "{url}/files/"),
    "endpoint in parts": ("put", "--chunk", "5", "--json", "file", "{url}/files/"),
    "begun parts": ("put", "file", "{url}/files/#a,,c"),
    "connections": ("put", "--connections", "2", "large", "{url}/files/"),
    "download": ("get", "--force", "-o", "got", "{url}/file"),
    "stream": ("get", "-o", "-", "{url}/file"),
}
NOWHERE = "is stored, and the server does not say where"


def ended(arguments: list[str]) -> tuple[int, list[str]]:
    """Run a command; give its status and the lines that it left on standard error."""
    errors = io.StringIO()
    output = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        status = cli.main(arguments)
    return status, errors.getvalue().splitlines()


@pytest.mark.parametrize("command", COMMANDS)
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(answers=answers)
@example(answers=[raw.answer(301, [("Location", "http://xn--/")])])
def test_no_answer_is_a_traceback(command: str, answers: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    if not (large := tmp_path / "large").exists():
        large.write_bytes(bytes(8 * MiB))
    with raw.answering(*answers) as url, contextlib.chdir(tmp_path):
        verb, *rest = (word.format(url=url) for word in COMMANDS[command])
        status, lines = ended([verb, "--retries", "0", "--timeout", "30s", *rest])
    assert status in {0, 1, 3}
    for line in lines:
        assert line.startswith(("hmacfs: ", "{")), lines
        assert line.isprintable(), lines
    told = [line for line in lines if not line.startswith("{")]
    assert len(told) == 1 if status else all(line.endswith(NOWHERE) for line in told), lines
