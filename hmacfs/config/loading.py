"""A configuration's text in, settings and notices out, or `Faulty` with every fault at once.

The order: tomli, places, the Go server's spellings, values, secrets, endpoints, what must fit together.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tomli

from hmacfs.config import addresses, certificates, endpoints, go_config, keys, locate, translate, values
from hmacfs.config.keyring import Keyring
from hmacfs.config.keys import ValueKind
from hmacfs.config.report import Fault, Faulty, Notice, Report, show
from hmacfs.config.settings import (
    Cors,
    EndpointTable,
    Logging,
    Metrics,
    Security,
    Server,
    Settings,
    Timeouts,
    Tls,
    Uploads,
)
from hmacfs.config.tuning import Performance, Streaming
from hmacfs.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.config.go_config import Adopted, Table
    from hmacfs.config.report import KeyPath
    from hmacfs.model import Secret

T = TypeVar("T")

_LOCATION: Final = re.compile(r"(?:/[A-Za-z0-9._-]+)+/")

_OF_KEYRING: Final = (ValueKind.SECRETS, ValueKind.SECRET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration without a fault."""

    settings: Settings
    """What it sets, checked and complete."""
    notices: tuple[Notice, ...]
    """What is worth knowing about it; nothing here stops a server."""
    name: str = ""
    """What stands for the file in reports."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Where the value of a key stands, by "table.key"; keys that are not written are not there."""

    def fault(self, path: str, found: str, expected: str) -> Fault:
        """Return a fault of the key `path`, found after loading."""
        line = self.lines.get(path, 0)
        return Fault(file=self.name, line=line, path=path, found=found, expected=expected)

    def notice(self, path: str, words: str) -> Notice:
        """Return a notice about the key `path`."""
        return Notice(file=self.name, line=self.lines.get(path, 0), path=path, words=words)


def load(path: str | Path) -> Loaded:
    """Read the file at `path`; relative paths in it start at the working directory.

    Raises Faulty with every fault, also if the file cannot be read.
    """
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise Faulty((whole_file_fault(name, f"cannot be read: {reason}", "a readable file"),)) from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Faulty((whole_file_fault(name, "not UTF-8", "UTF-8, as TOML asks", line),)) from None
    return parse(text, name=name, base_dir=Path.cwd(), environ=os.environ)


def parse(text: str, *, name: str, base_dir: str | Path, environ: Mapping[str, str]) -> Loaded:
    """Read a configuration's text; `name` stands for it in reports.

    `base_dir` is where relative paths start, `environ` what "${NAME}" means. Raises Faulty.
    """
    document, report = _document(text, name)
    adopted = go_config.read(document, report)
    translate.foreign(adopted, report)
    settings = _settings(adopted, report, os.path.abspath(base_dir), environ)  # noqa: PTH100 - plain text
    report.settle()
    lines = {
        f"{table}.{key}": report.line(cell.path)
        for table, cells in adopted.tables.items()
        for key, cell in cells.items()
    }
    return Loaded(settings=settings, notices=report.in_order(), name=name, lines=lines)


def whole_file_fault(name: str, found: str, expected: str, line: int = 0) -> Fault:
    """Make a fault that no key is to blame for."""
    return Fault(file=name, line=line, path="", found=found, expected=expected)


def _document(text: str, name: str) -> tuple[dict[str, Any], Report]:
    """Return the document and where its keys stand; Faulty if it is not TOML."""
    try:
        document = tomli.loads(text)
        lines = locate.lines(text)
    except tomli.TOMLDecodeError as error:
        raise Faulty((whole_file_fault(name, f"not TOML: {error.msg}", "", error.lineno),)) from None
    except RecursionError:
        raise Faulty((whole_file_fault(name, "nested too deeply", "fewer brackets"),)) from None
    except ValueError as error:  # an impossible date, or a number longer than Python reads
        raise Faulty((whole_file_fault(name, f"not TOML: {error}", ""),)) from None
    return document, Report(file=name, lines=lines)


