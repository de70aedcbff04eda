"""Resumable uploads: whose they are, where they go, and one way for their bytes whatever the language.

`slots` are signed PUT URLs, `tus_endpoint` an endpoint of protocol "tus", `chunks` the Go server's chunked
uploads; `engine` moves the bytes of all. `active` are plain PUTs that have not become one of these yet.
"""

from hmacfs.app.resumable.active import ActiveUpload, ActiveUploads
from hmacfs.app.resumable.dispatch import Resumable
from hmacfs.app.resumable.engine import UploadConnection

__all__ = ["ActiveUpload", "ActiveUploads", "Resumable", "UploadConnection"]
