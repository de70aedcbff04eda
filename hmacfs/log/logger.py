"""The log itself: fields in, lines out, many at a time.

One Log per process, used by its event loop's thread only. Lines are held until `flush`, which the tick calls,
or until there are many; warnings and errors go out at once. A stream that takes no more costs lines, which
are counted, never time.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs.log.events import LEVELS
from hmacfs.log.sink import LogStream
from hmacfs.log.text import CAP, REDACTED, as_it_is, bare, clean, ordinary, quoted, signed
from hmacfs.model import KiB, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hmacfs.model import FinishedRequest

FLUSH_BYTES: Final = 32 * KiB
"""Held lines that are written without waiting for the tick."""
HELD_LIMIT_BYTES: Final = 1024 * KiB
"""Held lines beyond which more are dropped, while the stream takes none."""
TRACE_CAP: Final = 8 * KiB
"""Characters of the field "trace", a fault's traceback."""
STDERR: Final = 2

_WARN: Final = LEVELS["warn"]
# These answers mean that something is to be done by whoever runs the server.
_GRAVE: Final = frozenset({500, 507})
_RESERVED: Final = frozenset({"ts", "level", "event"})
_UNFIT = re.compile(r"[^A-Za-z0-9_]")
_LINE_END: Final = ord("\n")


class Options(Protocol):
    """What [logging] says; config.settings.Logging is one."""

    @property
    def level(self) -> str:
        """Least level that is logged."""

    @property
    def file(self) -> str:
        """Path of the log file; "" is standard error."""

    @property
    def format(self) -> str:
        """Either "logfmt" or "json"."""


