"""hmacfs: a file server for signed uploads (XEP-0363) and ranged downloads."""

__version__ = "0.1.0"
