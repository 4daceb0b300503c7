"""Author names -> user ids: a keyed hash, so that no table holds a name."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.contract import ConfigError, MissingInputError

MIN_KEY_BYTES = 16
NEW_KEY_BYTES = 32
_MAX_KEY_BYTES = hashlib.blake2b.MAX_KEY_SIZE
# 80 bits: 16 characters of base 32 without padding. Of 22M users, two share an id with
# probability (22e6)^2 / 2^81 = 2e-10.
_ID_BYTES = 10
ID_CHARS = 16
_MAX_REMEMBERED = 1 << 20


class Pseudonyms:
    """Author name -> user id under one secret key.

    Args:
        key: At least 16 secret bytes. Whoever has it and the tables can name the users.

    Raises:
        ConfigError: The key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(f"key of {len(key)} bytes: expected at least {MIN_KEY_BYTES}")
        # BLAKE2b takes keys of up to 64 bytes.
        self._key = key if len(key) <= _MAX_KEY_BYTES else hashlib.blake2b(key).digest()
        self._known: dict[str, str] = {}

    @classmethod
    def from_file(cls, path: Path | str) -> Pseudonyms:
        """With the key in a file, without the white space around it.

        Raises:
            MissingInputError: There is no such file.
            ConfigError: It holds fewer than 16 bytes.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingInputError(
                f"key file {str(path)!r} not found; name the one that the first run made "
                "and keep it: under another key every user gets another id"
            )
        key = path.read_bytes().strip()
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"key file {str(path)!r} holds {len(key)} bytes, expected at least {MIN_KEY_BYTES}"
            )
        return cls(key)

    def user_id(self, author: str) -> str:
        """16 characters of lower-case base 32; the same for every spelling of a name in case."""
        return self.user_ids([author])[0]

    def user_ids(self, authors: Sequence[str]) -> list[str]:
        """`user_id` of each; remembers the names it has seen."""
        if len(self._known) > _MAX_REMEMBERED:
            self._known = {}  # not cleared: another thread may be reading it
        known = self._known
        new = [author for author in dict.fromkeys(authors) if author not in known]
        ids = self.ids_of(author.lower().encode() for author in new).decode()
        for i, author in enumerate(new):
            known[author] = ids[ID_CHARS * i : ID_CHARS * (i + 1)]
        return [known[author] for author in authors]

    def ids_of(self, names: Iterable[bytes]) -> bytes:
        """The ids of names in lower case, one behind the other, 16 ASCII characters each.

        Keyed BLAKE2b (RFC 7693), 80 bits.
        """
        hashed, key = hashlib.blake2b, self._key
        digests = [hashed(name, digest_size=_ID_BYTES, key=key).digest() for name in names]
        # base32 is slow to start and fast to go on, and 10 bytes need no padding.
        return base64.b32encode(b"".join(digests)).lower()

    def ids_in(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> bytes:
        """As `ids_of`, for names that lie in memory one behind the other, by a kernel.

        Args:
            data: UTF-8 bytes of the names, in lower case, none empty.
            offsets: int64 [names + 1].
        """
        from pipelines.native.blake2 import base32_hashes  # compiled, for those who need it

        return base32_hashes(self._key, _ID_BYTES, data, offsets).tobytes()


def new_key_file(path: Path) -> Path:
    """Writes a new random key, hexadecimal, readable by its owner alone; returns `path`.

    Raises:
        FileExistsError: There is a file already; a lost key cannot be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(NEW_KEY_BYTES) + "\n")
    return path
