"""A real browser: uploads and downloads by script from another site's page, and media shown and played.

The page demands consent of all that it embeds (COEP: require-corp), so Cross-Origin-Resource-Policy is
proven with it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import secrets
import struct
import time
import wave
import zlib
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
import serving
from e2e import browser as browsers
from e2e import slots
from e2e.slots import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.browser import Browser, Pages
    from e2e.conftest import Site
    from e2e.people import Slot

MiB = 1024 * 1024
SIDE = 24  # pixels

# Reports back if it runs; %s is where to.
SCRIPT = "document.title = 'ran'; new Image().src = '%s/ran'; fetch('%s/ran', {mode: 'no-cors'});"

PUT = """
const [slot, type, body] = arguments;
const bytes = Uint8Array.from(atob(body), c => c.charCodeAt(0));
const answer = await fetch(slot.put, {
    method: "PUT", body: bytes, headers: {...slot.fields, ...(type ? {"Content-Type": type} : {})}});
return {status: answer.status, id: answer.headers.get("X-Request-Id")};
"""
PUT_ZEROS = """
const [slot, type, size] = arguments;
const answer = await fetch(slot.put, {
    method: "PUT", body: new Uint8Array(size), headers: {...slot.fields, "Content-Type": type}});
return {status: answer.status, said: answer.status == 201 ? null : await answer.json()};
"""
GET = """
const [url, range] = arguments;
const answer = await fetch(url, {headers: range ? {Range: range} : {}});
const bytes = new Uint8Array(await answer.arrayBuffer());
return {status: answer.status, range: answer.headers.get("Content-Range"),
    type: answer.headers.get("Content-Type"), length: answer.headers.get("Content-Length"),
    body: btoa(Array.from(bytes, b => String.fromCharCode(b)).join(""))};
"""
IMAGE = """
const image = new Image();
image.src = arguments[0];
document.body.append(image);
await image.decode();
return image.naturalWidth;
"""
PLAY = """
const player = document.createElement("audio");
player.src = arguments[0];
document.body.append(player);
const ended = new Promise((resolve, reject) => {
    player.onended = resolve; player.onerror = () => reject(player.error.message); });
await player.play();
await ended;
return player.duration;
"""
# A sandboxed document's events reach nobody, so its player is looked at instead.
LOOK = """
const player = document.querySelector("video, audio");
return {ended: player.ended, duration: player.duration, width: player.videoWidth,
    error: player.error ? player.error.message : null};
"""


RECORD = """
const canvas = document.createElement("canvas");
canvas.width = canvas.height = arguments[0];
const context = canvas.getContext("2d");
const recorder = new MediaRecorder(canvas.captureStream(30), {mimeType: "video/webm"});
const pieces = [];
recorder.ondataavailable = event => pieces.push(event.data);
const stopped = new Promise(resolve => { recorder.onstop = resolve; });
recorder.start();
for (let frame = 0; frame < 10; frame++) {
    context.fillStyle = frame % 2 ? "red" : "blue";
    context.fillRect(0, 0, canvas.width, canvas.height);
    await new Promise(resolve => requestAnimationFrame(resolve));
}
recorder.stop();
await stopped;
const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
return btoa(Array.from(bytes, b => String.fromCharCode(b)).join(""));
"""


def png() -> bytes:
    """Make a red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff\0\0" * SIDE) * SIDE)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wav(duration_s: float) -> bytes:
    """Make a tone."""
    rate = 8000
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        steps = range(int(rate * duration_s))
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 3))) for i in steps))
    return out.getvalue()


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    """Serve the chat client's page, a laxer one, and one that proves the script of the uploads works."""
    start = '<!doctype html><title>chat</title><link rel="icon" href="data:,"><body>'
    control = f"{start}<script>{SCRIPT.replace('%s', '')}</script>"
    with browsers.pages({"/": start, "/lax": start, "/control": control}) as pages:
        yield pages