def _settings(adopted: Adopted, report: Report, base_dir: str, environ: Mapping[str, str]) -> Settings:
    """Make the settings; faults go to the report and leave a default behind."""
    tables = adopted.tables
    server = _table(Server, tables["server"], report, base_dir)
    metrics = _table(Metrics, tables["metrics"], report, base_dir)
    tls = _table(Tls, tables["tls"], report, base_dir)
    _keep_apart(server, tls, metrics, tables, report)
    _check_proxies(server, tables["server"], report)
    performance = _table(Performance, tables["performance"], report, base_dir)
    _check_chunks(performance, tables["performance"], report)
    streaming = _table(Streaming, tables["streaming"], report, base_dir)
    _check_quality(streaming, tables["streaming"], report)
    _check_buffers(performance, tables["performance"], report)
    security, ring = _security(tables["security"], report, base_dir, environ)
    return Settings(
        server=server,
        metrics=metrics,
        security=security,
        tls=tls,
        pem=_certificate(tls, tables["tls"], report),
        timeouts=_table(Timeouts, tables["timeouts"], report, base_dir),
        logging=_table(Logging, tables["logging"], report, base_dir),
        cors=_table(Cors, tables["cors"], report, base_dir),
        uploads=_table(Uploads, tables["uploads"], report, base_dir),
        streaming=streaming,
        performance=performance,
        endpoints=_endpoints(adopted, security, ring),
    )


def _table(cls: type[T], table: Table, report: Report, base_dir: str) -> T:
    """Make one settings class of the cells of its table; secrets are left at their defaults."""
    found: dict[str, Any] = {}
    for entry in keys.entries(cls):
        cell = table.get(entry.name)
        value: object = entry.default
        if cell is not None and entry.key.kind not in _OF_KEYRING:
            try:
                value = _value(cell.value, entry)
            except values.Wrong as wrong:
                endpoints.wrong_value(cell.value, cell.path, wrong, report)
        if entry.key.kind is ValueKind.PATH and value and entry.name != "secret_file":
            value = os.path.normpath(os.path.join(base_dir, str(value)))  # noqa: PTH118 - plain text
        found[entry.field] = value
    return cls(**found)


def _value(value: object, entry: keys.KeyField) -> object:
    """Read a value; a duration that may be off is None if it is empty or zero."""
    if entry.key.kind is ValueKind.DURATION and entry.default is None:
        return None if value == "" else values.read(value, entry.key) or None
    if entry.name == "storage_path" and value == "":
        raise values.Wrong("a directory")
    if entry.default == () and value == "":
        return ()
    return values.read(value, entry.key)


def _certificate(tls: Tls, table: Table, report: Report) -> Secret | None:
    """Read and try what table [tls] names, if it is used."""
    if not tls.listen_address:
        return None
    listen = table["listen_address"]
    if any(isinstance(addresses.parse(text), addresses.Unix) for text in tls.listen_address):
        report.fault(listen.path, "TLS on a unix socket", "a TCP address")
    if not tls.certificate:
        if "certificate" not in table:
            report.fault(listen.path, "TLS without tls.certificate", 'certificate = "/path/to/chain.pem"')
        return None
    try:
        pem = certificates.read(tls.certificate, tls.key)
        certificates.context(pem, tls.min_version)
    except certificates.Unusable as unusable:
        found = f"{show(getattr(tls, unusable.key))}: {unusable.words}"
        expected = "a certificate and the private key that belongs to it, both in PEM form"
        report.fault(("tls", unusable.key), found, expected)
        return None
    return pem


def _keep_apart(server: Server, tls: Tls, metrics: Metrics, tables: dict[str, Table], report: Report) -> None:
    """Find listeners that would collide, and one for metrics that would answer in public."""
    plain = [addresses.parse(text) for text in server.listen_address]
    for index, one in enumerate(plain):
        if any(addresses.collide(one, other) for other in plain[:index]):
            at = (*tables["server"]["listen_address"].path, index)
            report.fault(at, show(server.listen_address[index]), "an address that none before it includes")
    for text in tls.listen_address:
        if any(addresses.overlap(addresses.parse(text), one) for one in plain):
            found = f"{show(text)}, which is server.listen_address too"
            report.fault(tables["tls"]["listen_address"].path, found, "an address of its own")
    if not metrics.listen_address:
        return
    private = addresses.parse(metrics.listen_address)
    for public in (*server.listen_address, *tls.listen_address):
        if addresses.overlap(private, addresses.parse(public)):
            place = tables["metrics"].get("listen_address") or tables["server"].get("listen_address")
            path: KeyPath = place.path if place else ("metrics",)
            found = f'metrics.listen_address "{metrics.listen_address}" is a public address, "{public}"'
            report.fault(path, found, "an address of its own, that the public does not reach")


