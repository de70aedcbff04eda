"""Files by Starlette, for Granian, which sends them itself (ASGI extension http.response.pathsend)."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

app = Starlette(routes=[Mount("/upload", app=StaticFiles(directory=os.environ["BENCH_DIRECTORY"]))])
