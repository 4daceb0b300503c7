from __future__ import annotations

import hashlib

import numpy as np

from pipelines.native.blake2 import hex_hashes


def test_hashes_of_texts_of_any_length_are_those_of_the_library() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.bytes(size) for size in (0, 1, 63, 127, 128, 129, 255, 256, 257, 4096)]
    data = np.frombuffer(b"before" + b"".join(texts), np.uint8)
    offsets = np.cumsum([len(b"before"), *map(len, texts)])
    for digest_bytes in (16, 10):
        found = hex_hashes(digest_bytes, data, offsets)
        expected = [hashlib.blake2b(text, digest_size=digest_bytes).hexdigest() for text in texts]
        assert [row.tobytes().decode() for row in found] == expected
    assert hex_hashes(16, data, offsets[:1]).shape == (0, 32)
