"""Heads of resumable uploads full of nonsense: never a fault of the server's own, never a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import languages
import pytest
import serving
import wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Server

NAMES = (
    *("Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Defer-Length"),
    *("Upload-Concat", "Upload-Checksum", "Upload-Complete", "Upload-Draft-Interop-Version", "Content-Type"),
    *("Content-Range", "Content-Digest", "Repr-Digest", "X-HTTP-Method-Override", "X-Filename"),
    *("X-Total-Size", "X-Chunk-Number", "X-Upload-Session-ID", "Authorization", "Trailer"),
)
VALUES = (
    *("", "0", "-1", "1", "9" * 30, "1.0.0", "?0", "?1", "?2", "final;/files/x", "partial", "sha1 AAAA"),
    *("sha-256=:AAAA:", "application/offset+octet-stream", "application/partial-upload", "bytes 0-4/9"),
    *("bytes */5", "a b,c d", "filename Li4=", "../../x", "8", "PATCH", "0" * 32, "Upload-Checksum", "é"),
    *(languages.ALICE["Authorization"], "Bearer x"),
)
PATHS = (
    *("/files/", "/files/" + "0" * 32, "/upload/a/b", "/upload/a/b?v2=00", "/chunked-upload"),
    *("/upload-status", "/upload-status?session_id=" + "0" * 32),
)
METHODS = ("POST", "PATCH", "PUT", "HEAD", "DELETE", "GET", "OPTIONS")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("junk")
    with serving.running(where, rest=languages.CONFIG, server=languages.SERVER) as server:
        yield server
        wire.settle(server)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=7),
    st.sampled_from([None, 0, 5]),
)
def test_nonsense(server: Server, method: str, path: str, fields: dict[str, str], length: int | None) -> None:
    with Wire(server) as client:
        client.send(serving.head(method, path, fields, length) + bytes(length or 0))
        client.finish()
        answer = client.expect(method)
        while answer.status < 200:
            answer = client.expect(method)
    assert answer.status not in {500, 503, 507}
    for name in server.files():  # whoever shows Alice's token may make one, below her own endpoint
        assert name.startswith("files/")