@pytest.fixture(scope="module")
def session(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with browsers.running(tmp_path_factory.mktemp("browser"), program) as browser:
        yield browser


@pytest.fixture
def browser(session: Browser, pages: Pages) -> Browser:
    """Return the browser with the chat client's page open and its console empty."""
    session.open(f"{pages.origin}/")
    session.log()
    pages.hits.clear()
    return session


def stored(site: Site, way: str, name: str, body: bytes, content_type: str) -> str:
    """Upload a file; give its URL."""
    slot = slots.grant(site.addresses[way], "v2", name, len(body), content_type)
    fields = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    with Wire(site.addresses[way]) as wire:
        assert wire.ask("PUT", slot.put, fields, body).status == 201
    return slot.get


def as_script(slot: Slot) -> dict[str, object]:
    return {"put": slot.put, "fields": slot.fields}


@pytest.mark.parametrize("content_type", ["image/jpeg", ""])
def test_a_page_uploads_and_reads_back(
    content_type: str, site: Site, way: str, kind: str, browser: Browser
) -> None:
    body = secrets.token_bytes(100_001)
    slot = slots.grant(site.addresses[way], kind, "söme file+1%.jpg", len(body), content_type)
    put = browser.run(PUT, as_script(slot), content_type, base64.b64encode(body).decode())
    assert put["status"] == 201
    assert put["id"]
    whole = browser.run(GET, slot.get, None)
    assert (whole["status"], whole["length"]) == (200, str(len(body)))
    assert base64.b64decode(whole["body"]) == body
    part = browser.run(GET, slot.get, "bytes=5-999")
    assert (part["status"], part["range"]) == (206, f"bytes 5-999/{len(body)}")
    assert base64.b64decode(part["body"]) == body[5:1000]
    if content_type:
        assert part["type"] == content_type
    assert browser.log() == []


def test_a_page_reads_why_it_was_refused(site: Site, way: str, browser: Browser) -> None:
    """16 MiB of a body that nobody wants: the browser must see the answer, not a broken network."""
    size = 16 * MiB
    slots_of = {
        403: slots.grant(site.addresses[way], "v2", "big.bin", size + 1, "image/png"),
        413: slots.grant(site.addresses[way], "jwt", "big.bin", size - 1, "image/png"),
    }
    codes = {403: "token_wrong", 413: "size_mismatch"}
    for status, slot in slots_of.items():
        answer = browser.run(PUT_ZEROS, as_script(slot), "image/png", size)
        assert (answer["status"], answer["said"]["code"]) == (status, codes[status])
    # and the browser's connections are still good
    slot = slots.grant(site.addresses[way], "v2", "small.bin", 3, "image/png")
    assert browser.run(PUT_ZEROS, as_script(slot), "image/png", 3)["status"] == 201


def test_a_page_learns_that_a_name_is_taken_or_missing(site: Site, way: str, browser: Browser) -> None:
    slot = slots.grant(site.addresses[way], "v2", "once.png", 3, "image/png")
    taken = slots.grant(site.addresses[way], "v2", "taken.png", 3, "image/png")
    fields = {**taken.fields, "Content-Type": "image/png"}
    with urlopen(Request(taken.put, data=b"cat", headers=fields, method="PUT"), timeout=60) as first:
        assert first.status == 201
    answers = [browser.run(PUT_ZEROS, as_script(one), "image/png", 3) for one in (slot, slot, taken)]
    # The same once more is stored already; other bytes are refused.
    assert [answer["status"] for answer in answers] == [201, 201, 409]
    assert browser.run(GET, f"{slot.get}x", None)["status"] == 404


def test_a_page_uploads_a_hundred_mebibytes(site: Site, way: str, browser: Browser) -> None:
    slot = slots.grant(site.addresses[way], "v2", "big.bin", 100 * MiB, "image/png")
    assert browser.run(PUT_ZEROS, as_script(slot), "image/png", 100 * MiB)["status"] == 201
    last = browser.run(GET, slot.get, "bytes=-3")
    assert (last["status"], base64.b64decode(last["body"])) == (206, b"\0\0\0")
    site.forget(slot.get)


def test_pictures_and_sound_in_a_page(site: Site, way: str, browser: Browser) -> None:
    assert browser.run(IMAGE, stored(site, way, "red.png", png(), "image/png")) == SIDE
    sound = stored(site, way, "tone.wav", wav(0.25), "audio/wav")
    assert browser.run(PLAY, sound) == pytest.approx(0.25, abs=0.01)
    assert browser.log() == []


def test_a_picture_as_a_document(site: Site, way: str, browser: Browser) -> None:
    browser.open(stored(site, way, "red.png", png(), "image/png"))
    assert browser.run("await document.images[0].decode(); return document.images[0].naturalWidth") == SIDE
    assert browser.log() == []


def test_sound_as_a_document(site: Site, way: str, browser: Browser) -> None:
    browser.open(stored(site, way, "tone.wav", wav(0.25), "audio/wav"))
    assert played(browser)["duration"] == pytest.approx(0.25, abs=0.01)
    assert browser.log() == []


def played(browser: Browser) -> dict[str, Any]:
    """Start the document's own player (a sandboxed one does not start by itself); wait for its end."""
    browser.press(" ")
    deadline = time.monotonic() + browsers.PATIENCE_S
    while time.monotonic() < deadline:
        player: dict[str, Any] = browser.run(LOOK)
        assert player["error"] is None, browser.log()
        if player["ended"]:
            return player
    raise AssertionError(f"never played to the end: {player}, {browser.log()}")


def test_text_as_a_document(site: Site, way: str, browser: Browser) -> None:
    text = "<script>document.title = 'ran'</script> é"
    browser.open(stored(site, way, "notes.txt", text.encode(), "text/plain; charset=utf-8"))
    assert browser.run("return document.body.innerText") == text
    assert browser.run("return document.title") == ""
    assert browser.log() == []


def test_film_as_a_document(site: Site, browser: Browser) -> None:
    """A film that the browser itself has made."""
    film = base64.b64decode(browser.run(RECORD, SIDE))
    browser.open(stored(site, "direct", "film.webm", film, "video/webm"))
    assert played(browser)["width"] == SIDE
    assert browser.log() == []


def test_sound_as_a_document_where_only_some_origins_are_allowed(browser: Browser, tmp_path: Path) -> None:
    """A document is no page of another site, whatever the player calls itself."""
    with serving.running(tmp_path, rest='[cors]\nallow_origins = ["https://chat.example"]\n') as hmacfs:
        assert hmacfs.put("u/tone.wav", wav(0.25), "audio/wav").status == 201
        browser.open(f"{hmacfs.url}u/tone.wav")
        played(browser)
        assert browser.log() == []


MARKUP = {
    "page.html": "text/html",
    "page.xhtml": "application/xhtml+xml",
    "drawing.svg": "image/svg+xml",
    "any.xml": "text/xml",
    # what a browser might take for markup although the uploader's type says otherwise
    "sniffed.png": "image/png",
    "sniffed.txt": "text/plain",
    "sniffed.bin": "application/octet-stream",
    "script.js": "text/javascript",
}


def markup(name: str, report: str) -> str:
    """Return an upload that reports back if a browser runs it."""
    script = SCRIPT.replace("%s", report)
    if name.endswith(".js"):
        return script
    if name.endswith((".svg", ".xml")):
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>{script}</script></svg>'
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script>{script}</script></body></html>'


FRAME = """
const [kind, url] = arguments;
const element = document.createElement(kind);
element[kind == "object" ? "data" : "src"] = url;
const settled = new Promise(resolve => { element.onload = element.onerror = resolve; });
document.body.append(element);
// a download never settles, so the page's own answer comes after it instead
await Promise.race([settled, fetch(url).then(answer => answer.text()).then(() => fetch("/missing"))]);
"""


@pytest.mark.parametrize("name", MARKUP)
def test_uploads_never_run_as_script(name: str, site: Site, browser: Browser, pages: Pages) -> None:
    text = markup(name, pages.origin).encode()
    url = stored(site, "direct", name, text, MARKUP[name])
    browser.open(f"{pages.origin}/lax")
    kinds = ["img", "iframe", "embed", "object", "script"]
    if name.endswith(".js"):
        # a script is what the page's author includes knowingly; it must not run as anything else
        kinds.remove("script")
    for kind in kinds:
        browser.run(FRAME, kind, url)
    assert browser.run("return document.title") == "chat"
    with contextlib.suppress(AssertionError):  # ERR_ABORTED: it became a download
        browser.open(url)
    assert browser.run("return document.title") != "ran"
    browser.open(f"{pages.origin}/")
    assert "/ran" not in pages.hits


def test_the_script_of_the_test_before_would_be_noticed(browser: Browser, pages: Pages) -> None:
    browser.open(f"{pages.origin}/control")
    assert browser.run("return document.title") == "ran"
    assert "/ran" in pages.hits
