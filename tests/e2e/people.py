"""XMPP clients: slixmpp in this process, go-sendxmpp as a program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slixmpp
from e2e.prosody import PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.prosody import Domain, Prosody

PATIENCE_S = 60.0
UPLOAD = "urn:xmpp:http:upload:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What an XMPP server grants."""

    put: str
    get: str
    fields: dict[str, str]
    """What it says to send beside the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who is online with slixmpp."""

    client: Any  # slixmpp ships no types
    domain: Domain
    received: asyncio.Queue[str]
    """Bodies of the messages that came."""

    async def upload(self, path: Path, content_type: str) -> str:
        """Discover the service, request a slot and PUT, all as slixmpp does it; give the GET URL."""
        plugin = self.client.plugin["xep_0363"]
        url = await plugin.upload_file(path, content_type=content_type, timeout=PATIENCE_S)
        return str(url)

    def keep_slot(self) -> None:
        """Let every upload from now on be to the next slot that is granted, as when somebody tries again."""
        plugin = self.client.plugin["xep_0363"]
        request = plugin.request_slot
        granted: list[Any] = []

        async def request_once(*arguments: Any, **more: Any) -> Any:
            if not granted:
                granted.append(await request(*arguments, **more))
            return granted[0]

        plugin.request_slot = request_once

    async def slot(self, name: str, size: int, content_type: str) -> Slot:
        """Request a slot and leave the PUT to another client."""
        plugin = self.client.plugin["xep_0363"]
        answer = await plugin.request_slot(
            slixmpp.JID(self.domain.service), name, size, content_type, timeout=PATIENCE_S
        )
        given = answer["http_upload_slot"]
        fields = {header["name"]: header["value"] for header in given["put"]["headers"]}
        return Slot(put=given["put"]["url"], get=given["get"]["url"], fields=fields)


@contextlib.asynccontextmanager
async def online(server: Prosody, domain: Domain, name: str) -> AsyncIterator[Person]:
    """Log in; log out at the end."""
    client = slixmpp.ClientXMPP(
        f"{name}@{domain.name}",
        PASSWORD,
        plugin_config={"feature_mechanisms": {"unencrypted_plain": True, "unencrypted_scram": True}},
    )
    client.loop = asyncio.get_running_loop()
    client.enable_starttls = client.enable_direct_tls = False
    client.enable_plaintext = True
    client.register_plugin("xep_0363")
    received: asyncio.Queue[str] = asyncio.Queue()
    client.add_event_handler("message", lambda message: received.put_nowait(str(message["body"])))
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeeded(_: object) -> None:
        if not started.done():
            started.set_result(None)

    def failed(why: object) -> None:
        if not started.done():
            started.set_exception(ConnectionError(str(why)))

    client.add_event_handler("session_start", succeeded)
    client.add_event_handler("failed_all_auth", failed)
    client.add_event_handler("connection_failed", failed)
    client.connect(server.host, server.port)
    try:
        await asyncio.wait_for(started, PATIENCE_S)
        client.send_presence()
        yield Person(client=client, domain=domain, received=received)
    finally:
        await client.disconnect()


async def go_sendxmpp(  # noqa: PLR0913, PLR0917 - what it is told
    command: str, server: Prosody, domain: Domain, trust: Path, path: Path, to: str
) -> tuple[int, str]:
    """Let alice, who trusts a certificate, send a file to `to`; give the exit status and what was said.

    As of 0.14 go-sendxmpp uploads to https only.
    """
    process = await asyncio.create_subprocess_exec(
        command,
        *("-u", f"alice@{domain.name}", "-p", PASSWORD, "-j", server.address, "-n", "-h", str(path), to),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"SSL_CERT_FILE": str(trust), "SSL_CERT_DIR": ""},
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")
