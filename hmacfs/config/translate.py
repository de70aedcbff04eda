"""The Go server's keys that mean something only together: listening, metrics, time to live, log, tokens.

Each function takes one such group out of `Adopted.foreign` and says what it became.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from hmacfs.config import go_config, sizes
from hmacfs.config.go_config import Cell
from hmacfs.config.report import show, spell
from hmacfs.config.settings import DEFAULT_PROTOCOLS
from hmacfs.model import JWT_ALGORITHM

if TYPE_CHECKING:
    from hmacfs.config.go_config import Adopted
    from hmacfs.config.report import Report

_LEVELS: Final = {"warning": "warn", "trace": "debug", "fatal": "error", "panic": "error"}
_PORT_MOST: Final = 65_535


def foreign(adopted: Adopted, report: Report) -> None:
    """Turn every remaining key of the Go server into ours, in place."""
    _listening(adopted, report)
    _metrics(adopted, report)
    _time_to_live(adopted, report)
    _log(adopted, report)
    _tokens(adopted, report)
    sizes.foreign(adopted, report)


def _take(adopted: Adopted, key: tuple[str, str]) -> bool | None:
    """Take a switch, whose type has been checked, out of the foreign keys; None if it is not given."""
    cell = adopted.foreign.pop(key, None)
    return None if cell is None else cell.value is True


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def _text(value: object) -> object:
    """Return a whole number as text, since the templates write ports both ways."""
    return str(value) if type(value) is int and 0 <= value <= _PORT_MOST else value


def _listening(adopted: Adopted, report: Report) -> None:
    """Join the port, the host and unixsocket with a listen_address that is only a port."""
    server = adopted.tables["server"]
    for name in ("listenport", "port"):
        if port := adopted.foreign.pop(("server", name), None):
            go_config.move(adopted, report, port, ("server", "listen_address"))
    host = _host(adopted, report)
    unix_path = adopted.foreign.get(("server", "unixsocket"))
    unix = _take(adopted, ("server", "unixsocket"))
    address = server.get("listen_address")
    if unix_path is not None and unix is False:
        report.notice(unix_path.path, "honoured: server.listen_address is TCP")
    if address is None:
        if host is not None:
            report.notice(host.path, "ignored: there is no server.listen_address whose host it could be")
        return
    value = _text(address.value)
    if unix and isinstance(value, str) and not value.startswith("unix:"):
        value = f"unix:{value}"
        report.notice((unix_path or address).path, f'honoured: server.listen_address = "{value}"')
    elif isinstance(value, str) and _is_port(value.removeprefix(":")):
        value = _with_host(value, host, address, report)
    elif host is not None:
        report.notice(
            host.path, f"ignored: server.listen_address (line {report.line(address.path)}) has a host"
        )
    server["listen_address"] = Cell(value, address.path)


def _with_host(written: str, host: Cell | None, address: Cell, report: Report) -> str:
    """Return the address of a port and the host that is given elsewhere, or every address."""
    own = "" if host is None else str(host.value)
    value = f"[{own}]:{written.removeprefix(':')}" if ":" in own else f"{own}:{written.removeprefix(':')}"
    if host is None and value != written:
        report.retract(address.path)
    if host is not None or value != written:
        report.notice((host or address).path, f'honoured: server.listen_address = "{value}"')
    return value


def _host(adopted: Adopted, report: Report) -> Cell | None:
    """Return the host that bind_ip or interface names, or "" (every address) of bind_all_interfaces."""
    host = adopted.foreign.pop(("server", "bind_ip"), None)
    interface = adopted.foreign.pop(("server", "interface"), None)
    if interface is not None and not _is_ip(interface.value):
        report.notice(interface.path, "ignored: it is no address; name one in server.listen_address")
        interface = None
    if host is not None and interface is not None:
        report.notice(interface.path, f"ignored: {spell(host.path)} says the same and wins")
    host = host or interface
    switch = adopted.foreign.get(("server", "bind_all_interfaces"))
    everywhere = _take(adopted, ("server", "bind_all_interfaces"))
    if switch is None:
        return host
    if host is not None:
        report.notice(switch.path, f"ignored: {spell(host.path)} names the address")
        return host
    if not everywhere:
        report.notice(switch.path, "honoured: server.listen_address decides")
        return None
    # Alone it speaks of the usual port.
    adopted.tables["server"].setdefault("listen_address", Cell("8080", switch.path))
    return Cell("", switch.path)


def _is_ip(value: object) -> bool:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True


def _metrics(adopted: Adopted, report: Report) -> None:
    """Join the switches and ports of [metrics] and [server] into metrics.listen_address."""
    metrics = adopted.tables["metrics"]
    own = metrics.get("listen_address")
    for key in (("metrics", "enabled"), ("server", "metricsenabled")):
        switch = adopted.foreign.get(key)
        enabled = _take(adopted, key)
        if switch is None:
            continue
        if own is not None:
            report.notice(switch.path, "ignored: metrics.listen_address is given and wins")
        elif enabled:
            report.notice(switch.path, "honoured: metrics.listen_address is on")
        else:
            metrics["listen_address"] = Cell("", switch.path)
            report.notice(switch.path, 'honoured as metrics.listen_address = ""')
    for key in (("metrics", "port"), ("server", "metricsport")):
        port = adopted.foreign.pop(key, None)
        if port is None:
            continue
        number = _text(port.value)
        if not isinstance(number, str) or not _is_port(number.removeprefix(":")):
            report.fault(port.path, show(port.value), "a port in quotes; better: metrics.listen_address")
        elif (given := metrics.get("listen_address")) is not None:
            report.notice(port.path, f"ignored: {spell(given.path)} decides")
        else:
            address = f"127.0.0.1:{number.removeprefix(':')}"
            metrics["listen_address"] = Cell(address, port.path)
            words = f'honoured as metrics.listen_address = "{address}", on this machine only'
            report.notice(port.path, words)


def _time_to_live(adopted: Adopted, report: Report) -> None:
    """Join the switches with the times to live; in doubt files are kept, since deleting is final."""
    _file_ttl(adopted, report)
    ttl = adopted.foreign.pop(("uploads", "ttl"), None)
    switch = adopted.foreign.get(("uploads", "ttl_enabled"))
    enabled = _take(adopted, ("uploads", "ttl_enabled"))
    if switch is not None:
        words = "see server.file_ttl" if enabled and ttl else "files are kept; see server.file_ttl"
        report.notice(switch.path, f"{'honoured' if ttl or not enabled else 'ignored'}: {words}")
    if ttl is not None and enabled:
        go_config.move(adopted, report, ttl, ("server", "file_ttl"))
    elif ttl is not None:
        report.notice(ttl.path, "ignored: ttl_enabled is not true, so files are kept; see server.file_ttl")


def _file_ttl(adopted: Adopted, report: Report) -> None:
    """Join filettlenabled with filettl or max_file_age."""
    server = adopted.tables["server"]
    ttl = server.get("file_ttl")
    age = adopted.foreign.pop(("server", "max_file_age"), None)
    switch = adopted.foreign.get(("server", "filettlenabled"))
    enabled = _take(adopted, ("server", "filettlenabled"))
    if age is not None and ttl is not None:
        report.notice(
            age.path, f"ignored: {ttl.path[1]} (line {report.line(ttl.path)}) says the same and wins"
        )
    elif age is not None and enabled:
        ttl = server["file_ttl"] = age
        report.notice(age.path, "honoured as server.file_ttl")
    elif age is not None:
        report.notice(age.path, "ignored: filettlenabled is not true, so files are kept; see server.file_ttl")
    if switch is not None and enabled is False:
        report.notice(switch.path, "honoured: files are kept")
        server.pop("file_ttl", None)
    elif switch is not None and enabled:
        words = "honoured: see server.file_ttl" if ttl else "ignored: no filettl says how long files are kept"
        report.notice(switch.path, words)
    elif ttl is not None and ttl.path[1] != "file_ttl":
        del server["file_ttl"]
        report.retract(ttl.path)
        report.notice(ttl.path, "ignored: filettlenabled is not true, so files are kept; see server.file_ttl")


def _log(adopted: Adopted, report: Report) -> None:
    """Loggingjson, and the words that the Go server has for levels."""
    logging = adopted.tables["logging"]
    switch = adopted.foreign.get(("server", "loggingjson"))
    json = _take(adopted, ("server", "loggingjson"))
    if switch is not None and json is not None:
        go_config.move(
            adopted, report, Cell("json" if json else "logfmt", switch.path), ("logging", "format")
        )
    level = logging.get("level")
    if level is not None and isinstance(level.value, str):
        word = level.value.lower()
        logging["level"] = Cell(_LEVELS.get(word, word), level.path)


def _tokens(adopted: Adopted, report: Report) -> None:
    """Join the switches of token dialects into the protocols of the default endpoint."""
    _jwt(adopted, report)
    switches: dict[str, list[Cell]] = {}
    for name in ("hmac_enabled", "bearer_tokens_enabled"):
        for table in ("security", "auth"):
            if (cell := adopted.foreign.pop((table, name), None)) is not None:
                switches.setdefault(name, []).append(cell)
    hmac = all(cell.value for cell in switches.get("hmac_enabled", ()))
    bearer = any(cell.value for cell in switches.get("bearer_tokens_enabled", ()))
    cells = [cell for given in switches.values() for cell in given]
    if adopted.endpoints or adopted.jwt_secret is not None:
        words = "ignored: the protocols of each endpoint are what counts"
    elif not hmac and not bearer:
        words = "ignored: no other protocol is on"
    else:
        adopted.protocols = (*(DEFAULT_PROTOCOLS if hmac else ()), *(("bearer",) if bearer else ()))
        words = f"honoured: the default endpoint takes {', '.join(adopted.protocols)}"
    for cell in cells:
        report.notice(cell.path, words)


def _jwt(adopted: Adopted, report: Report) -> None:
    """Join enablejwt, jwtsecret and jwtalgorithm: protocol gojwt of the default endpoint, if plain."""
    secret = adopted.foreign.pop(("security", "jwtsecret"), None)
    algorithm = adopted.foreign.pop(("security", "jwtalgorithm"), None)
    keys = (("security", "enablejwt"), ("security", "jwt_enabled"), ("auth", "jwt_enabled"))
    switches = [cell for key in keys if (cell := adopted.foreign.pop(key, None)) is not None]
    if secret is None or not any(cell.value for cell in switches):
        for cell in (*switches, secret, algorithm):
            if cell is not None:
                report.notice(cell.path, "ignored: it needs enablejwt = true and a jwtsecret")
        return
    for cell in switches:
        report.notice(cell.path, "honoured: see jwtsecret")
    if algorithm is not None:
        plain = algorithm.value in ("", JWT_ALGORITHM)
        not_honoured = f"not honoured: only {JWT_ALGORITHM} is verified"
        report.notice(algorithm.path, "honoured" if plain else not_honoured)
    security = adopted.tables["security"]
    if adopted.endpoints or "secret" in security or "secret_file" in security:
        # One endpoint's secrets verify all of its protocols, so mixing the two would let either key sign
        # the other's tokens.
        report.notice(
            secret.path,
            'not honoured, since security.secret is given too: add [[endpoint]] prefix = "/jwt/" '
            'protocols = ["gojwt"] with this secret, or add "gojwt" to the protocols of an endpoint',
        )
        return
    adopted.jwt_secret = secret
    report.notice(secret.path, 'honoured: the default endpoint takes protocol "gojwt" with this secret')
