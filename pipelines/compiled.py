"""Loops compiled by Numba on first use, and kept for later processes.

Numba keeps what it compiled until the file of the function changes; but kernels call kernels of
other files, and one that was kept would go on calling the old ones, without a word. Here it is kept
until any file of kernels in its folder changes.
"""

from __future__ import annotations

import re
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core import caching

compiled: Any = partial(njit, nogil=True, cache=True, error_model="numpy", boundscheck=False)
"""Decorator of a kernel, with our options; takes further ones of `numba.njit`."""

_KERNELS = re.compile(rb"numba|pipelines\.compiled|^@(kernel|borrowing|inlined)\b", re.MULTILINE)


@cache
def stamp(folder: Path) -> str:
    """Hash of all files in `folder` that hold kernels."""
    found = sha256()
    for path in sorted(folder.glob("*.py")):
        source = path.read_bytes()
        if _KERNELS.search(source):
            found.update(path.name.encode() + source)
    return found.hexdigest()


class _OfFolder:
    _py_file: str

    def get_source_stamp(self) -> str:
        return stamp(Path(self._py_file).parent)


class GivenFolder(_OfFolder, caching.UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR, where it is set."""


class BesideSource(_OfFolder, caching.InTreeCacheLocator):
    """In `__pycache__`, where that can be written."""


class OfUser(_OfFolder, caching.UserWideCacheLocator):
    """In the user's folder of caches."""


config.CACHE_LOCATOR_CLASSES = ",".join(
    f"{place.__module__}.{place.__qualname__}" for place in (GivenFolder, BesideSource, OfUser)
)
