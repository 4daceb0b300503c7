"""How contents of a user's subreddits agree with each other, on CPUs: over the slots that are real.

Most slots of a heavy-tailed graph are masked, so the tensor operations of `graph.model` gather and
multiply zeros for most of their time. The numbers are theirs, up to rounding.
"""

from __future__ import annotations

import numpy as np

from pipelines.compiled import compiled

ZERO, ONE = np.float32(0.0), np.float32(1.0)

kernel = compiled(fastmath=True)


@kernel
def _dot(a, b):
    found = ZERO
    for k in range(len(a)):
        found += a[k] * b[k]
    return found


@kernel
def agree(image, text, own, slot, mask, mean_image, max_image, mean_text, own_image):
    """Agreement of each slot's subreddit with the other slots' of its user.

    Args:
        image, text: float32 [M, D], unit or zero, of subreddits.
        own: float32 [B, D], unit or zero, of users.
        slot, mask: [B, F].
        mean_image, max_image, mean_text, own_image: [B, F], zeros; written where not masked: mean
            and highest cosine of the images, but at least 0, mean cosine of the texts, and cosine
            with the user's own images.
    """
    width = slot.shape[1]
    real = np.empty(width, np.int64)
    cosine = np.empty((width, width), np.float32)
    total = np.empty(text.shape[1], np.float32)
    for b in range(slot.shape[0]):
        count = 0
        total[:] = ZERO
        for f in range(width):
            if mask[b, f]:
                real[count] = f
                count += 1
                row = text[slot[b, f]]
                for k in range(len(total)):
                    total[k] += row[k]
        others = np.float32(max(count - 1, 1))
        for i in range(count):
            f = real[i]
            mine, words = image[slot[b, f]], text[slot[b, f]]
            for j in range(i):
                cosine[i, j] = _dot(mine, image[slot[b, real[j]]])
                cosine[j, i] = cosine[i, j]
            mean_text[b, f] = (_dot(words, total) - _dot(words, words)) / others
            own_image[b, f] = _dot(mine, own[b])
        for i in range(count):
            sum_image, highest = ZERO, ZERO
            for j in range(count):
                if i != j:
                    sum_image += cosine[i, j]
                    highest = max(highest, cosine[i, j])
            mean_image[b, real[i]] = sum_image / others
            max_image[b, real[i]] = highest
