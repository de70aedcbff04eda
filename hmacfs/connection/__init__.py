"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts."""

from hmacfs.connection.porch import Porch
from hmacfs.connection.protocol import Connection
from hmacfs.connection.service import Service

__all__ = ["Connection", "Porch", "Service"]
