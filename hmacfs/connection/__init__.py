"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts."""

from hmacfs.connection.clients import ClientProfiles
from hmacfs.connection.porch import Acceptor
from hmacfs.connection.protocol import HttpProtocol
from hmacfs.connection.service import WorkerContext
from hmacfs.connection.vouching import ClientResolver

__all__ = ["Acceptor", "ClientProfiles", "ClientResolver", "HttpProtocol", "WorkerContext"]
