"""Where a redirection may lead, and what goes there: nothing that the user has given crosses an origin."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from client.standin import Say, Standin

from hmacfs.client import urls
from hmacfs.client.problem import Failed
from hmacfs.client.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from client.conftest import Done

    Command = Callable[..., Done]

SMALL = b"hello world\n"
GIVEN = {
    "authorization": ("--token", "secret"),
    "x-key": ("--header", "X-Key: secret"),
    "cookie": ("--header", "Cookie: key=secret"),
    "proxy-authorization": ("--header", "Proxy-Authorization: secret"),
}
STATUSES = (301, 302, 303, 307, 308)


@pytest.fixture
def other() -> Iterator[Standin]:
    with Standin() as server:
        server.files["/a.bin"] = SMALL
        yield server


def leads(server: Standin, url: str, status: int = 302, **fields: str) -> None:
    """Let the next GET be redirected."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    server.faults["GET"].append(Say(status=status, fields={"Location": url, **named}))


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("status", STATUSES)
def test_nothing_given_goes_to_another_origin(
    standin: Standin, other: Standin, hmacfs: Command, name: str, status: int
) -> None:
    leads(standin, f"{other.url}/a.bin", status)
    done = hmacfs("get", *GIVEN[name], f"{standin.url}/a.bin")
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" in standin.seen[0].fields[name]
    assert [request.method for request in other.seen] == ["GET"]
    assert "secret" not in str(other.seen[0].fields)


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_given_stays_within_its_origin(standin: Standin, hmacfs: Command, name: str) -> None:
    standin.files["/b.bin"] = SMALL
    leads(standin, "/b.bin")
    assert hmacfs("get", *GIVEN[name], f"{standin.url}/a.bin").returncode == 0
    assert [(request.path, "secret" in request.fields[name]) for request in standin.seen] == [
        ("/a.bin", True),
        ("/b.bin", True),
    ]


def test_another_name_of_the_same_machine_is_another_origin(standin: Standin, hmacfs: Command) -> None:
    standin.files["/b.bin"] = SMALL
    leads(standin, f"http://localhost:{standin.port}/b.bin")
    assert hmacfs("get", "--token", "secret", f"{standin.url}/a.bin").returncode == 0
    assert "authorization" not in standin.seen[1].fields


def test_who_sends_on_does_not_get_the_fields_used(standin: Standin, other: Standin, hmacfs: Command) -> None:
    """The other origin may choose any URL, also one of the first that acts on the user's behalf."""
    standin.files["/b.bin"] = SMALL
    leads(standin, f"{other.url}/a.bin")
    leads(other, f"{standin.url}/b.bin")
    assert hmacfs("get", "--token", "secret", f"{standin.url}/a.bin").returncode == 0
    assert "authorization" not in standin.seen[1].fields


def test_no_cookie_crosses_an_origin(standin: Standin, other: Standin, hmacfs: Command) -> None:
    """Cookies know no ports (RFC 6265 8.5), origins do."""
    leads(standin, f"{other.url}/a.bin", Set_Cookie="one=1")
    leads(other, f"{standin.url}/b.bin", Set_Cookie="two=2")
    standin.files["/b.bin"] = SMALL
    assert hmacfs("get", f"{standin.url}/a.bin").returncode == 0
    assert "cookie" not in other.seen[0].fields
    assert "cookie" not in standin.seen[1].fields


def test_a_user_in_the_url_is_given_too(standin: Standin, other: Standin, hmacfs: Command) -> None:
    leads(standin, f"{other.url}/a.bin")
    assert hmacfs("get", f"http://me:secret@127.0.0.1:{standin.port}/a.bin").returncode == 0
    assert standin.seen[0].fields["authorization"].startswith("Basic ")
    assert "authorization" not in other.seen[0].fields


def test_a_download_goes_on_through_a_redirection(standin: Standin, other: Standin, hmacfs: Command) -> None:
    leads(standin, f"{other.url}/a.bin")
    done = hmacfs("get", "--header", "Range: bytes=0-0", f"{standin.url}/a.bin", "-o", "got")
    assert done.returncode == 0
    assert "range" not in other.seen[0].fields


def test_circles_end(standin: Standin, hmacfs: Command) -> None:
    for _ in range(100):
        leads(standin, "/a.bin")
    done = hmacfs("get", f"{standin.url}/a.bin")
    assert (done.returncode, done.stderr) == (1, "hmacfs: a.bin: the server redirects in circles\n")
    assert len(standin.seen) < 100


@pytest.mark.parametrize("where", ["http://[", "ftp://x/", "javascript:alert(1)", "http://x:99999/"])
def test_a_redirection_to_nowhere_is_told(standin: Standin, hmacfs: Command, where: str) -> None:
    leads(standin, where)
    done = hmacfs("get", f"{standin.url}/a.bin")
    assert done.returncode == 1
    assert done.stderr == f"hmacfs: a.bin: the server redirects to {where}, which is no http or https URL\n"


@pytest.mark.parametrize(
    ("url", "where", "leads_to"),
    [
        ("https://x/a", "/b", "https://x/b"),
        ("https://x/a", "//y/b", "https://y/b"),
        ("http://x/a", "https://x/b", "https://x/b"),
        ("https://x/a", "http://x/b", None),
        ("https://x/a", "http://y/b", None),
    ],
)
def test_no_redirection_leads_out_of_https(url: str, where: str, leads_to: str | None) -> None:
    answer = Response(status=302, url=url, fields={"Location": where})
    if leads_to is None:
        with pytest.raises(Failed, match=f"redirects from https to {where}"):
            answer.target()
    else:
        assert answer.target() == leads_to


@pytest.mark.parametrize("status", STATUSES)
def test_an_upload_follows_no_redirection(
    standin: Standin, other: Standin, hmacfs: Command, status: int, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(SMALL)
    for method in ("PUT", "POST", "OPTIONS", "HEAD", "PATCH"):
        standin.faults[method] += [Say(status=status, fields={"Location": f"{other.url}/files/"})] * 3
    for path, chunk in itertools.product(("slot/a.bin", "files/"), ("5", "50")):
        done = hmacfs("put", "--token", "secret", "--chunk", chunk, "a.bin", f"{standin.url}/{path}")
        assert done.returncode == 1
        assert done.stderr.startswith(f"hmacfs: a.bin: {status} ")
        assert done.stderr.count("\n") == 1
    assert other.seen == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://x/a", "http://X:80/b?c#d", True),
        ("https://x", "https://me@x:443", True),
        ("http://x", "https://x", False),
        ("http://x", "http://x:81", False),
        ("http://x", "http://x.", False),
        ("http://[::1]:1/", "http://[::1]:1", True),
    ],
)
def test_origins(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a row
    assert (urls.origin(one) == urls.origin(other)) is same
