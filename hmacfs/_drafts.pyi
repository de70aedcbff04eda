"""The two steps of an upload that touch directories: a draft without a name, and its name."""

def waited_ns() -> int:
    """Return for how long the calling thread has waited in `begin_file` and `name_file` so far."""

def begin_file(root: int, path: bytes | None, home: bytes, mode: int) -> int:
    """Open a file without a name in the directory `home` if nothing stands at `path` (None: not asked).

    Both are below `root`, in which the file is opened if there is no `home` yet. It vanishes when it is
    closed without having been named. Raises OSError, FileExistsError for one.
    """

def name_file(file: int, root: int, above: bytes, directory: bytes, name: bytes, mode: int) -> None:
    """Give `file`, which has no name, the `name` in `directory` in the existing path `above` below `root`.

    The directory is made with `mode` if it is missing: an upload's nearly always is. Raises OSError.
    """
