"""Endpoints' directories and the private one on file systems of their own: every way in ends with a file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import disks
import pytest
import resuming
import serving

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("administrator")]

SIZE = 3 * MiB
BODY = resuming.body_of("other disks", SIZE)
LANGUAGES = (resuming.Tus, resuming.Ietf, resuming.Plain, resuming.Chunked)
THEIRS = ("upload", "files")
OURS = (".hmacfs",)


@contextlib.contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    disks.run("mount", *arguments, str(place))
    try:
        yield
    finally:
        disks.umount(place)


@contextlib.contextmanager
def tmpfs(storage: Path, names: tuple[str, ...]) -> Iterator[None]:
    with contextlib.ExitStack() as mounts:
        for name in names:
            mounts.enter_context(mounted(storage / name, "-t", "tmpfs", "-o", "size=64m", "none"))
        yield


@contextlib.contextmanager
def bound(storage: Path, names: tuple[str, ...]) -> Iterator[None]:
    """Mount directories of the same file system: even there no link leads from one mount to another."""
    with contextlib.ExitStack() as mounts:
        for name in names:
            real = storage.parent / f"real{name}"
            real.mkdir()
            mounts.enter_context(mounted(storage / name, "--bind", str(real)))
        yield


@contextlib.contextmanager
def linked(storage: Path, names: tuple[str, ...]) -> Iterator[None]:
    """Links to directories on another file system."""
    with mounted(storage.parent / "large", "-t", "tmpfs", "-o", "size=128m", "none"):
        for name in names:
            (storage.parent / f"large/{name}").mkdir()
            (storage / name).symlink_to(f"../large/{name}")
        yield


@contextlib.contextmanager
def image(storage: Path, names: tuple[str, ...], kind: str) -> Iterator[None]:
    """A disk with a file system of this kind."""
    with contextlib.ExitStack() as mounts:
        for name in names:
            where = storage.parent / f"disk{name}"
            where.mkdir()
            size = 512 * MiB if kind == "xfs" else 64 * MiB
            disk = mounts.enter_context(disks.image(where, size, kind=kind))
            mounts.enter_context(mounted(storage / name, "-t", kind, "-o", "loop", str(disk.image)))
        yield


def xfs(storage: Path, names: tuple[str, ...]) -> contextlib.AbstractContextManager[None]:
    return image(storage, names, "xfs")


def ext2(storage: Path, names: tuple[str, ...]) -> contextlib.AbstractContextManager[None]:
    """A file system whose times are whole seconds."""
    return image(storage, names, "ext2")


@contextlib.contextmanager
def overlay(storage: Path, names: tuple[str, ...]) -> Iterator[None]:
    with mounted(storage.parent / "layers", "-t", "tmpfs", "none"), contextlib.ExitStack() as mounts:
        for name in names:
            layer = storage.parent / "layers" / name
            for part in ("lower", "upper", "work"):
                (layer / part).mkdir(parents=True)
            options = f"lowerdir={layer}/lower,upperdir={layer}/upper,workdir={layer}/work"
            mounts.enter_context(mounted(storage / name, "-t", "overlay", "-o", options, "none"))
        yield


def upload(server: serving.Server, language: Callable[[int], resuming.Client]) -> str:
    """Upload in two requests; give the file's path below the storage."""
    client = language(SIZE)
    with server.connect() as sock:
        span = client.find(sock)
        while span is not None:
            sock.sendall(client.head(span) + BODY[span.start : span.stop])
            span = client.took(span, serving.read_answer(sock))
    return client.rel


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("names", [THEIRS, OURS, THEIRS + OURS], ids=["theirs", "ours", "all"])
@pytest.mark.parametrize("kind", [tmpfs, bound, linked, xfs, ext2, overlay])
def test_every_way_in_ends_with_a_file(
    tmp_path: Path,
    kind: Callable[..., contextlib.AbstractContextManager[None]],
    names: tuple[str, ...],
    durability: str,
) -> None:
    storage = tmp_path / "store"
    storage.mkdir()
    with kind(storage, names):
        rel = serving.fresh()
        with serving.running(
            tmp_path, server=f'durability = "{durability}"', rest=resuming.ENDPOINTS
        ) as server:
            assert server.put(rel, b"small", "text/plain").status == 201
            assert server.put(rel, b"another", "text/plain").status == 409
            assert server.get(rel).fields["content-type"] == "text/plain"
            for language in LANGUAGES:
                assert (storage / upload(server, language)).read_bytes() == BODY
            assert server.operate("/readyz") == (200, b"ok\n")
        with serving.running(tmp_path, rest=resuming.ENDPOINTS) as server:
            # Each row is that of its file, whatever the file system makes of its time.
            done = server.wait_for("reconcile-done")
            assert (done["added"], done["dropped"]) == (0, 0)
            assert server.get(rel).fields["content-type"] == "text/plain"
