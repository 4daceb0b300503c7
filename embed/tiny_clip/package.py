"""The folder that holds the tiny CLIP in open_clip's own format, and the vocabulary in it.

open_clip reads it as `local-dir:FOLDER`; its tokenizer must be given `MERGES` by path, because
`local-dir` alone answers with the 49,408-token tokenizer, whose ids run past this model's table.
"""

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
MERGES = "bpe_merges.txt.gz"
SHIPPED = Path(__file__).parent / "weights"

CONTEXT_LENGTH = 32
# What open_clip adds to the merges: 256 bytes, 256 bytes that end a word, start and end of text.
NUM_FIXED_TOKENS = 514
_PREPROCESS = {
    "size": 64,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def learn_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until every word is a single token.

    Args:
        words: Distinct lower-case ASCII words.

    Source: Sennrich et al. 2016, algorithm 1, arXiv:1508.07909.
    """
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for symbols in spelled for pair in itertools.pairwise(symbols))
        if not pairs:
            return merges
        first, second = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append((first, second))
        spelled = [_merge(symbols, first, second) for symbols in spelled]


def _merge(symbols: list[str], first: str, second: str) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(symbols):
        if symbols[index : index + 2] == [first, second]:
            merged.append(first + second)
            index += 2
        else:
            merged.append(symbols[index])
            index += 1
    return merged


def write_merges(folder: Path, merges: Sequence[tuple[str, str]]) -> None:
    """Write the merges as open_clip's `SimpleTokenizer` reads them: gzip, a first line it skips."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / MERGES).write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def model_config(num_merges: int) -> dict[str, Any]:
    """open_clip's `model_cfg` of the tiny CLIP for a vocabulary of `num_merges` merges."""
    return {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 12,
            "head_width": 32,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": NUM_FIXED_TOKENS + num_merges,
            "width": 96,
            "heads": 4,
            "layers": 2,
        },
    }


def write_package(folder: Path, model: CLIP, config: dict[str, Any]) -> None:
    """Write config and half-precision weights in the form that open_clip's factory loads."""
    state = {
        name: tensor.detach()
        .to(torch.float16 if tensor.is_floating_point() else tensor.dtype)
        .contiguous()
        for name, tensor in model.state_dict().items()
    }
    save_file(state, folder / WEIGHTS)
    document = {"model_cfg": config, "preprocess_cfg": _PREPROCESS}
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
