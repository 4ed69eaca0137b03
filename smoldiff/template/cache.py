"""What was made before, by the content that it was made from: in memory, and as files. Losing any of it costs only time."""

import hashlib
import io
import os
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
MAX_BYTES_IN_MEMORY = 1 << 27
"""Of each kind of thing kept in memory; the one used longest ago goes first."""

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


def digest(*parts: object) -> str:
    """A key for what depends on these parts alone."""
    text = "\0".join(map(str, parts))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Sized(Protocol):
    @property
    def num_bytes(self) -> int: ...


Thing = TypeVar("Thing", bound=Sized)


class Memory(Generic[Thing]):
    """Things by key, up to MAX_BYTES_IN_MEMORY; at least the last one stays."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Thing] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Thing | None:
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def put(self, key: str, thing: Thing) -> Thing:
        old = self._known.pop(key, None)
        self._known[key] = thing
        self._num_bytes += thing.num_bytes - (old.num_bytes if old else 0)
        while self._num_bytes > MAX_BYTES_IN_MEMORY and len(self._known) > 1:
            self._num_bytes -= self._known.popitem(last=False)[1].num_bytes
        return thing

    def clear(self) -> None:
        self._known.clear()
        self._num_bytes = 0
