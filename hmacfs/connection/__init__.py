"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts."""

from hmacfs.connection.acceptor import Acceptor
from hmacfs.connection.client_address import ClientResolver
from hmacfs.connection.clients import ClientProfiles
from hmacfs.connection.context import OpenConnection, WorkerContext
from hmacfs.connection.protocol import HttpProtocol

__all__ = ["Acceptor", "ClientProfiles", "ClientResolver", "HttpProtocol", "OpenConnection", "WorkerContext"]
