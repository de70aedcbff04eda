"""The Go server's keys that mean something only together: listening, metrics, time to live, log, JWT.

Each function takes one such group out of `Adopted.foreign` and says what it became.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.config import adopt
from hmacfs.config.adopt import Cell
from hmacfs.config.report import show

if TYPE_CHECKING:
    from hmacfs.config.adopt import Adopted
    from hmacfs.config.report import Report

_LEVELS = {"warning": "warn", "trace": "debug", "fatal": "error", "panic": "error"}


def foreign(adopted: Adopted, report: Report) -> None:
    """Turn every remaining key of the Go server into ours, in place."""
    _listening(adopted, report)
    _metrics(adopted, report)
    _time_to_live(adopted, report)
    _log(adopted, report)
    _jwt(adopted, report)


def _take(adopted: Adopted, report: Report, key: tuple[str, str]) -> bool | None:
    """Take a switch out of the foreign keys; None if it is not given or no switch."""
    cell = adopted.foreign.pop(key, None)
    if cell is None:
        return None
    if not isinstance(cell.value, bool):
        report.fault(cell.path, show(cell.value), "true or false, without quotes")
        return None
    return cell.value


def _is_port(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def _text(value: object) -> object:
    """Give a whole number as text, since the templates write ports both ways."""
    return str(value) if type(value) is int and 0 <= value <= 65_535 else value  # noqa: PLR2004 - a port


def _listening(adopted: Adopted, report: Report) -> None:
    """listenport, bind_ip, unixsocket and a listen_address that is only a port."""
    server = adopted.tables["server"]
    if port := adopted.foreign.pop(("server", "listenport"), None):
        adopt.move(adopted, report, port, ("server", "listen_address"))
    host = adopted.foreign.pop(("server", "bind_ip"), None)
    unix_path = adopted.foreign.get(("server", "unixsocket"))
    unix = _take(adopted, report, ("server", "unixsocket"))
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
        own = "" if host is None else str(host.value)
        own = f"[{own}]" if ":" in own else own
        written = value
        value = f"{own}:{value.removeprefix(':')}"
        if value != written:
            if host is None:
                report.retract(address.path)
            report.notice((host or address).path, f'honoured: server.listen_address = "{value}"')
    elif host is not None:
        report.notice(
            host.path, f"ignored: server.listen_address (line {report.line(address.path)}) has a host"
        )
    server["listen_address"] = Cell(value, address.path)


def _metrics(adopted: Adopted, report: Report) -> None:
    """Metricsenabled and metricsport."""
    metrics = adopted.tables["metrics"]
    port = adopted.foreign.pop(("server", "metricsport"), None)
    switch = adopted.foreign.get(("server", "metricsenabled"))
    enabled = _take(adopted, report, ("server", "metricsenabled"))
    if switch is not None and enabled is not None:
        if "listen_address" in metrics:
            report.notice(switch.path, "ignored: metrics.listen_address is given and wins")
        elif enabled:
            report.notice(switch.path, "honoured: metrics.listen_address is on")
        else:
            metrics["listen_address"] = Cell("", switch.path)
            report.notice(switch.path, 'honoured as metrics.listen_address = ""')
    if port is None:
        return
    number = _text(port.value)
    if not isinstance(number, str) or not _is_port(number.removeprefix(":")):
        report.fault(port.path, show(port.value), "a port in quotes; better: metrics.listen_address")
    elif "listen_address" in metrics:
        report.notice(port.path, "ignored: metrics.listen_address or metricsenabled decides")
    else:
        address = f"127.0.0.1:{number.removeprefix(':')}"
        metrics["listen_address"] = Cell(address, port.path)
        report.notice(port.path, f'honoured as metrics.listen_address = "{address}", on this machine only')


def _time_to_live(adopted: Adopted, report: Report) -> None:
    """Join filettlenabled with filettl or max_file_age; in doubt files are kept, since deleting is final."""
    server = adopted.tables["server"]
    age = adopted.foreign.pop(("server", "max_file_age"), None)
    switch = adopted.foreign.get(("server", "filettlenabled"))
    enabled = _take(adopted, report, ("server", "filettlenabled"))
    ttl = server.get("file_ttl")
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
    json = _take(adopted, report, ("server", "loggingjson"))
    if switch is not None and json is not None:
        adopt.move(adopted, report, Cell("json" if json else "logfmt", switch.path), ("logging", "format"))
    level = logging.get("level")
    if level is not None and isinstance(level.value, str):
        word = level.value.lower()
        logging["level"] = Cell(_LEVELS.get(word, word), level.path)


def _jwt(adopted: Adopted, report: Report) -> None:
    """enablejwt, jwtsecret and jwtalgorithm: protocol gojwt of the default endpoint, if that is plain."""
    secret = adopted.foreign.pop(("security", "jwtsecret"), None)
    algorithm = adopted.foreign.pop(("security", "jwtalgorithm"), None)
    switch = adopted.foreign.get(("security", "enablejwt"))
    enabled = _take(adopted, report, ("security", "enablejwt"))
    if not enabled or secret is None:
        for cell in (switch, secret, algorithm):
            if cell is not None:
                report.notice(cell.path, "ignored: it needs enablejwt = true and a jwtsecret")
        return
    if algorithm is not None:
        plain = algorithm.value in ("", "HS256")
        report.notice(algorithm.path, "honoured" if plain else "not honoured: only HS256 is verified")
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
