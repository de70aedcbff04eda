"""The Go server's spellings turned into ours, with a notice about each.

Takes the document as tomli gave it; gives every native key with its value and the place it came from.
What a value means is no concern of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hmacfs.config import compat, fates, keys, values
from hmacfs.config.report import show, spell
from hmacfs.config.settings import DEFAULT_PROTOCOLS, TABLES

if TYPE_CHECKING:
    from hmacfs.config.report import KeyPath, Report


class Cell(NamedTuple):
    """A value and where it stands."""

    value: object
    path: KeyPath


Table: TypeAlias = dict[str, Cell]


class Placed(NamedTuple):
    """A table of the document."""

    name: str
    """As `compat` spells it: "a.b" lies in "a"."""
    path: KeyPath
    found: dict[str, object]


NATIVE: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(entry.name for entry in keys.entries(table)) for name, table in TABLES.items()
}
"""Our own keys by table."""

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
)
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
    protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    """What the default endpoint takes, if it verifies no such JWTs."""


def read(document: dict[str, object], report: Report) -> Adopted:
    """Sort the keys of a document; unknown keys and wrong types are faults."""
    adopted = Adopted(tables={name: {} for name in TABLES}, endpoints=[], foreign={})
    known = (*TABLES, "endpoint", *(name for name in compat.FOREIGN if "." not in name))
    # Our own spellings of every table first, so that they win over variants wherever those stand.
    for name, names in NATIVE.items():
        found = document.get(name)
        if isinstance(found, dict):
            adopted.tables[name] = {key: Cell(found[key], (name, key)) for key in names if key in found}
    tables: list[Placed] = []
    for name, value in document.items():
        if name == "endpoint":
            _endpoints(value, adopted, report)
        elif name not in known:
            report.fault((name,), "unknown " + _kind(value), "a known table", _nearest_anywhere(name, known))
        elif not isinstance(value, dict):
            # The value is not shown: it may be a secret in the wrong place.
            report.fault((name,), "no table", f"a table: [{name}]", _nearest_anywhere(name, ()))
        else:
            tables += _tables(name, (name,), value)
    rest = [(table, path, _variants(table, path, found, adopted, report)) for table, path, found in tables]
    for table, path, found in rest:
        _foreign(table, path, found, adopted, report)
    if "endpoint" not in document and _is_foreign(adopted, report):
        report.notice((), _ADOPTION)
    return adopted


def _tables(name: str, path: KeyPath, found: dict[str, object]) -> list[Placed]:
    """Return a table and, apart from it, those of the Go server's that lie in it."""
    inner: list[Placed] = []
    plain: dict[str, object] = {}
    for key, value in found.items():
        table = f"{name}.{key}"
        if isinstance(value, dict) and table in compat.ROWS:
            inner += _tables(table, (*path, key), value)
        else:
            plain[key] = value
    return [Placed(name, path, plain), *inner]


def _is_foreign(adopted: Adopted, report: Report) -> bool:
    """Tell whether a key was the Go server's, rather than one of the tables that we plan ourselves."""
    tables = {notice.path.partition(".")[0] for notice in report.notices}
    return bool(adopted.foreign or tables - compat.OWN)


def _kind(value: object) -> str:
    return "table" if isinstance(value, (dict, list)) else "key outside any table"


def _nearest_anywhere(name: str, known: tuple[str, ...]) -> str:
    """Return the table or, for a key that lost its table, the full path most like `name`."""
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
    """Return what two spellings of one key have in common."""
    return name.replace("_", "").replace("-", "").lower()


def _variants(
    table: str, path: KeyPath, found: dict[str, object], adopted: Adopted, report: Report
) -> dict[str, object]:
    """Honour variants of spelling of our own keys in a table; return the keys that are not ours."""
    names = NATIVE.get(table, ())
    own = {_squash(name): name for name in names}
    rest: dict[str, object] = {}
    for name, value in found.items():
        if (squashed := _squash(name)) not in own:
            rest[name] = value
        elif name not in names:
            move(adopted, report, Cell(value, (*path, name)), (table, own[squashed]))
    return rest


def _foreign(table: str, path: KeyPath, found: dict[str, object], adopted: Adopted, report: Report) -> None:
    """Sort the keys of a table that are not our own: the Go server's, and those that nobody knows."""
    rows = compat.ROWS.get(table, {})
    by_squashed = {_squash(name): name for name in rows}
    for name, value in found.items():
        cell = Cell(value, (*path, name))
        if (known := by_squashed.get(_squash(name))) is not None:
            _sort(adopted, report, cell, (table, known))
        elif f"{table}.{name}" in compat.FOREIGN:
            report.fault(cell.path, kind_of(value), fates.ConfigForm.TABLE.value)
        elif table in compat.FOREIGN:
            report.notice(cell.path, _fate(compat.FOREIGN[table], value))
        else:
            near = values.nearest(name, (*NATIVE[table], *rows))
            report.fault(cell.path, "unknown key", f"a key of [{table}]", near)


def move(adopted: Adopted, report: Report, cell: Cell, to: tuple[str, str]) -> None:
    """Honour `cell` under the name `to`, unless something stands there already."""
    table, name = to
    if (winner := adopted.tables[table].get(name)) is not None:
        given = f"{spell(winner.path)} (line {report.line(winner.path)})"
        report.notice(cell.path, f"ignored: {given} says the same and wins")
        return
    adopted.tables[table][name] = cell
    report.notice(cell.path, f"honoured as {table}.{name}")


def _sort(adopted: Adopted, report: Report, cell: Cell, key: tuple[str, str]) -> None:
    """Move a key of the Go server, or remember it; tell now what is plain, later what depends on others."""
    row = compat.ROWS[key[0]][key[1]]
    if not fates.fits(cell.value, row.form):
        # Neither here is the value shown: some of these keys hold passwords.
        report.fault(cell.path, kind_of(cell.value), row.form.value)
    elif row.to is not None:
        move(adopted, report, cell, row.to)
    elif key in adopted.foreign:
        winner = spell(adopted.foreign[key].path)
        report.notice(cell.path, f"ignored: {winner} says the same and wins")
    elif row.fate is fates.Fate.HONOURED:
        adopted.foreign[key] = cell
    else:
        report.notice(cell.path, _fate(row, cell.value))


def kind_of(value: object) -> str:
    """Say what type of TOML a value has, without the value."""
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return "a date or a time"


def _fate(row: fates.KeyFate, value: object) -> str:
    """Say a row in words; what is off in the document needs no regret."""
    if value is False and row.fate is fates.Fate.LATER:
        return "ignored: it is off, and off here"
    return f"{row.fate.value}: {row.words}"
