"""BLAKE2b of many short texts: `hashlib` takes ten times as long for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.native.scan import kernel

BLOCK_BYTES = 128
_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
# Which word of the message each step of a round takes; rounds 10 and 11 are 0 and 1 again.
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.uint8,
)
_BASE32 = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_BASE16 = np.frombuffer(b"0123456789abcdef", np.uint8)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def _turned(x, bits):
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@kernel
def _mixed(a, b, c, d, x, y):
    a = a + b + x
    d = _turned(d ^ a, 32)
    c = c + d
    b = _turned(b ^ c, 24)
    a = a + b + y
    d = _turned(d ^ a, 16)
    c = c + d
    b = _turned(b ^ c, 63)
    return a, b, c, d


@kernel
def _compress(h, m, num_bytes, is_last):
    """Mixes the block `m`, uint64 [16], into the state `h`, uint64 [8]. RFC 7693, 3.2."""
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _IV[0], _IV[1], _IV[2], _IV[3]
    v12, v13, v14, v15 = _IV[4] ^ np.uint64(num_bytes), _IV[5], _IV[6], _IV[7]
    if is_last:
        v14 ^= _ALL
    for turn in range(12):
        s = _SIGMA[turn % 10]
        v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@kernel
def _hash(key, digest_bytes, data, offsets, digits, bits, out):
    """Fills `out` with digits of so many bits each, from the highest bit on."""
    start = _IV.copy()
    start[0] ^= np.uint64(0x01010000 ^ (key.shape[0] << 8) ^ digest_bytes)
    block = np.zeros(16, np.uint64)
    raw = block.view(np.uint8)
    before = 0
    if key.shape[0]:
        raw[: key.shape[0]] = key
        before = BLOCK_BYTES
        _compress(start, block, before, False)
    state = np.empty(8, np.uint64)
    digest = state.view(np.uint8)
    for row in range(offsets.shape[0] - 1):
        begin, size = offsets[row], offsets[row + 1] - offsets[row]
        state[:] = start
        done = 0
        while size - done > BLOCK_BYTES:
            for i in range(BLOCK_BYTES):
                raw[i] = data[begin + done + i]
            done += BLOCK_BYTES
            _compress(state, block, before + done, False)
        block[:] = np.uint64(0)
        for i in range(size - done):
            raw[i] = data[begin + done + i]
        _compress(state, block, before + size, True)
        for i in range(out.shape[1]):
            bit = bits * i
            pair = (np.uint32(digest[bit >> 3]) << np.uint32(8)) | np.uint32(digest[(bit >> 3) + 1])
            digit = (pair >> np.uint32(16 - bits - (bit & 7))) & np.uint32((1 << bits) - 1)
            out[row, i] = digits[digit]


def hex_hashes(
    digest_bytes: int, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """BLAKE2b without a key of each text, hexadecimal: uint8 [texts, characters], ASCII.

    Args:
        digest_bytes: Of a hash, below 64.
        data: Texts of any length, one behind the other.
        offsets: int64 [texts + 1].
    """
    out = np.empty((len(offsets) - 1, digest_bytes * 2), np.uint8)
    _hash(np.empty(0, np.uint8), digest_bytes, data, offsets, _BASE16, 4, out)
    return out


def base32_hashes(
    key: bytes,
    digest_bytes: int,
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """Keyed BLAKE2b (RFC 7693) of each name, in lower-case base 32.

    Args:
        key: 1 to 64 bytes.
        digest_bytes: Of a hash; a multiple of 5, so that base 32 needs no padding, and below 64.
        data: Names of 1 to 128 bytes, one behind the other.
        offsets: int64 [names + 1].

    Returns:
        uint8 [names, characters], ASCII.

    Raises:
        ValueError: A name is empty or longer than a block.
    """
    sizes = np.diff(offsets)
    if len(sizes) and not 1 <= sizes.min() <= sizes.max() <= BLOCK_BYTES:
        found = f"{sizes.min()} to {sizes.max()}"
        raise ValueError(f"names of {found} bytes: expected 1 to {BLOCK_BYTES}")
    out = np.empty((len(sizes), digest_bytes * 8 // 5), np.uint8)
    _hash(np.frombuffer(key, np.uint8), digest_bytes, data, offsets, _BASE32, 5, out)
    return out
