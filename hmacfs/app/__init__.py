"""What the server does: Head in, Reply out."""

from hmacfs.app.app import App, ClientConnection

__all__ = ["App", "ClientConnection"]
