"""Pure HTTP/1.1: bytes to Head, a field to a verdict, a Reply to bytes. No sockets, no files, no clock."""
