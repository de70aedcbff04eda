"""The Go server's spellings turned into ours, with a notice about each.

Takes the document as tomli gave it; gives every native key with its value and the place it came from.
What a value means is no concern of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hmacfs.config import compat, keys, values
from hmacfs.config.report import show
from hmacfs.config.settings import TABLES

if TYPE_CHECKING:
    from hmacfs.config.report import KeyPath, Report


class Cell(NamedTuple):
    """A value and where it stands."""

    value: object
    path: KeyPath


Table: TypeAlias = dict[str, Cell]

NATIVE: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(entry.name for entry in keys.entries(table)) for name, table in TABLES.items()
}
"""Our own keys by table."""

_ADOPTION: Final = (
    "this is a configuration of the Go server, which kept its files in storage_path itself and served them "
    'from "/"; to adopt its store add: [[endpoint]] prefix = "/" directory = ""'
)


@dataclass(slots=True, kw_only=True)
class Adopted:
    """What a document says in our own words."""

    tables: dict[str, Table]
    """Our tables, each there even if empty."""
    endpoints: list[tuple[KeyPath, dict[str, object]]]
    """Tables [[endpoint]] with their places."""
    foreign: dict[tuple[str, str], Cell]
    """The Go server's keys that no plain renaming can honour."""
    jwt_secret: Cell | None = None
    """Secret of the Go server's own JWTs, if the default endpoint is to verify them."""


def read(document: dict[str, object], report: Report) -> Adopted:
    """Sort the keys of a document; keys that nobody knows are faults."""
    adopted = Adopted(tables={name: {} for name in TABLES}, endpoints=[], foreign={})
    known = (*TABLES, "endpoint", *compat.FOREIGN)
    # Our own spellings of every table first, so that they win over variants wherever those stand.
    for name, names in NATIVE.items():
        found = document.get(name)
        if isinstance(found, dict):
            adopted.tables[name] = {key: Cell(found[key], (name, key)) for key in names if key in found}
    for name, value in document.items():
        if name == "endpoint":
            _endpoints(value, adopted, report)
        elif name not in known:
            report.fault((name,), "unknown " + _kind(value), "a known table", _nearest_anywhere(name, known))
        elif not isinstance(value, dict):
            # The value is not shown: it may be a secret in the wrong place.
            report.fault((name,), "no table", f"a table: [{name}]", _nearest_anywhere(name, ()))
        elif name in TABLES:
            _variants(name, value, adopted, report)
        else:
            _foreign(name, value, report)
    if "endpoint" not in document and _is_foreign(adopted, report):
        report.notice((), _ADOPTION)
    return adopted


def _is_foreign(adopted: Adopted, report: Report) -> bool:
    """Tell whether a key was the Go server's, rather than one of the tables that we plan ourselves."""
    tables = {notice.path.partition(".")[0] for notice in report.notices}
    return bool(adopted.foreign or tables - compat.OWN)


def _kind(value: object) -> str:
    return "table" if isinstance(value, (dict, list)) else "key outside any table"


def _nearest_anywhere(name: str, known: tuple[str, ...]) -> str:
    """Give the table or, for a key that lost its table, the full path most like `name`."""
    for table, names in NATIVE.items():
        if name in names:
            return f"{table}.{name}"
    return values.nearest(name, known)


def _endpoints(value: object, adopted: Adopted, report: Report) -> None:
    if not isinstance(value, list):
        report.fault(("endpoint",), _kind(value), "[[endpoint]], with two brackets")
        return
    for index, table in enumerate(value):
        path: KeyPath = ("endpoint", index)
        if isinstance(table, dict):
            adopted.endpoints.append((path, table))
        else:
            report.fault(path, show(table), "a table")


def _squash(name: str) -> str:
    """Give what two spellings of one key have in common."""
    return name.replace("_", "").replace("-", "").lower()


def _variants(table: str, found: dict[str, object], adopted: Adopted, report: Report) -> None:
    """Sort the keys of one of our tables that are not our own into variants, moved, foreign and faults."""
    names = NATIVE[table]
    rows = compat.ROWS.get(table, {})
    own = {_squash(name): name for name in names}
    moved = {_squash(name): to for (at, name), to in compat.MOVED.items() if at == table}
    foreign = {_squash(name): name for name in rows}
    for name, value in found.items():
        cell = Cell(value, (table, name))
        squashed = _squash(name)
        if name in names:
            continue
        if squashed in own:
            move(adopted, report, cell, (table, own[squashed]))
        elif squashed in moved:
            move(adopted, report, cell, moved[squashed])
        elif squashed in foreign:
            _keep_foreign(adopted, report, cell, (table, foreign[squashed]))
        else:
            report.fault(
                cell.path, "unknown key", f"a key of [{table}]", values.nearest(name, (*names, *rows))
            )


def move(adopted: Adopted, report: Report, cell: Cell, to: tuple[str, str]) -> None:
    """Honour `cell` under the name `to`, unless something stands there already."""
    table, name = to
    if (winner := adopted.tables[table].get(name)) is not None:
        given = f"{winner.path[0]}.{winner.path[1]} (line {report.line(winner.path)})"
        report.notice(cell.path, f"ignored: {given} says the same and wins")
        return
    adopted.tables[table][name] = cell
    report.notice(cell.path, f"honoured as {table}.{name}")


def _keep_foreign(adopted: Adopted, report: Report, cell: Cell, key: tuple[str, str]) -> None:
    """Remember a key of the Go server; tell now what is plain, later what depends on others."""
    row = compat.ROWS[key[0]][key[1]]
    if key in adopted.foreign:
        report.notice(cell.path, f"ignored: {key[0]}.{adopted.foreign[key].path[1]} says the same and wins")
    elif row.fate is compat.Fate.HONOURED:
        adopted.foreign[key] = cell
    else:
        report.notice(cell.path, _fate(row, cell.value))


def _foreign(table: str, found: dict[str, object], report: Report) -> None:
    """Tell what becomes of each key in a table that is not ours."""
    rows = compat.ROWS.get(table, {})
    by_squashed = {_squash(name): row for name, row in rows.items()}
    rest = compat.FOREIGN[table]
    for name, value in found.items():
        report.notice((table, name), _fate(by_squashed.get(_squash(name), rest), value))


def _fate(row: compat.Row, value: object) -> str:
    """Say a row in words; what is off in the document needs no regret."""
    if value is False and row.fate is compat.Fate.LATER:
        return "ignored: it is off, and off here"
    return f"{row.fate.value}: {row.words}"
