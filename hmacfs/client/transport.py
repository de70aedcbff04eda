"""One HTTP exchange: a request in, an answer out; and which of the library's errors may pass.

The only module here that knows the HTTP library.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final, Self

import httpx

import hmacfs
from hmacfs.client import urls
from hmacfs.client.problem import Failed, TransientError
from hmacfs.client.response import Response
from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

BODY_LIMIT: Final = 64 * KiB
"""Bytes read of an answer to an upload; a problem's words are far shorter."""
CONNECT_S: Final = 15.0
MOST_REDIRECTIONS: Final = 20
"""As many as browsers follow (Fetch standard, HTTP-redirect fetch)."""
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})


class Transport:
    """Connections to servers, kept while they may be of use."""

    def __init__(self, fields: Mapping[str, str], *, timeout_s: float) -> None:
        """Send `fields` with each request; `timeout_s` is how long no byte may move either way."""
        self._given = httpx.Headers(dict(fields))
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            headers={"User-Agent": f"hmacfs/{hmacfs.__version__}", "Accept-Encoding": "identity"},
            # The authorities of the system, as whoever has one of his own expects; the library has others.
            verify=ssl.create_default_context(),
            # The user has said how many; a request that the library holds back would time out.
            limits=httpx.Limits(),
            event_hooks={"response": [_take_fields]},
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str],
        body: AsyncIterator[bytes] | None = None,
        *,
        work_s: float = 0.0,
    ) -> Response:
        """Make a request; `body` goes with the Content-Length among `fields`.

        `work_s` is what the server may need for the answer beside the time allowed for any. Raises
        TransientError where no answer came, Failed where none can come.
        """
        async with self._exchange(method, url, _merged(self._given, fields), body, work_s=work_s) as response:
            return _answer(response, await _beginning(response))

    @contextlib.asynccontextmanager
    async def fetch(
        self, url: str, fields: Mapping[str, str]
    ) -> AsyncIterator[tuple[Response, AsyncIterator[bytes]]]:
        """Lend the answer to a GET and the blocks of its body, as they come.

        Redirections are followed; nothing that the user has given goes to another origin, from where one
        leads on, or back. Raises as `ask` does.
        """
        given = self._given
        for _ in range(MOST_REDIRECTIONS):
            async with self._exchange("GET", url, _merged(given, fields)) as response:
                answer = _answer(response, b"" if response.is_success else await _beginning(response))
                if answer.status not in _REDIRECTIONS or "Location" not in answer.fields:
                    yield answer, response.aiter_raw()
                    return
            there = answer.target()
            if urls.origin(there) != urls.origin(url):
                given = httpx.Headers()
                self._http.cookies.clear()
            url = there
        raise Failed("the server redirects in circles")

    @contextlib.asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        fields: httpx.Headers,
        body: AsyncIterator[bytes] | None = None,
        *,
        work_s: float = 0.0,
    ) -> AsyncIterator[httpx.Response]:
        timeout = httpx.Timeout(
            self._timeout_s, connect=min(CONNECT_S, self._timeout_s), read=self._timeout_s + work_s
        )
        with _judged():
            request = self._http.build_request(method, url, headers=fields, content=body, timeout=timeout)
            response = await self._http.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()


def _merged(given: httpx.Headers, fields: Mapping[str, str]) -> httpx.Headers:
    """Return all fields of a request; of two with the same name in any case, that of `fields`."""
    merged = given.copy()
    merged.update(dict(fields))
    return merged


async def _take_fields(response: httpx.Response) -> None:
    """Keep the fields, and Location from the library: it reads that also where it follows none."""
    response.extensions["fields"] = response.headers.copy()
    response.headers.pop("Location", None)


async def _beginning(response: httpx.Response) -> bytes:
    """Read as much of the body as is of use; what is left unread ends the connection."""
    read = bytearray()
    async for block in response.aiter_raw():
        read += block
        if len(read) >= BODY_LIMIT:
            break
    return bytes(read[:BODY_LIMIT])


def _answer(response: httpx.Response, body: bytes) -> Response:
    return Response(
        status=response.status_code,
        url=str(response.request.url),
        fields=response.extensions["fields"],
        body=body,
    )


@contextlib.contextmanager
def _judged() -> Iterator[None]:
    """Say of each error of the library whether it may pass."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        raise Failed(f"the request cannot be made: {error}") from error
    except httpx.TransportError as error:
        if _distrusts(error):
            raise Failed(f"the server's certificate is not to be trusted: {error}") from error
        words = str(error) or {
            "ReadTimeout": "the server does not answer",
            "WriteTimeout": "the server does not read",
            "ConnectTimeout": "the server does not accept the connection",
        }.get(type(error).__name__, "the connection broke")
        raise TransientError(words) from error


def _distrusts(error: BaseException | None) -> bool:
    """Whether a certificate is the reason, however deep."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