def _check_proxies(server: Server, table: Table, report: Report) -> None:
    """Find what is expected of proxies that are not there, or that could not do it."""
    trusted = table.get("trusted_proxies")
    if not (trusted and trusted.value):
        for name, wanted in (("proxy_protocol", server.proxy_protocol), ("offload", server.offload)):
            if wanted:
                found = f"{show(wanted)} while nobody is trusted"
                report.fault(table[name].path, found, "your proxies in server.trusted_proxies")
    elif server.offload and server.proxy_protocol:
        # Behind such a header speaks the client itself, which would be told of a file and get no byte.
        found = "offload from proxies that only pass bytes on"
        report.fault(table["offload"].path, found, "proxy_protocol = false")
    if not _LOCATION.fullmatch(server.offload_prefix):
        name = server.offload_prefix.strip("/")
        near = name if name.isalnum() else "protected"
        expected = f'a path of letters, digits, ".", "_" and "-" between slashes: "/{near}/"'
        report.fault(table["offload_prefix"].path, show(server.offload_prefix), expected)


def _check_chunks(performance: Performance, table: Table, report: Report) -> None:
    """Find a largest chunk that is smaller than the smallest."""
    least, most = performance.min_chunk_size, performance.max_chunk_size
    if least > most:
        cell = table.get("max_chunk_size") or table["min_chunk_size"]
        found = f"min_chunk_size ({least} bytes) is larger than max_chunk_size ({most} bytes)"
        report.fault(cell.path, found, "the smallest not above the largest")


def _check_quality(streaming: Streaming, table: Table, report: Report) -> None:
    """Find classes of lines of which the better asks for less."""
    rates = (streaming.fair_rate, streaming.good_rate, streaming.excellent_rate)
    round_trips = (streaming.excellent_latency_s, streaming.good_latency_s, streaming.fair_latency_s)
    for kind, rising, numbers in (
        ("rate", "fair, good, excellent", rates),
        ("latency", "excellent, good, fair", round_trips),
    ):
        if list(numbers) != sorted(numbers):
            cell = next(cell for name, cell in table.items() if name.endswith(kind))
            report.fault(cell.path, f"{kind}s that do not rise", f"{rising}: each at least the one before")


def _check_buffers(performance: Performance, table: Table, report: Report) -> None:
    """Find a largest buffer that is smaller than the smallest."""
    least, most = performance.min_buffer_size, performance.max_buffer_size
    if performance.adaptive_buffers and least > most:
        cell = table.get("max_buffer_size") or table["min_buffer_size"]
        found = f"min_buffer_size ({least} bytes) is larger than max_buffer_size ({most} bytes)"
        report.fault(cell.path, found, "the smallest not above the largest")


def _security(
    table: Table, report: Report, base_dir: str, environ: Mapping[str, str]
) -> tuple[Security, Keyring]:
    """Read table [security] and give it with the keyring for the endpoints' secrets."""
    plain = _table(Security, table, report, base_dir)
    ring = Keyring(report=report, environ=environ, base_dir=base_dir, allow_weak=plain.allow_weak_secret)
    written = {name: cell.value for name, cell in table.items() if name in ("secret", "secret_file")}
    if "secret_file" in written:
        written["secret_file"] = plain.secret_file  # checked above: a wrong one is not reported twice
    delete = table.get("delete_secret")
    security = Security(
        secrets=endpoints.own_secrets(written, ("security",), ring),
        secret_file=plain.secret_file,
        delete_secret=ring.read_one(delete.value, delete.path) if delete else None,
        allow_weak_secret=plain.allow_weak_secret,
    )
    return security, ring


def _endpoints(adopted: Adopted, security: Security, ring: Keyring) -> tuple[Endpoint, ...]:
    """Return the endpoints, longest prefix first; the default one if none is written."""
    found: list[tuple[KeyPath, Endpoint]] = []
    for path, table in adopted.endpoints:
        if (endpoint := endpoints.read(table, path, security, ring)) is not None:
            found.append((path, endpoint))
    if not adopted.endpoints:
        found.append((("security",), _default_endpoint(adopted, security, ring)))
    endpoints.compare(found, ring.report)
    endpoints.without_secret(found, ring.report)
    return tuple(sorted((endpoint for _, endpoint in found), key=lambda one: (-len(one.prefix), one.prefix)))


def _default_endpoint(adopted: Adopted, security: Security, ring: Keyring) -> Endpoint:
    """Return the endpoint of a configuration that names none."""
    door = EndpointTable()
    jwt = adopted.jwt_secret
    return Endpoint(
        prefix=door.prefix,
        directory=door.directory,
        protocols=adopted.protocols if jwt is None else ("gojwt",),
        secrets=security.secrets if jwt is None else ring.read(jwt.value, jwt.path),
        delete_secret=security.delete_secret,
    )
