"""Slots: where a path, a key or a form's name leads, and that nothing leads out of its endpoint."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs.app import routing
from hmacfs.app.routing import Resource, Router
from hmacfs.errors import Refused
from hmacfs.http import names, target
from hmacfs.model import Endpoint, Secret


def endpoint(prefix: str, directory: str) -> Endpoint:
    return Endpoint(prefix=prefix, directory=directory, protocols=("v2",), secrets=(Secret(b"k"),))


UPLOAD = endpoint("/upload/", "upload")
INNER = endpoint("/upload/inner/", "deep/inner")
BARE = endpoint("/", "")
ALL = routing.by_length([BARE, UPLOAD, INNER])


def test_longest_prefix_first() -> None:
    assert ALL == (INNER, UPLOAD, BARE)


@pytest.mark.parametrize(
    ("path", "owner", "rel", "key"),
    [
        ("/upload/a/b", UPLOAD, "a/b", "upload/a/b"),
        ("/upload/a", UPLOAD, "a", "upload/a"),
        ("/upload/inner/a", INNER, "a", "deep/inner/a"),
        ("/upload/inner", UPLOAD, "inner", "upload/inner"),
        ("/upload", BARE, "upload", "upload"),
        ("/uploads/x", BARE, "uploads/x", "uploads/x"),
        ("/upload/ä 😀+%41", UPLOAD, "ä 😀+%41", "upload/ä 😀+%41"),
    ],
)
def test_a_path_finds_its_endpoint(path: str, owner: Endpoint, rel: str, key: str) -> None:
    slot = routing.find(path, ALL)
    assert (slot.endpoint, slot.rel, slot.key, slot.name) == (owner, rel, key, rel.rpartition("/")[2])


@pytest.mark.parametrize("path", ["/", "*", "/upload/", "/upload/inner/", "/a/", "/upload/a/"])
def test_a_path_that_names_no_file(path: str) -> None:
    with pytest.raises(Refused) as caught:
        routing.find(path, ALL)
    assert caught.value.refusal is errors.NOT_FOUND


HOSTS = endpoint("/upload/@HOST@/", "upload")


@pytest.mark.parametrize(
    ("path", "prefix", "rel", "key"),
    [
        ("/upload/a.example/u/s/n", "/upload/a.example/", "u/s/n", "upload/u/s/n"),
        ("/upload/b.example/u/s/n", "/upload/b.example/", "u/s/n", "upload/u/s/n"),
        ("/upload/inner/a", "/upload/inner/", "a", "deep/inner/a"),  # what is literal is longer
        ("/upload/@HOST@/n", "/upload/@HOST@/", "n", "upload/n"),
        ("/uploads/x/y", "/", "uploads/x/y", "uploads/x/y"),
        ("/upload/x", "/", "upload/x", "upload/x"),
    ],
)
def test_one_endpoint_for_every_host(path: str, prefix: str, rel: str, key: str) -> None:
    slot = routing.find(path, routing.by_length([BARE, HOSTS, INNER]))
    assert (slot.endpoint.prefix, slot.rel, slot.key) == (prefix, rel, key)


@pytest.mark.parametrize("path", ["/upload/a.example/", "/upload//n", "/upload/", "/other/a.example/n"])
def test_a_path_without_a_host_or_a_file(path: str) -> None:
    with pytest.raises(Refused) as caught:
        routing.find(path, (HOSTS,))
    assert caught.value.refusal is errors.NOT_FOUND


def test_a_path_outside_of_all_prefixes() -> None:
    with pytest.raises(Refused) as caught:
        routing.find("/other/a", (UPLOAD,))
    assert caught.value.refusal is errors.NOT_FOUND


@pytest.mark.parametrize(
    ("key", "endpoints", "owner"),
    [
        ("upload/a/b", ALL, UPLOAD),
        ("deep/inner/a", ALL, INNER),
        ("deep/a", ALL, BARE),
        ("upload/a", (UPLOAD,), UPLOAD),
    ],
)
def test_a_stored_path_finds_its_endpoint(key: str, endpoints: tuple[Endpoint, ...], owner: Endpoint) -> None:
    slot = routing.stored(key, endpoints)
    assert (slot.key, slot.endpoint) == (key, owner)


@pytest.mark.parametrize("key", ["", "upload", "upload/", "upload/a/", "uploads/a", "deep/a"])
def test_what_no_directory_holds_is_not_found(key: str) -> None:
    with pytest.raises(Refused) as caught:
        routing.stored(key, (UPLOAD, INNER))
    assert caught.value.refusal is errors.NOT_FOUND


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("a.png", "a.png"),
        ("C:\\Documents\\a b.png", "a b.png"),
        ("/photos/me/a.png", "a.png"),
        ("..\\..\\a", "a"),
        ("x/../a", "a"),
        (" ", " "),
        ("...", "..."),
        ("100% ü%2f", "100% ü%2f"),
    ],
)
def test_only_the_last_part_of_a_forms_name_counts(name: str, bare: str) -> None:
    slot = routing.form_slot(UPLOAD, name)
    assert (slot.rel, slot.key, slot.name) == (bare, f"upload/{bare}", bare)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("", errors.FORM_MALFORMED),
        ("a/", errors.FORM_MALFORMED),
        ("a\\", errors.FORM_MALFORMED),
        (".", errors.BAD_PATH),
        ("..", errors.BAD_PATH),
        ("a/..", errors.BAD_PATH),
        ("a\0b", errors.BAD_PATH),
        ("a\r\nb", errors.BAD_PATH),
        ("\x7f", errors.BAD_PATH),
        ("a\ud800", errors.BAD_PATH),
        ("ä" * 1000, errors.NAME_TOO_LONG),
    ],
)
def test_a_name_that_no_url_could_say(name: str, refusal: errors.Refusal) -> None:
    with pytest.raises(Refused) as caught:
        routing.form_slot(UPLOAD, name)
    assert caught.value.refusal is refusal


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(ALL))
def test_a_form_stays_in_its_directory_and_has_an_address(name: str, owner: Endpoint) -> None:
    try:
        slot = routing.form_slot(owner, name)
    except Refused:
        return
    directory, _, last = slot.key.rpartition("/")
    assert directory == owner.directory
    assert last == slot.name or len(last.encode()) == len(names.shorten(slot.name).encode())
    assert last not in {"", ".", ".."}
    assert target.decode_path(quote(owner.prefix + slot.rel).encode()) == owner.prefix + slot.rel


PATHS = st.lists(st.sampled_from(["upload", "inner", "deep", "a", "ü"]), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@given(PATHS, st.sampled_from([ALL, (UPLOAD, INNER), (UPLOAD,)]))
def test_a_slots_parts_agree(path: str, endpoints: tuple[Endpoint, ...]) -> None:
    try:
        slot = routing.find(path, routing.by_length(endpoints))
    except Refused:
        return
    assert slot.endpoint.prefix + slot.rel == path
    assert slot.key == f"{slot.endpoint.directory}/{slot.rel}".lstrip("/")
    assert routing.stored(slot.key, endpoints).key == slot.key


@pytest.mark.parametrize("name", ["ж" * 130 + ".pdf", "a" * 256, f"x~{'0' * 64}.pdf", "short.pdf"])
def test_every_way_to_a_name_leads_to_one_file(name: str) -> None:
    slot = routing.find(f"/upload/slot/{name}", (UPLOAD,))
    assert slot.name == name
    assert routing.path_of(slot) == f"upload/slot/{name}"
    asked = head(f"GET /download/{quote(routing.path_of(slot))}")
    again = Router((UPLOAD,), chunked_uploads=True).resolve(asked).file()
    assert (again.key, again.name, again.rel) == (slot.key, name, slot.rel)
    kept = routing.stored(slot.key, (UPLOAD,), name=routing.cut_name(slot))
    assert (kept.key, kept.rel) == (slot.key, slot.rel)
    assert routing.form_slot(UPLOAD, name).key == f"upload/{slot.key.rpartition('/')[2]}"


FILES = Endpoint(prefix="/files/", directory="files", protocols=("tus", "gojwt"), secrets=(Secret(b"k"),))
ROUTER = Router((UPLOAD, FILES), chunked_uploads=True)
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS")
READING = ("GET", "HEAD")
WRITING = ("PUT", "PATCH", "DELETE", "OPTIONS")
ID = "0" * 32


@pytest.mark.parametrize(
    ("path", "methods", "resource", "key"),
    [
        ("/health", READING, Resource.HEALTH, None),
        ("/health", ("POST", *WRITING), Resource.FILE, None),
        ("/download/upload/a/b", READING, Resource.DOWNLOAD, "upload/a/b"),
        ("/download/other/a", READING, Resource.DOWNLOAD, None),
        ("/download/upload/a/b", ("POST", *WRITING), Resource.FILE, None),
        ("/upload", ("POST",), Resource.FORM, None),
        ("/upload", (*READING, *WRITING), Resource.FILE, None),
        ("/chunked-upload", METHODS, Resource.CHUNKS, None),
        ("/upload-status", METHODS, Resource.CHUNKS, None),
        ("/files/", METHODS, Resource.TUS, None),
        (f"/files/{ID}", METHODS, Resource.TUS, None),
        (f"/files/{ID}/name", METHODS, Resource.FILE, f"files/{ID}/name"),
        (f"/files/{ID[1:]}", METHODS, Resource.FILE, f"files/{ID[1:]}"),
        (f"/upload/{ID}", METHODS, Resource.FILE, f"upload/{ID}"),
        ("/upload/a/b", METHODS, Resource.FILE, "upload/a/b"),
        ("/nowhere/a", METHODS, Resource.FILE, None),
    ],
)
def test_where_a_request_leads(
    path: str, methods: tuple[str, ...], resource: Resource, key: str | None
) -> None:
    for method in methods:
        route = ROUTER.resolve(head(f"{method} {path}"))
        assert (route.resource, None if route.slot is None else route.slot.key) == (resource, key), method
        assert route.upload == (ID if path == f"/files/{ID}" else "")
        if key is None:
            with pytest.raises(Refused) as caught:
                route.file()
            assert caught.value.refusal is errors.NOT_FOUND


def test_a_form_and_an_upload_have_their_endpoint() -> None:
    assert ROUTER.resolve(head("POST /upload")).endpoint == FILES
    assert ROUTER.resolve(head(f"PATCH /files/{ID}")).endpoint == FILES


def test_what_is_switched_off_is_a_path_like_others() -> None:
    router = Router((BARE,), chunked_uploads=False)
    for path in ("/chunked-upload", "/upload-status", "/upload"):
        route = router.resolve(head(f"POST {path}"))
        assert (route.resource, route.file().key) == (Resource.FILE, path[1:])


@given(PATHS, st.sampled_from(METHODS), st.sampled_from([ALL, (UPLOAD, INNER), (UPLOAD,), (HOSTS,)]))
def test_a_route_leads_where_its_path_does(path: str, method: str, endpoints: tuple[Endpoint, ...]) -> None:
    route = Router(endpoints, chunked_uploads=True).resolve(head(f"{method} {quote(path)}"))
    try:
        slot = routing.find(path, routing.by_length(endpoints))
    except Refused:
        assert route.slot is None
    else:
        assert (route.slot, route.endpoint) == (slot, slot.endpoint)
