from __future__ import annotations

import collections
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import serving
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs.errors import Refusal, Refused
from hmacfs.store import keys
from hmacfs.store.files import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    opened = Tree(str(tmp_path), file_mode=0o640, directory_mode=0o750)
    yield opened
    opened.close()


def write(tree: Tree, key: str, body: bytes = b"body") -> None:
    fd = tree.unnamed()
    os.write(fd, body)
    tree.link(fd, key)
    os.close(fd)


def fifo(root: Path) -> None:
    os.mkfifo(root / "it")


def unix_socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "it"))


def link_out(root: Path) -> None:
    (root / "it").symlink_to("/etc/hostname")


def link_within(root: Path) -> None:
    (root / "real").write_bytes(b"")
    (root / "it").symlink_to("real")


def link_on_the_way(root: Path) -> None:
    (root / "dir").mkdir()
    (root / "dir" / "it").write_bytes(b"")
    (root / "way").symlink_to("dir")


def a_file(root: Path) -> None:
    (root / "it").write_bytes(b"")


def nothing(root: Path) -> None:
    del root


@pytest.mark.parametrize(
    ("make", "key", "refusal"),
    [
        (nothing, "it", errors.NOT_FOUND),
        (nothing, "a/b/c", errors.NOT_FOUND),
        (nothing, "x" * 256, errors.NAME_TOO_LONG),
        (nothing, "/".join(["d" * 200] * 30), errors.NAME_TOO_LONG),
        (a_file, "it/below", errors.NOT_FOUND),
        (lambda root: (root / "it").mkdir(), "it", errors.NOT_FOUND),
        (link_out, "it", errors.NOT_FOUND),
        (link_within, "it", errors.NOT_FOUND),
        (link_on_the_way, "way/it", errors.NOT_FOUND),
        (fifo, "it", errors.NOT_FOUND),
        (unix_socket, "it", errors.NOT_FOUND),
        (nothing, "", errors.NOT_FOUND),
        (nothing, "..", errors.NOT_FOUND),
        (a_file, "a/../it", errors.NOT_FOUND),
        (a_file, "./it", errors.NOT_FOUND),
        (a_file, "/it", errors.NOT_FOUND),
        (a_file, "it/", errors.NOT_FOUND),
        (a_file, "it\0", errors.NOT_FOUND),
        (nothing, "a\udc80", errors.NOT_FOUND),
        (nothing, ".hmacfs/index.db", errors.NOT_FOUND),
        (nothing, ".HMACFS/index.db", errors.NOT_FOUND),
        (nothing, ".hmacf\u017f/index.db", errors.NOT_FOUND),
    ],
)
@pytest.mark.usefixtures("no_fd_leak")
def test_what_is_no_file_is_refused(
    tmp_path: Path, make: Callable[[Path], object], key: str, refusal: Refusal
) -> None:
    tree = Tree(str(tmp_path), file_mode=0o640, directory_mode=0o750)
    make(tmp_path)
    with pytest.raises(Refused) as caught:
        tree.open(key)
    tree.close()
    assert caught.value.refusal is refusal


def test_an_open_file_tells_what_it_is(tree: Tree, tmp_path: Path) -> None:
    write(tree, "a/b", b"12345")
    file = tree.open("a/b")
    found = (tmp_path / "a/b").stat()
    assert file[1:] == (5, found.st_mtime_ns, found.st_ino)
    assert os.read(file.descriptor.fileno(), 9) == b"12345"
    assert not os.get_inheritable(file.descriptor.fileno())
    file.descriptor.close()


def test_no_descriptor_left_is_busy(tree: Tree) -> None:
    write(tree, "it")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(Refused) as caught:
            tree.open("it")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.refusal is errors.BUSY


@given(key=st.text(st.characters(codec="utf-8"), max_size=20) | st.from_regex(r"[./a]{0,8}", fullmatch=True))
def test_a_key_is_taken_as_it_is_or_refused(key: str) -> None:
    segments = key.split("/")
    bad = "\0" in key or any(s in {"", ".", ".."} for s in segments) or key.casefold().startswith(".hmacfs")
    if bad:
        with pytest.raises(Refused):
            keys.path_of(key)
    else:
        assert keys.path_of(key) == key.encode()


