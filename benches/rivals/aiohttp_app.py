"""Files by aiohttp: python aiohttp_app.py HOST PORT DIRECTORY. Its own loop, since only that has sendfile."""

from __future__ import annotations

import logging
import sys

from aiohttp import web

if __name__ == "__main__":
    host, port, directory = sys.argv[1:]
    logging.basicConfig(filename="/dev/null", level=logging.INFO)
    app = web.Application()
    app.router.add_static("/upload", directory)
    web.run_app(app, host=host, port=int(port), print=None, keepalive_timeout=75)
