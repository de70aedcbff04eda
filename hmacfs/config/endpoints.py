"""Tables [[endpoint]]: from what is written to `model.Endpoint`, and what two of them must not share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.config import keyring, keys, values
from hmacfs.config.report import show, spell
from hmacfs.config.settings import EndpointTable
from hmacfs.model import ANY_HOST, XMPP_DIALECTS, Endpoint

if TYPE_CHECKING:
    from hmacfs.config.keyring import Keyring
    from hmacfs.config.report import KeyPath, Report
    from hmacfs.config.settings import Security
    from hmacfs.model import Secret

_ENTRIES: Final = {entry.name: entry for entry in keys.entries(EndpointTable)}
_PRIVATE: Final = ".hmacfs"
_OF_XMPP: Final = frozenset(XMPP_DIALECTS)


def read(table: dict[str, object], path: KeyPath, security: Security, ring: Keyring) -> Endpoint | None:
    """Make an endpoint of one table; None if it has a fault that leaves nothing to compare."""
    report = ring.report
    for name in table:
        if name not in _ENTRIES:
            near = values.nearest(name, _ENTRIES)
            report.fault((*path, name), "unknown key", "a key of [[endpoint]]", near)
    prefix = _read(table, path, "prefix", report)
    directory = _read(table, path, "directory", report)
    protocols = _read(table, path, "protocols", report)
    if "prefix" not in table:
        report.fault(path, "no prefix", 'prefix = "/.../"')
        prefix = None
    elif isinstance(prefix, str) and (words := _wrong_prefix(prefix)):
        report.fault((*path, "prefix"), show(prefix), words)
        prefix = None
    if isinstance(prefix, str) and "directory" not in table:
        # Not one for each host: no token names the host, so one token would store a file in each.
        directory = prefix.replace(f"{ANY_HOST}/", "").strip("/")
    if isinstance(prefix, str) and isinstance(protocols, tuple) and ANY_HOST in prefix and "tus" in protocols:
        report.fault((*path, "protocols"), f'"tus" below {ANY_HOST}', "a prefix of its own for tus")
    if isinstance(directory, str) and (words := _wrong_directory(directory)):
        at = "directory" if "directory" in table else "prefix"
        report.fault((*path, at), show(directory), words)
    secrets = own_secrets(table, path, ring) or security.secrets
    delete_secret = _delete_secret(table, path, security, ring)
    if not isinstance(prefix, str) or not isinstance(directory, str) or not isinstance(protocols, tuple):
        return None
    return Endpoint(
        prefix=prefix,
        directory=directory,
        protocols=protocols,
        secrets=secrets,
        delete_secret=delete_secret,
    )


def own_secrets(table: dict[str, object], path: KeyPath, ring: Keyring) -> tuple[Secret, ...]:
    """Return the secrets of `secret` or `secret_file` in a table; () if it has none."""
    given = ring.read(table["secret"], (*path, "secret")) if "secret" in table else ()
    name = table.get("secret_file", "")
    if not isinstance(name, str):
        ring.report.fault((*path, "secret_file"), show(name), "a path in quotes")
        return given
    if name and given:
        ring.report.fault((*path, "secret_file"), "a secret is given too", "either secret or secret_file")
        return given
    kept = ring.read_file(name, (*path, "secret_file")) if name else None
    return given if kept is None else (kept,)


def compare(endpoints: list[tuple[KeyPath, Endpoint]], report: Report) -> None:
    """Find what two endpoints must not share, and secrets that let one protocol sign for another."""
    prefixes: dict[str, KeyPath] = {}
    signers: dict[Secret, tuple[KeyPath, frozenset[str]]] = {}
    _apart_from_hosts(endpoints, report)
    _twice(endpoints, report)
    for path, endpoint in endpoints:
        if endpoint.prefix in prefixes:
            line = report.line((*prefixes[endpoint.prefix], "prefix"))
            report.fault((*path, "prefix"), f"the same prefix as in line {line}", "each prefix once")
        prefixes.setdefault(endpoint.prefix, path)
        for secret in endpoint.secrets:
            _, others = signers.get(secret, (path, frozenset()))
            together = others | _families(endpoint)
            if len(together) > 1 and together != others:
                words = (
                    f"one secret signs for {' and '.join(sorted(together))}; give each a secret of its own"
                )
                report.notice((*path, "protocols"), words)
            signers[secret] = (path, together)


def _apart_from_hosts(endpoints: list[tuple[KeyPath, Endpoint]], report: Report) -> None:
    """Find prefixes below which a slot could be taken for a host."""
    above = {
        endpoint.prefix.partition(ANY_HOST)[0] for _, endpoint in endpoints if ANY_HOST in endpoint.prefix
    }
    for path, endpoint in endpoints:
        if endpoint.prefix in above and endpoint.prefix != "/":
            found = f"{show(endpoint.prefix)} beside {show(endpoint.prefix + ANY_HOST + '/')}"
            report.fault((*path, "prefix"), found, "prefixes that paths tell apart")


def _twice(endpoints: list[tuple[KeyPath, Endpoint]], report: Report) -> None:
    """Find tokens that are right at two endpoints: no token names the prefix, so each stores two files."""
    seen: dict[tuple[Secret, str], KeyPath] = {}
    for path, endpoint in endpoints:
        pairs = [(secret, protocol) for secret in endpoint.secrets for protocol in endpoint.protocols]
        if known := [(seen[pair], pair[1]) for pair in pairs if pair in seen]:
            at = spell(known[0][0])
            names = ", ".join(dict.fromkeys(protocol for _, protocol in known))
            words = f"one secret for {names} here and at {at}: the same token stores a file at each"
            report.notice((*path, "protocols"), f"{words}; give each a secret of its own")
        for pair in pairs:
            seen.setdefault(pair, path)


def without_secret(endpoints: list[tuple[KeyPath, Endpoint]], report: Report) -> None:
    """Find endpoints that nobody could sign for; a fault that explains it already is not repeated."""
    if any(fault.path.rpartition(".")[2].startswith("secret") for fault in report.faults):
        return
    for path, endpoint in endpoints:
        if not endpoint.secrets:
            report.fault(path, "no secret", f"security.secret: {keyring.ADVICE}")


def _families(endpoint: Endpoint) -> frozenset[str]:
    """Group the protocols: those of external upload share a secret by design (XMPP servers have one)."""
    return frozenset("v/v2/token" if name in _OF_XMPP else name for name in endpoint.protocols)


def _read(table: dict[str, object], path: KeyPath, name: str, report: Report) -> object:
    """Read one key by its kind; its default if it is not there, None if it is wrong."""
    entry = _ENTRIES[name]
    if name not in table:
        return entry.default
    try:
        return values.read(table[name], entry.key)
    except values.Wrong as wrong:
        wrong_value(table[name], (*path, name), wrong, report)
        return None


def wrong_value(value: object, path: KeyPath, wrong: values.Wrong, report: Report) -> None:
    """Report a value that broke its key's rules, at its place in a list if it is in one."""
    if wrong.index is not None and isinstance(value, list):
        value, path = value[wrong.index], (*path, wrong.index)
    report.fault(path, show(value), wrong.expected, wrong.nearest)


