"""The names of events and of a request line's fields: stable, since filters and alerts are made of them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS: Final[Mapping[str, int]] = MappingProxyType({"debug": 10, "info": 20, "warn": 30, "error": 40})
"""Levels and their weight."""

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "request": "A request was answered, or broken off; its fields are listed below.",
        "request-failed": "A fault of the server itself ended a request with 500; `error` says which.",
        "http2-preface": "A client began in HTTP/2 and was told to use HTTP/1.1 (h2load: `--h1`).",
        "serve-ready": "All workers accept connections.",
        "serve-stopping": "No more connections are accepted; what is in flight is finished.",
        "serve-stopped": "The server ends.",
        "reload-done": "All workers serve the new configuration.",
        "reload-refused": "The new configuration has a fault; the old one stays. One line per fault.",
        "restart-needed": "A changed key takes effect only when the server is restarted.",
        "config-notice": "A key of the configuration is not honoured, or under another name.",
        "secret-lookalike": "A token was refused that the secret without its invisible ends would have made: "
        "`key` names the secret, `ends` says what they are. Once per worker.",
        "worker-started": "The supervisor started a worker.",
        "worker-stopped": "A worker ended as it was told to.",
        "worker-died": "A worker ended without being told to; another takes its slot.",
        "worker-stuck": "A worker's loop did not answer for too long; it is killed.",
        "proxy-header-bad": "A trusted proxy's PROXY header was malformed or late; the connection is closed.",
        "tls-handshake-failed": "A client of [tls] and the server did not come to terms; `error` says why.",
        "background-failed": "A task beside the requests, or a callback, failed; `error` says how.",
        "breaker-opened": "A worker puts uploads off, because `dependency` keeps failing; `error` says how.",
        "breaker-closed": "A worker takes uploads again: one of them found `dependency` well.",
        "storage-lost": "A new worker cannot open the storage and ends; `error` says why. Another follows.",
        "uploads-barred": "A worker refuses uploads until the storage is mended; `error` says what is wrong.",
        "uploads-resumed": "A worker takes uploads again: what they need of the storage is there.",
        "file-denied": "A file that the server's user may not read was answered 404: `path` and `error` say "
        "which and why, `more` how many others there were since the last line.",
        "files-unserved": "Files that no URL can name (bytes that are not UTF-8, control bytes); they expire "
        "as others do. `count` says how many there are, `names` the first of them.",
        "client-profiles-unsaved": "What is known of clients could not be stored or shared: `error`.",
        "tcp-info": "What TCP_INFO says of the line to a client, at the end of a transfer (debug).",
        "sweep-done": "Expired files were removed.",
        "uploads-dropped": "Unfinished uploads that nobody went on with for `sessiontimeout` were dropped.",
        "reconcile-done": "The index was brought into line with the files found.",
        "log-reopened": "The log file was opened anew (SIGUSR1).",
        "log-dropped": "The log could not be written for a while; `lines` were given up.",
        "log-failed": "The log file could not be opened again; the old one stays in use.",
    }
)
"""Every event's name and its meaning."""

REQUEST_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "request_id": "The id that the answer's X-Request-Id carries.",
        "client": "The client's address.",
        "method": 'The method; "other" if no head could be read.',
        "target": "Path and query as sent; tokens redacted, at most 512 characters. Absent if none was read.",
        "status": "The answer's HTTP status.",
        "code": 'The answer\'s stable word: "ok", "created", or a refusal\'s code.',
        "in": "Bytes received: the head, and the body so far as it was read.",
        "out": "Bytes sent.",
        "ms": "Milliseconds from the request's first byte to the answer's last.",
        "dialect": "The token dialect that granted an upload. Absent otherwise.",
        "broken": "Why the transfer ended early. Absent if it did not.",
        "detail": "What exactly was refused. Absent if there is nothing to add.",
    }
)
"""Fields of a request line, in order, after `ts`, `level` and `event`."""
