"""No input of a client is a fault of the server: no 500, no line of error in its log, at any door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import field_names
import pytest
import serving
import wire
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Server

DELETE_SECRET = "kT4vX9qLm2Wz7RbN8dYc3HfJ6sPaG5uE1oQi0MtC"
CONFIG = f"""
[timeouts]
linger = "1s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
delete_secret = "{DELETE_SECRET}"
[[endpoint]]
prefix = "/share/"
protocols = ["jwt", "gojwt"]
[[endpoint]]
prefix = "/go/"
protocols = ["v3", "bearer", "gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""
SERVER = 'max_upload_size = "1MB"\n'
DOCUMENTED = {501, 503, 505, 507}
"""What is said of methods, codings and versions not spoken, and of a server that is busy or full."""
ID = "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("any"), rest=CONFIG, server=SERVER) as server:
        assert server.put("slot/there", b"hello").status == 201
        yield server
        wire.settle(server)


ODD_TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["\ud800", "a\udfffb", "\0", "..", "", "a/b", "a\\b", "ж" * 300, "x" * 5000, "a\r\nb", "é.png"]
    ),
)
NUMBERS = st.sampled_from(
    [0, -1, 1, 5, 2**53, 2**63, 2**64, 10**400, 1e308, -0.0, 1.5, float("nan"), float("inf")]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ODD_TEXT, inner, max_size=2),
    max_leaves=4,
)
CLAIMS = st.dictionaries(
    st.sampled_from(
        [
            "sub",
            "exp",
            "nbf",
            "iat",
            "aud",
            "slot",
            "filename",
            "filesize",
            "filetype",
            "expires",
            "max_size",
            "name",
            "type",
        ]
    ),
    JSON,
    max_size=5,
)


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Return a token signed by a secret that counts, with claims of any kind, most of them in time."""
    claims: dict[str, Any] = draw(CLAIMS)
    for name, value in (("exp", int(time.time()) + 900), ("sub", "a@b"), ("filesize", 5), ("slot", "slot")):
        if draw(st.integers(0, 3)):
            claims.setdefault(name, value)
    header = draw(
        st.sampled_from(
            ['{"alg":"HS256"}', '{"alg":"HS256","kid":1}', '{"alg":"none"}', '{"alg":["a"]}', "[]"]
        )
    )
    texts = (header.encode(), json.dumps(claims, skipkeys=True).encode())
    message = b".".join(base64.urlsafe_b64encode(text).rstrip(b"=") for text in texts)
    mac = hmac.digest(serving.SECRET.encode(), message, "sha256")
    return f"{message.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(lambda text: quote(text, safe="")),
    st.sampled_from(
        ["a", "%ED%A0%80", "%FF", "..", "%2e%2e", "a%5Cb", "a%2Fb", "%00", "a" * 300, "%D0%96" * 200, "%"]
    ),
    st.text("!$&'()*+,;=:@~\"<>[]{}|^`\\", min_size=1, max_size=6),
)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """Return a target at any door; some of those of slots are signed."""
    name = draw(NAMES)
    doors = (
        *(
            "/upload/slot/there",
            f"/upload/slot/{name}",
            f"/share/slot/{name}",
            f"/go/{name}",
            f"/go/a/{name}",
        ),
        *("/files/", f"/files/{ID}", f"/files/{ID}/{name}", f"/files/{name}", "/upload", "/chunked-upload"),
        *("/upload-status", "/health", f"/download/upload/slot/{name}", "/download/upload/slot/there", "*"),
        *("/", f"/{name}", f"http://h/upload/slot/{name}", "/upload/", "/files"),
    )
    door = draw(st.sampled_from(doors))
    key = serving.SECRET.encode()
    rel = "slot/x"
    until = int(time.time()) + 300
    signed = {
        "v": hmac.digest(key, f"{rel} 5".encode(), "sha256").hex(),
        "v2": hmac.digest(key, f"{rel}\0005\0application/octet-stream".encode(), "sha256").hex(),
        "token": hmac.digest(key, f"{rel}\0{DELETE_SECRET}".encode(), "sha256").hex(),
    }
    queries = (
        *("", "?", f"?v={signed['v']}", f"?v2={signed['v2']}", f"?token={signed['token']}", f"?v={'0' * 64}"),
        *(f"?session_id={ID}", "?session_id=\xe9", "?v=%ff", "?v=1&v=1", "?user=%00", f"?{name}={name}"),
        *(f"?user=a&expiry={until}", "?v3=0&expires=" + "9" * 30),
    )
    query = draw(st.sampled_from(queries))
    signs = query.startswith(("?v=", "?v2=", "?token=")) and draw(st.booleans())
    return (f"/upload/{rel}" if signs else door) + query


FIELDS = (
    *field_names.looked_up(),
    *(
        "upgrade",
        "te",
        "cookie",
        "pragma",
        "via",
        "x-real-ip",
        "http2-settings",
        "proxy-connection",
        "range-unit",
    ),
)
SOUND = (
    *(
        "",
        "0",
        "5",
        "-1",
        "9" * 40,
        "1.0.0",
        "?0",
        "?1",
        "?1;a=b",
        "partial",
        "final;http://[x",
        "final;//",
        "final; ",
    ),
    *(
        "final;/files/" + ID,
        "final;" + "/files/a " * 3,
        "sha1 AAAA",
        "sha1 A",
        "sha-256=:AAAA:",
        "sha-256=10",
        "*",
    ),
    *("application/offset+octet-stream", "application/partial-upload", "multipart/form-data; boundary=cut"),
    *(
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="\\"',
        "text/plain; charset=UTF-8",
        "a/b",
    ),
    *(
        "bytes 0-4/5",
        "bytes */5",
        "bytes 0-4/*",
        "bytes=0-",
        "bytes=-5,1-2",
        "filename YQ==",
        "filename 2D8=",
        "a b,c",
    ),
    *(
        "filename*=punycode''abc",
        "attachment; filename*=punycode''...",
        "a; filename*=idna''\xff",
        'a; filename="\\',
    ),
    *(
        "attachment; filename*=UTF-8''%ff",
        'attachment; filename="a\x85b"',
        "Sun, 22 Nov 2026 12:00:00 GMT",
        "HEAD",
    ),
    *(
        "Sun, 99 Nov 9999 99:99:99 GMT",
        '"x"',
        'W/"x"',
        "PATCH",
        "DELETE",
        "a" * 4000,
        "é",
        "\xff\xfe",
        "Upload-Checksum",
    ),
    *(
        "100-continue",
        "keep-alive",
        "close",
        "upgrade",
        "h2c",
        "gzip",
        "identity",
        "chunked",
        ID,
        "null",
        "text/plain",
    ),
    *(
        "https://chat.example",
        "1.2.3.4, [::1]",
        'for="[::1]:99"',
        "for=unknown",
        "[::1",
        "a@b",
        "h:99999",
        "../../x",
    ),
)
VALUES = st.sampled_from(SOUND) | st.text(
    st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20
)
FORMS = st.one_of(st.just("a.txt"), ODD_TEXT.filter(lambda text: "\r" not in text)).map(
    lambda name: (
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.encode("utf-8", "surrogatepass")
        + b'"\r\n\r\nhello\r\n--cut--\r\n'
    )
)
BODIES = st.sampled_from([b"", b"hello", b"hello world", bytes(3000)]) | FORMS


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, and how it goes out."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes
    framing: str
    version: str
    cut: int
    leave: str

    def wire(self) -> bytes:
        """Return all its bytes."""
        framing, body = {
            "length": (f"Content-Length: {len(self.body)}\r\n", self.body),
            "chunked": (
                "Transfer-Encoding: chunked\r\n",
                b"%x\r\n%b\r\n" % (len(self.body), self.body) if self.body else b"",
            ),
            "none": ("", b""),
            "short": (f"Content-Length: {len(self.body) + 7}\r\n", self.body),
        }[self.framing]
        if self.framing == "chunked":
            body += b"0\r\nUpload-Checksum: sha1 AAAA\r\n\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.fields.items())
        head = f"{self.method} {self.target} HTTP/{self.version}\r\nHost: h\r\n{framing}{lines}\r\n"
        return head.encode("latin-1", "replace") + body


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """Return any request."""
    fields = draw(
        st.dictionaries(
            st.sampled_from(sorted({*FIELDS} - {"host", "content-length", "transfer-encoding"})),
            VALUES,
            max_size=6,
        )
    )
    if draw(st.booleans()):
        fields["authorization"] = f"Bearer {draw(tokens())}"
    speaks = draw(st.sampled_from(["", "", "tus", "ietf", "range", "chunks"]))
    if speaks == "tus":
        fields |= {"tus-resumable": "1.0.0", **({"upload-length": "5"} if draw(st.booleans()) else {})}
    elif speaks == "ietf":
        fields |= {"upload-complete": draw(st.sampled_from(["?0", "?1"]))}
    elif speaks == "chunks":
        fields |= {
            "x-total-size": "5",
            "x-filename": draw(ODD_TEXT).encode("utf-8", "surrogatepass").decode("latin-1"),
        }
    return Asked(
        method=draw(
            st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
        ),
        target=draw(targets()),
        fields={
            name: value.replace("\r", "").replace("\n", "").replace("\0", "")
            for name, value in fields.items()
        },
        body=draw(BODIES),
        framing=draw(st.sampled_from(["length", "length", "chunked", "none", "short"])),
        version=draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0"])),
        cut=draw(st.integers(0, 600)),
        leave=draw(st.sampled_from(["", "", "half", "reset"])),
    )


def asked(
    method: str, target: str, fields: dict[str, str], body: bytes = b"", framing: str = "length"
) -> Asked:
    return Asked(
        method=method,
        target=target,
        fields=fields,
        body=body,
        framing=framing,
        version="1.1",
        cut=0,
        leave="",
    )


def sent(**claims: Any) -> dict[str, str]:
    """Return the field with a token of these claims."""
    claims = {"exp": int(time.time()) + 9000, "sub": "a@b", **claims}
    texts = (b'{"alg":"HS256"}', json.dumps(claims).encode())
    message = b".".join(base64.urlsafe_b64encode(text).rstrip(b"=") for text in texts)
    mac = hmac.digest(serving.SECRET.encode(), message, hashlib.sha256)
    return {
        "authorization": f"Bearer {message.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    }


TUS = {"tus-resumable": "1.0.0"}
PNY = "attachment; filename*=punycode''..."


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(asked("POST", "/files/", {**TUS, "upload-concat": "final;http://[x", **sent()}))
@example(asked("POST", "/files/", {**TUS, "upload-length": "5", "content-disposition": PNY, **sent()}))
@example(asked("POST", "/files/", {**TUS, "upload-length": "5", **sent(name="a\ud800")}))
@example(asked("POST", "/files/", {**TUS, "upload-length": "5", **sent(sub="\ud800")}))
@example(asked("PUT", "/share/slot/a", sent(slot="slot", filename="a\ud800", filesize=5), b"hello"))
@example(asked("PUT", "/go/a", sent(sub="\udfff"), b"hello"))
@example(asked("POST", "/chunked-upload", {"x-total-size": "5", "x-filename": "../../a", **sent()}))
@given(requests())
def test_any_request(server: Server, asked: Asked) -> None:
    data = asked.wire()
    seen = len(server.events)
    with Wire(server) as client:
        client.send(data[: asked.cut])
        client.send(data[asked.cut :])
        if asked.leave == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        client.finish()
        answers = 0
        while (answer := client.read(asked.method)) is not None:
            answers += answer.status >= 200
            assert answer.status < 500 or answer.status in DOCUMENTED, answer
    assert answers
    for line in server.events[seen:]:
        assert line["level"] != "error", line
