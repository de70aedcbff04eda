"""The log: one line per event and per request, in logfmt or JSON, buffered, escaped and redacted.

Knows event names and fields, nothing of who logs. What a client sent is printed as plain ASCII only, and
tokens and secrets not at all.
"""

from hmacfs.log.events import EVENTS, LEVELS, REQUEST_FIELDS
from hmacfs.log.logger import Log, Options, open_log
from hmacfs.log.text import REDACTED, clean

__all__ = ["EVENTS", "LEVELS", "REDACTED", "REQUEST_FIELDS", "Log", "Options", "clean", "open_log"]
