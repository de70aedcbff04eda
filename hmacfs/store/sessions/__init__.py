"""Uploads that may take many requests: kept in the storage until they are whole, whoever sends the rest.

`Sessions` is the face. The laws: how far an upload has come is the size of its file, and told only when that
lasts; of several who write the newest wins, across workers; the bytes lie where they will stay, and the end
is a link.
"""

from hmacfs.store.sessions.session_file import UploadInfo
from hmacfs.store.sessions.sessions import Sessions
from hmacfs.store.sessions.write_lease import Allowed, Found, IncomingRange, WriteLease

__all__ = ["Allowed", "Found", "IncomingRange", "Sessions", "UploadInfo", "WriteLease"]
