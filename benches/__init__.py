"""What hmacfs costs beside other servers: `make bench`, `make bench QUICK=1`, `make bench ONLY=get_1k`.

The figure is CPU time of the server's processes per request or per GB, in runs that alternate between
hmacfs and its rivals on one core, with the client on another. `works` is the list of what is measured.
"""