def _delete_secret(
    table: dict[str, object], path: KeyPath, security: Security, ring: Keyring
) -> Secret | None:
    if "delete_secret" not in table:
        return security.delete_secret
    return ring.read_one(table["delete_secret"], (*path, "delete_secret"))


# Paths that `app.go_server` answers before any endpoint.
_TAKEN: Final = ("/download/", "/health/")


def _wrong_prefix(prefix: str) -> str:
    """Say what is wrong with a prefix; it is compared with decoded paths, so it must be a plain one."""
    if not prefix.startswith("/") or not prefix.endswith("/"):
        return f'a prefix that begins and ends in "/": "/{prefix.strip("/")}/"'.replace("//", "/")
    if any(mark in prefix for mark in "?#%\\"):
        return 'a prefix without "?", "#", "%" and "\\", not encoded'
    if prefix in _TAKEN:
        return f'another prefix: "{prefix}" is one of the Go server\'s doors, which are served here too'
    if prefix != "/" and _odd_segments(prefix.strip("/")):
        return 'a prefix without empty, "." and ".." segments'
    hosts = [segment for segment in prefix.split("/") if ANY_HOST in segment]
    if hosts and hosts != [ANY_HOST]:
        return f'{ANY_HOST} once and as a segment of its own: "/upload/{ANY_HOST}/"'
    return ""


def _wrong_directory(directory: str) -> str:
    """Say what is wrong with a directory below the storage path."""
    if not directory:
        return ""
    if ANY_HOST in directory:
        return f"a directory without {ANY_HOST}: no token names the host, so one would store a file in each"
    if directory.startswith("/") or directory.endswith("/"):
        return 'a directory below storage_path without outer "/"'
    if _odd_segments(directory):
        return 'a directory below storage_path, without empty, "." and ".." segments'
    if directory.split("/", maxsplit=1)[0] == _PRIVATE:
        return f'a directory outside "{_PRIVATE}", which is the private one of the server'
    return ""


def _odd_segments(path: str) -> bool:
    return any(segment in ("", ".", "..") for segment in path.split("/"))
