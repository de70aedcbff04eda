"""One client: bytes to Head, Reply to bytes, keep-alive, limits and timeouts."""

from hmacfs.connection.clients import Clients
from hmacfs.connection.porch import Porch
from hmacfs.connection.protocol import Connection
from hmacfs.connection.service import Service
from hmacfs.connection.vouching import Vouching

__all__ = ["Clients", "Connection", "Porch", "Service", "Vouching"]