def test_modes_are_exact_whatever_the_umask(tree: Tree, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tree, "a/b/it")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/it", ".hmacfs")]
    assert modes == [0o750, 0o750, 0o640, 0o700]


def test_a_set_group_id_bit_is_inherited(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o2755)
    tree.directory_mode = 0o770
    write(tree, "a/b/it")
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o2770


@pytest.mark.usefixtures("no_fd_leak")
def test_a_link_on_the_way_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "way").symlink_to(outside)
    tree = Tree(str(root), file_mode=0o640, directory_mode=0o750)
    fd = tree.unnamed()
    for key in ("way/it", "way/deeper/it"):
        with pytest.raises(OSError, match="Too many levels"):
            tree.link(fd, key)
    os.close(fd)
    tree.close()
    assert list(outside.iterdir()) == []


def test_a_link_at_the_name_is_not_replaced(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "it").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        write(tree, "it")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_a_directory_swapped_for_a_link_never_leads_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/it").write_bytes(b"outside")
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir/it").write_bytes(b"inside")
    tree = Tree(str(root), file_mode=0o640, directory_mode=0o750)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (root / "dir").rename(root / "aside")
            (root / "dir").symlink_to(tmp_path / "out")
            (root / "dir").unlink()
            (root / "aside").rename(root / "dir")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = collections.Counter[bytes | Refusal]()
    met = {b"inside", errors.NOT_FOUND}
    deadline = time.monotonic() + serving.PATIENCE_S
    while seen.total() < 20_000 or not (met <= seen.keys() or time.monotonic() > deadline):
        try:
            file = tree.open("dir/it")
        except Refused as refused:
            seen[refused.refusal] += 1
            continue
        seen[os.read(file.descriptor.fileno(), 10)] += 1
        file.descriptor.close()
    done.set()
    swapper.join()
    tree.close()
    assert met <= seen.keys() <= {*met, errors.BUSY}


def test_names_survive_a_remover_of_empty_directories(tree: Tree) -> None:
    done = threading.Event()

    def prune() -> None:
        while not done.is_set():
            tree.prune("a/b/c/it", frozenset())

    remover = threading.Thread(target=prune)
    remover.start()
    for _ in range(500):
        write(tree, "a/b/c/it")
        assert tree.unlink("a/b/c/it") is not None
    done.set()
    remover.join()


@pytest.mark.parametrize(
    ("key", "keep", "stays"),
    [
        ("a/b/c/it", frozenset[str](), ""),
        ("a/b/c/it", frozenset({"a"}), "a"),
        ("a/b/c/it", frozenset({"a/b/c"}), "a/b/c"),
        ("x/y/it", frozenset[str](), "x"),  # another file lies in x
        ("it", frozenset[str](), ""),
    ],
)
def test_empty_directories_go_up_to_the_endpoint(
    tree: Tree, tmp_path: Path, key: str, keep: frozenset[str], stays: str
) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "x/other").write_bytes(b"")
    assert tree.prune(key, keep) == stays
    assert (tmp_path / stays).is_dir()
    assert not (tmp_path / key).parent.exists() or (tmp_path / key).parent == tmp_path / stays


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (nothing, "it"),
        (nothing, "a/it"),
        (a_file, "it/below"),
        (lambda root: (root / "it").mkdir(), "it"),
        (link_out, "it"),
    ],
)
def test_only_a_file_is_removed(tree: Tree, tmp_path: Path, make: Callable[[Path], object], key: str) -> None:
    make(tmp_path)
    assert tree.unlink(key) is None
    assert make is nothing or (tmp_path / "it").lstat()


def test_a_newer_file_of_the_name_is_not_removed(tree: Tree, tmp_path: Path) -> None:
    write(tree, "it")
    mtime_ns = (tmp_path / "it").stat().st_mtime_ns
    assert tree.unlink("it", mtime_ns=mtime_ns - 1) is None
    assert tree.unlink("it", mtime_ns=mtime_ns) is not None


def test_a_lock_is_held_by_one(tree: Tree, tmp_path: Path) -> None:
    other = Tree(str(tmp_path), file_mode=0o640, directory_mode=0o750)
    with tree.locked("a.lock") as mine, other.locked("a.lock", wait=False) as theirs:
        assert (mine, theirs) == (True, False)
    with other.locked("a.lock", wait=False) as theirs:
        assert theirs
    other.close()


