"""A real Chromium without a display, driven over the W3C WebDriver protocol, and pages for it to show."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import mimetypes
import re
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 60.0
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--mute-audio", "--autoplay-policy=no-user-gesture-required"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """One browser session."""

    port: int
    session: str

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: object) -> Any:
        """Return what the asynchronous function body `script` returns; its parameters are `arguments`."""
        whole = (
            "const done = arguments[arguments.length - 1];"
            f"(async function() {{ {script} }}).apply(null, arguments)"
            ".then(value => done({value: value}), error => done({error: String(error)}));"
        )
        answer = self._call("POST", "/execute/async", {"script": whole, "args": list(args)})
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a person would."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def drop(self, path: Path) -> None:
        """Drop a file on the page, as a person would who has dragged it there."""
        where = {"x": 100, "y": 100, "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1}}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.devtools("Input.dispatchDragEvent", type=kind, **where)

    def devtools(self, command: str, **parameters: object) -> None:
        """Give a command of the Chrome DevTools protocol."""
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self) -> list[str]:
        """Return the console's messages since the last call: page errors, blocked loads, broken policies."""
        return [line["message"] for line in self._call("POST", "/se/log", {"type": "browser"})]

    def _call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return ask_driver(self.port, method, f"/session/{self.session}{path}", body)


def ask_driver(port: int, method: str, path: str, body: dict[str, Any]) -> Any:
    """Return the value of one WebDriver command's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        value = json.loads(answer.read())["value"]
    assert answer.status == 200, value
    return value


@contextlib.contextmanager
def running(folder: Path, program: Callable[[str], str]) -> Iterator[Browser]:
    """Run a new browser that knows nothing; `folder` takes its profile and its downloads."""
    command = [program("chromedriver"), "--port=0"]
    with children.running(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        try:
            port = _port(driver.stdout)
            # whatever else it says must not fill the pipe
            threading.Thread(target=driver.stdout.read, daemon=True).start()
            session = ask_driver(port, "POST", "/session", _capabilities(folder, program("chromium")))
            browser = Browser(port=port, session=session["sessionId"])
            limits = {"script": PATIENCE_S * 1000, "pageLoad": PATIENCE_S * 1000}
            ask_driver(port, "POST", f"/session/{browser.session}/timeouts", limits)
            yield browser
            ask_driver(port, "DELETE", f"/session/{browser.session}", {})
        finally:
            driver.terminate()
            driver.wait(PATIENCE_S)  # it ends the browser


def _port(lines: Iterator[str]) -> int:
    said = []
    for line in lines:
        said.append(line)
        if match := re.search(r"started successfully on port (\d+)", line):
            return int(match[1])
    raise AssertionError(f"chromedriver ended: {said}")


def _capabilities(folder: Path, chromium: str) -> dict[str, Any]:
    downloads = {
        "download.default_directory": str(folder / "downloads"),
        "download.prompt_for_download": False,
    }
    wanted = {
        "goog:chromeOptions": {
            "binary": chromium,
            "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"],
            "prefs": downloads,
        },
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    return {"capabilities": {"alwaysMatch": wanted}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A web server with pages of another origin than hmacfs's."""

    origin: str
    hits: list[str] = field(default_factory=list)
    """Paths asked for."""


@contextlib.contextmanager
def pages(texts: dict[str, str]) -> Iterator[Pages]:
    """Serve these pages, and 404 for every other path.

    "/" demands that what it embeds consents (COEP), the strictest that a chat client's page can be.
    """
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            text = texts.get(self.path)
            body = (text or "").encode()
            self.send_response(200 if text else 404)
            kind = mimetypes.guess_type(self.path)[0] or "text/html"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            if self.path == "/":
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        # by name, so that it is another site than hmacfs's 127.0.0.1 too
        yield Pages(origin=f"http://localhost:{server.server_address[1]}", hits=hits)
        server.shutdown()
        thread.join()