class Log:
    """Writes one line per event or request."""

    def __init__(
        self,
        stream_fd: int = STDERR,
        *,
        level: str = "info",
        style: str = "logfmt",
        clock: Callable[[], float] = time.time,
        path: str = "",
    ) -> None:
        """Log to the file at `path`, or else to the open `stream_fd`, what weighs `level` or more.

        `clock` gives wall-clock seconds. Raises OSError if the file cannot be opened.
        """
        self._stream_fd = stream_fd
        self._path = path
        self._sink = LogStream.at(path) if path else LogStream(stream_fd)
        self._least = LEVELS[level]
        self._json = style == "json"
        self._clock = clock
        self._now_ms = -1
        self._shown_ms = ""
        self._shown_s = ""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._flush_at = FLUSH_BYTES
        self._rest = b""  # what the stream did not take; may begin within a line
        self._torn = False  # whether the stream's last line lacks its end
        self.dropped = 0
        """Lines given up so far, for the metrics."""
        self._told = 0

    def event(self, level: str, name: str, /, **fields: object) -> None:
        """Log the event `name` of EVENTS. Fields that are None are left out, Secrets never shown."""
        weight = LEVELS[level]
        if weight < self._least:
            return
        line = self._line(level, name, ((_key(key), value) for key, value in fields.items()))
        self._keep(line.encode("ascii"))
        if weight >= _WARN:
            self.flush()

    def request(self, finished: FinishedRequest) -> None:
        """Log one answered request. REQUEST_FIELDS tells the meanings.

        500 and 507 weigh as warnings, everything else as information; none is flushed at once, since a disk
        in trouble makes many.
        """
        status, target = finished.status, finished.target
        level = "warn" if status in _GRAVE else "info"
        if LEVELS[level] < self._least:
            return
        request_id, client, method = finished.request_id, finished.client, finished.method
        code, dialect = finished.code, finished.dialect
        received, sent, elapsed_s = finished.received, finished.sent, finished.elapsed_s
        if not (target and ordinary(f"{request_id}{client}{method}{code}{dialect}")):
            fields = (
                ("request_id", request_id),
                ("client", client),
                ("method", method),
                ("target", target or None),
                ("status", status),
                ("code", code),
                ("in", received),
                ("out", sent),
                ("ms", round(elapsed_s * 1000, 3)),
                ("dialect", dialect or None),
                ("broken", finished.broken or None),
                ("detail", finished.detail or None),
            )
            self._keep(self._line(level, "request", fields).encode("ascii"))
            return
        # What nearly every line is: one piece of text, since a line is written per request.
        shown = (signed(target) if b"?" in target else as_it_is(target)) or clean(target)
        if self._json:
            tail = f',"dialect":"{dialect}"' if dialect else ""
            line = (
                f'{{"ts":"{self._stamp()}","level":"{level}","event":"request","request_id":"{request_id}"'
                f',"client":"{client}","method":"{method}","target":{quoted(shown)},"status":{status}'
                f',"code":"{code}","in":{received},"out":{sent},"ms":{elapsed_s * 1000:.3f}{tail}'
            )
        else:
            if not bare(shown):
                shown = quoted(shown)
            tail = f" dialect={dialect}" if dialect else ""
            line = (
                f"ts={self._stamp()} level={level} event=request request_id={request_id} client={client}"
                f" method={method} target={shown} status={status} code={code} in={received} out={sent}"
                f" ms={elapsed_s * 1000:.3f}{tail}"
            )
        if finished.broken:
            line += self._field("broken", finished.broken)
        if finished.detail:
            line += self._field("detail", finished.detail)
        self._keep((f"{line}}}\n" if self._json else f"{line}\n").encode("ascii"))

    def line_template(self) -> tuple[bytes, ...]:
        """Return what stands before each value of an ordinary request line, and its end.

        For `_hot`, which writes such lines itself: time stamp, request id, client, method, target,
        status, code, bytes in and out, milliseconds. Empty if request lines are not wanted.
        """
        if LEVELS["info"] < self._least:
            return ()
        if self._json:
            text = (
                '{"ts":"|","level":"info","event":"request","request_id":"|","client":"|","method":"|'
                '","target":|,"status":|,"code":"|","in":|,"out":|,"ms":|}\n'
            )
        else:
            text = (
                "ts=| level=info event=request request_id=| client=| method=| target=| status=| code=|"
                " in=| out=| ms=|\n"
            )
        return tuple(text.encode("ascii").split(b"|"))

    def shown(self, target: bytes) -> bytes:
        """Return a request target as a request line shows it, quoted where it must be."""
        text = as_it_is(target) or clean(target)
        return (quoted(text) if self._json or not bare(text) else text).encode("ascii")

    def take(self, lines: bytes) -> None:
        """Hold whole lines that were written elsewhere with `leads`."""
        self._keep(lines)

    def flush(self) -> None:
        """Give the held lines to the stream; what it does not take now waits for the next time."""
        if self.dropped > self._told and not self._rest:
            lines, self._told = self.dropped - self._told, self.dropped
            self._held.append(self._line("warn", "log-dropped", (("lines", lines),)).encode("ascii"))
        if not (self._held or self._rest):
            return
        data = b"".join([self._rest, *self._held])
        self._held.clear()
        if self._torn and not self._rest:
            data = b"\n" + data
        taken, broken = self._sink.write(data)
        if taken:
            self._torn = data[taken - 1] != _LINE_END
        self._rest = data[taken:]
        if broken:
            # A line of which a part was written counts as given up too.
            self.dropped += self._rest.count(b"\n")
            self._rest = b""
        self._held_bytes = len(self._rest)
        self._flush_at = self._held_bytes + FLUSH_BYTES

    def reconfigure(self, options: Options) -> None:
        """Go by a new configuration; a file that cannot be opened leaves the old stream in use."""
        self._least = LEVELS[options.level]
        self._json = options.format == "json"
        if options.file != self._path:
            self._change(options.file)

    def reopen(self) -> None:
        """Open the log file anew, after logrotate moved it away (SIGHUP); a stream stays as it is."""
        if self._path:
            self._change(self._path)

    def close(self) -> None:
        """Write what is held, as far as the stream takes it, and close the stream."""
        self.flush()
        self._sink.close()

    def _change(self, path: str) -> None:
        self.flush()
        try:
            fresh = LogStream.at(path) if path else LogStream(self._stream_fd)
        except OSError as error:
            self.event("error", "log-failed", file=path, error=error.strerror or str(error))
            return
        self._sink.close()
        self._sink, self._path = fresh, path
        # The rest of a line belongs after its beginning, which stays behind in the old file.
        if self._torn:
            lost, _, self._rest = self._rest.partition(b"\n")
            self.dropped += bool(lost)
            self._torn = False
            self._held_bytes = len(self._rest) + sum(map(len, self._held))

    def _keep(self, lines: bytes) -> None:
        if self._held_bytes + len(lines) > HELD_LIMIT_BYTES:
            self.dropped += lines.count(b"\n")
            return
        self._held.append(lines)
        self._held_bytes += len(lines)
        if self._held_bytes >= self._flush_at:
            self.flush()

    def _stamp(self) -> str:
        """Return the time now as RFC 3339 with milliseconds; under load many lines share one."""
        now_ms = int(self._clock() * 1000)
        if now_ms != self._now_ms:
            second, ms = divmod(now_ms, 1000)
            if second != self._now_ms // 1000:
                self._shown_s = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._now_ms = now_ms
            self._shown_ms = f"{self._shown_s}.{ms:03d}Z"
        return self._shown_ms

    def _line(self, level: str, name: str, fields: Iterable[tuple[str, object]]) -> str:
        """Return a whole line; every request line that is not ordinary, and every event, is made here."""
        found = "".join(self._field(key, value) for key, value in fields if value is not None)
        if self._json:
            return f'{{"ts":"{self._stamp()}","level":"{level}","event":{quoted(clean(name))}{found}}}\n'
        return f"ts={self._stamp()} level={level}{self._field('event', name)}{found}\n"

    def _field(self, key: str, value: object) -> str:
        """Return one field with what parts it from the one before."""
        text = _number(value)
        if text is None:
            text = _words(value, TRACE_CAP if key == "trace" else CAP)
            if self._json or not bare(text):
                text = quoted(text)
        return f',"{key}":{text}' if self._json else f" {key}={text}"


def open_log(options: Options, *, fall_back: bool = False) -> Log:
    """Return the log that [logging] describes. Raises OSError if its file cannot be opened.

    With `fall_back` it then goes to standard error, and says so: a service that runs goes on.
    """
    try:
        return Log(level=options.level, style=options.format, path=options.file)
    except OSError:
        if not fall_back:
            raise
    log = Log(level=options.level, style=options.format)
    log.reconfigure(options)
    return log


def _key(name: str) -> str:
    """Return a field's name as both formats can write it, not that of a field that each line has."""
    plain = _UNFIT.sub("_", name) or "_"
    return f"{plain}_" if plain in _RESERVED else plain


def _number(value: object) -> str | None:
    """Return a number or truth as both formats write it, None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):  # JSON has no word for the others
        return float.__repr__(value)
    return None


def _words(value: object, cap: int) -> str:
    if isinstance(value, Secret):
        return REDACTED
    if isinstance(value, bytes | bytearray | memoryview):
        return clean(bytes(value), cap)
    return clean(str(value), cap)