def test_files_get_the_group_of_the_storage(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to give a directory to another group")
    os.chown(tmp_path, -1, 33)
    tmp_path.chmod(0o2750)
    tree = Tree(str(tmp_path), file_mode=0o640, directory_mode=0o750)
    write(tree, "a/it")
    tree.close()
    assert [(tmp_path / name).stat().st_gid for name in ("a", "a/it")] == [33, 33]


def test_another_filesystem_at_an_endpoints_directory_is_a_place(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root, to mount a small tmpfs")
    (tmp_path / "upload").mkdir()
    tree = Tree(str(tmp_path), file_mode=0o640, directory_mode=0o750, directories=["upload"])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path / "upload")], check=True)
    try:
        fd = tree.unnamed("upload/it/below")
        os.write(fd, b"body")
        tree.link(fd, "upload/it/below")
        os.close(fd)
        assert (tmp_path / "upload/it/below").read_bytes() == b"body"
        elsewhere = tree.unnamed("elsewhere")
        with pytest.raises(OSError, match="cross-device"):
            tree.link(elsewhere, "upload/it/other")
        os.close(elsewhere)
    finally:
        tree.close()
        subprocess.run(["umount", str(tmp_path / "upload")], check=True)


@pytest.mark.usefixtures("no_fd_leak")
def test_the_administrators_own_link_is_followed_once(tmp_path: Path) -> None:
    root, large, other = (tmp_path / name for name in ("root", "large", "other"))
    for directory in (root, large, other):
        directory.mkdir()
    (root / "upload").symlink_to(large)
    (root / "later").symlink_to(large)
    tree = Tree(str(root), file_mode=0o640, directory_mode=0o750, directories=["upload"])
    write(tree, "upload/U/it")
    (root / "upload").unlink()
    (root / "upload").symlink_to(other)
    file = tree.open("upload/U/it")
    assert os.read(file.descriptor.fileno(), 9) == b"body"
    file.descriptor.close()
    assert tree.look("upload/U/it") is not None
    tree.sync_directory("upload/U")
    assert tree.unlink("upload/U/it") is not None
    assert tree.prune("upload/U/it", frozenset({"upload"})) == "upload"
    assert list(large.iterdir()) == list(other.iterdir()) == []
    with pytest.raises(Refused):
        tree.open("later/U/it")  # no endpoint's
    tree.hold(["upload"])
    write(tree, "upload/it")
    assert (other / "it").read_bytes() == b"body"
    tree.close()


def test_a_private_directory_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "fast").mkdir()
    (tmp_path / "root/.hmacfs").symlink_to(tmp_path / "fast")
    tree = Tree(str(tmp_path / "root"), file_mode=0o640, directory_mode=0o750)
    with tree.locked("it.lock"):
        assert (tmp_path / "fast/it.lock").exists()
    tree.close()


def test_a_private_directory_that_was_removed_is_no_missing_file(tree: Tree, tmp_path: Path) -> None:
    write(tree, "it")
    (tmp_path / ".hmacfs").rmdir()
    with pytest.raises(OSError, match="private directory has been removed"):
        tree.unlink("it")
    assert (tmp_path / "it").exists()


def test_what_may_not_be_read_is_told(tree: Tree, tmp_path: Path, program: Callable[[str], str]) -> None:
    """Root may read all, so another process without that right asks."""
    if os.geteuid():
        pytest.skip("needs root, to give a right up")
    write(tree, "a/it")
    (tmp_path / "a/it").chmod(0)
    code = (
        "import sys\n"
        "from hmacfs.errors import Refused\n"
        "from hmacfs.store.files import Tree\n"
        "tree = Tree(sys.argv[1], file_mode=0o640, directory_mode=0o750)\n"
        "tree.denied = print\n"
        "try:\n"
        "    tree.open('a/it')\n"
        "except Refused as refused:\n"
        "    print(refused.refusal.code)\n"
    )
    rights = "--bounding-set=-dac_override,-dac_read_search"
    ran = subprocess.run(
        [program("setpriv"), rights, sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "a/it Permission denied\nnot_found\n"
