"""The commands that sign an upload or make one: sign, put, get."""

from __future__ import annotations

import secrets
import shlex
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from hmacfs import interrupts
from hmacfs.cli import loading
from hmacfs.model import TUS

if TYPE_CHECKING:
    import argparse

    from hmacfs.auth import Signed, SlotRequest
    from hmacfs.client.destination import Destination
    from hmacfs.config import Settings
    from hmacfs.model import Endpoint

SIGN_TTL_S: Final = 600.0  # Prosody 13's own validity of a slot
PASS_TTL_S: Final = 86400.0  # each request of an upload shows it; an unfinished one is kept so long


def put(options: argparse.Namespace) -> int:
    """Upload files; return the exit status."""
    from hmacfs import auth
    from hmacfs.client import command
    from hmacfs.client.destination import Destination
    from hmacfs.client.problem import Failed

    interrupts.become_exceptions()
    if options.base_url is None:
        return command.put(options, None)
    loaded = loading.load(options.config)
    if loaded is None:
        return 1

    def destination(name: str, size: int, kind: str) -> Destination:
        asked = auth.SlotRequest(name, size, kind)
        try:
            if options.protocol == TUS:
                url, bearer = _pass(options, loaded.settings, asked, PASS_TTL_S)
                return Destination(url=url, fields={"Authorization": bearer}, content_type=kind)
            url, signed = _slot(options, loaded.settings, asked)
        except ValueError as error:
            raise Failed(str(error)) from error
        # The client says of each request itself how long and of what type it is.
        fields = {field: value for field, value in signed.fields if field == "Authorization"}
        return Destination(url=url, fields=fields, content_type=kind)

    return command.put(options, destination)


def get(options: argparse.Namespace) -> int:
    """Download a file; return the exit status."""
    from hmacfs.client import command

    interrupts.become_exceptions()
    return command.get(options)


def sign(options: argparse.Namespace) -> int:
    """Print a signed upload URL and what goes with it; return the exit status."""
    loaded = loading.load(options.config)
    if loaded is None:
        return 1
    try:
        if options.protocol == TUS:
            return _sign_pass(options, loaded.settings)
        url, signed = _slot(options, loaded.settings, _asked(options))
    except ValueError as error:
        loading.say(f"hmacfs: {error}")
        return 1
    print(url)
    for name, value in signed.fields:
        print(f"{name}: {value}")
    headers = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in signed.fields)
    print(f"curl -T {shlex.quote(options.name.rpartition('/')[2])}{headers} {shlex.quote(url)}")
    return 0


def _sign_pass(options: argparse.Namespace, settings: Settings) -> int:
    """Print what lets a client begin an upload at an endpoint of protocol tus. Raises ValueError."""
    name = options.name.rpartition("/")[2]
    base, bearer = _pass(options, settings, _asked(options)._replace(rel=name), SIGN_TTL_S)
    bearer = f"Authorization: {bearer}"
    print(base)
    print(bearer)
    # All at once, as a creation with upload; a client of tus would go on where this breaks off.
    fields = (
        bearer,
        "Tus-Resumable: 1.0.0",
        f"Upload-Length: {options.size}",
        "Content-Type: application/offset+octet-stream",
    )
    headers = "".join(f" -H {shlex.quote(field)}" for field in fields)
    print(f"curl --data-binary {shlex.quote(f'@{name}')}{headers} {shlex.quote(base)}")
    return 0


def _asked(options: argparse.Namespace) -> SlotRequest:
    from hmacfs import auth

    return auth.SlotRequest(options.name, options.size, options.type)


def _pass(
    options: argparse.Namespace, settings: Settings, asked: SlotRequest, ttl_s: float
) -> tuple[str, str]:
    """Return the URL of an endpoint of protocol tus, and the Authorization for a file. Raises ValueError."""
    from hmacfs import auth

    base = options.base_url if options.base_url.endswith("/") else f"{options.base_url}/"
    endpoint = _able(settings, base, TUS)
    claims = {"max_size": asked.size, "name": asked.rel, "type": asked.content_type}
    token = auth.sign_pass(endpoint.secrets[0], "hmacfs", now=time.time(), ttl_s=ttl_s, **claims)
    return base, f"Bearer {token}"


def _slot(options: argparse.Namespace, settings: Settings, asked: SlotRequest) -> tuple[str, Signed]:
    """Return the upload URL of a file, and what signs it. Raises ValueError, whose text says why not."""
    from hmacfs import auth
    from hmacfs.app import routing
    from hmacfs.errors import Refused
    from hmacfs.http import target

    base = options.base_url if options.base_url.endswith("/") else f"{options.base_url}/"
    endpoint = _able(settings, base, options.protocol)
    rel = asked.rel if "/" in asked.rel else f"{secrets.token_urlsafe(18)}/{asked.rel}"
    try:
        # What the server would not take is not signed either.
        path = target.decode_path(quote(endpoint.prefix + rel).encode())
        routing.find(path, (endpoint,))
        request = asked._replace(rel=rel)
        signed = auth.sign(options.protocol, endpoint, request, now=time.time(), ttl_s=SIGN_TTL_S)
    except Refused as refused:
        raise ValueError(f"{rel!r} cannot be uploaded: {refused.refusal.words}") from refused
    return base + quote(rel, safe="/-._~") + (f"?{signed.query}" if signed.query else ""), signed


def _able(settings: Settings, base: str, protocol: str) -> Endpoint:
    """Return the endpoint at `base` that takes `protocol`, else any that does: a proxy may map paths.

    Raises ValueError if none does.
    """
    able = [endpoint for endpoint in settings.endpoints if protocol in endpoint.protocols]
    exact = [endpoint for endpoint in able if endpoint.prefix == urlsplit(base).path]
    if not able:
        raise ValueError(f"no endpoint takes {protocol}; name it in an [[endpoint]]'s protocols")
    return (exact or able)[0]
