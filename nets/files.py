"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import pathlib
import platform
import shutil
import tempfile
import time

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ASIDE = ".aside-"
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF}


def replace(path, save):
    """Let `save` write a file aside, then move it to `path`: there is never half a file there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{ASIDE}{platform.node()}~{os.getpid()}-"
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as folder:
        aside = pathlib.Path(folder) / path.name
        save(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)


def sweep(folder):
    """Remove what killed processes left aside in this folder; of another machine's, what is a day old."""
    for left in folder.glob(ASIDE + "*"):
        machine, _, number = left.name.removeprefix(ASIDE).rpartition("-")[0].rpartition("~")
        here = machine == platform.node() and number.isdecimal()
        if not _alive(int(number)) if here else time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)


def _alive(process):
    if os.name != "posix":  # on Windows, os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def locked(folder):
    """Meanwhile, no other process that asks for it holds the lock of this folder.

    Nothing is locked where the system or the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:  # a file to write in: some file systems lock nothing else
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
        yield


def write_text(path, text):
    """Write a text file in UTF-8, whole or not at all."""
    replace(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def save_arrays(path, arrays):
    """Write a dict of arrays as an .npz file, whole or not at all."""
    def save(aside):
        with open(aside, "wb") as file:
            np.savez_compressed(file, **arrays)
    replace(path, save)


def load_arrays(path):
    """The dict of arrays in an .npz file.

    Raises
    ------
    ValueError, if the file is damaged
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, struct, EOFError, ... by what is damaged
        raise ValueError(f"{path.name} is damaged ({error})") from error
