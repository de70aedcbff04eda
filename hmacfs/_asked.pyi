"""The strict subset of HTTP/1.1 request heads that is answered from memory, and plain field lines."""

def read_fields(lines: bytes) -> dict[bytes, bytes] | None:
    """Return the fields of `lines`, each with its CRLF, up to and with the empty line that ends them.

    Names are lower case, values without the white space around them. None if a name repeats or if anything
    of the framing but a plain Content-Length is in them: that is for who knows all of HTTP.
    """
