"""The cache on disk: small files named by the content that they were made from. Losing one costs only time."""

import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

CACHE_VARIABLE = "SMOLDIFF_CACHE"
"""Environment variable: the folder of the cache; empty switches the disk off."""


def cache_folder() -> Path | None:
    """Where cached files lie; None if the user switched the disk off."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return Path(chosen) if chosen else None
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smoldiff"


def read_cached(name: str) -> bytes | None:
    """The content of a cached file, None if there is none that can be read. `name` is relative to the folder."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        return (folder / name).read_bytes()
    except OSError:
        return None


def write_cached(name: str, content: bytes) -> None:
    """Write by renaming, so that a reader never sees half a file. A folder that cannot be written is no error."""
    root = cache_folder()
    if root is None:
        return
    target = root / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, target)
    except OSError:
        return


def read_arrays(name: str) -> Arrays | None:
    """The arrays of a cached `.npz` file, None if there is none that can be read."""
    content = read_cached(name)
    if content is None:
        return None
    try:
        return dict(np.load(io.BytesIO(content), allow_pickle=False))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # damaged by another program
        return None


def write_arrays(name: str, arrays: Arrays) -> None:
    """Keep arrays as an `.npz` file, as `write_cached` does."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    write_cached(name, file.getvalue())
