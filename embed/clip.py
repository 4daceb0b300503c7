"""CLIP through open_clip's own factory: pictures and texts -> unit float32 vectors of one space."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.factory import parse_model_name
from open_clip.model import get_input_dtype
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, pad

from embed.config import LOCAL, TINY, TINY_FOLDER
from embed.pixels import to_pixels
from pipelines.contract import ConfigError, MissingInputError

PRECISIONS = ("fp32", "bf16", "fp16")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
BATCH_TEXTS = 256

Preprocess = Callable[[Image.Image], Tensor]
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class ClipIdentity:
    """What makes vectors comparable: model, tag and the very weights.

    Args:
        model: Name as configured.
        pretrained: Tag or file as configured, empty for folders.
        weights_sha256: Of the weights file.
    """

    model: str
    pretrained: str
    weights_sha256: str

    def metadata(self) -> dict[str, str]:
        """As metadata of a Parquet file: clip_model, clip_pretrained, clip_weights."""
        return {
            "clip_model": self.model,
            "clip_pretrained": self.pretrained,
            "clip_weights": self.weights_sha256,
        }


class Texts(Protocol):
    """What encodes texts: a `Clip`, or one elsewhere (`embed.remote`)."""

    identity: ClipIdentity
    dim: int

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit float32 [N, dim]; a text longer than the model's context is cut."""


class Clip:
    """A loaded model: `preprocess` turns a picture into a row of what `encode_pixels` takes."""

    def __init__(
        self,
        *,
        model: Any,
        tokenize: Callable[[list[str]], Tensor],
        identity: ClipIdentity,
        device: torch.device,
        precision: str,
        compile_batch: int = 0,
    ) -> None:
        # Channels last: convolutions run twice as fast on a CPU, and no slower on a GPU.
        self._model: Any = model.eval().to(memory_format=torch.channels_last)
        self._tokenize = tokenize
        self._device = device
        self._dtype = get_input_dtype(precision) or torch.float32
        config = PreprocessCfg(**self._model.visual.preprocess_cfg)
        std_C, mean_C = torch.tensor(config.std), torch.tensor(config.mean)
        self._scale_C11 = (1 / (255 * std_C)).to(device)[:, None, None]
        self._shift_C11 = (-mean_C / std_C).to(device)[:, None, None]
        self._batch = compile_batch
        # One shape, so that it is compiled once.
        self._forward: Forward = (
            torch.compile(self._encode, dynamic=False) if compile_batch else self._encode
        )
        self.preprocess: Preprocess = partial(to_pixels, config=config)
        self.identity = identity
        size: int | tuple[int, int] = self._model.visual.image_size
        self.image_px = max(size) if isinstance(size, tuple) else size
        self.dim = self.encode_texts(["a"]).shape[1]

    def stack(self, pixels: Sequence[Tensor]) -> Tensor:
        """Pictures as one uint8 [N, height, width, 3]; pinned for a GPU, so it copies aside."""
        stacked_NYXC = torch.stack(list(pixels))
        return stacked_NYXC.pin_memory() if self._device.type == "cuda" else stacked_NYXC

    def launch(self, pixels_NYXC: Tensor) -> Tensor:
        """Unit float32 [N, dim] on the device, which may still be at work on it.

        Args:
            pixels_NYXC: From `stack`; at most `compile_batch` pictures if the model is compiled.
        """
        num = pixels_NYXC.shape[0]
        with torch.inference_mode():
            inputs_NYXC = pixels_NYXC.to(self._device, non_blocking=True)
            if num < self._batch:
                inputs_NYXC = pad(inputs_NYXC, (0, 0, 0, 0, 0, 0, 0, self._batch - num))
            return self._forward(inputs_NYXC)[:num]

    def encode_pixels(self, pixels_NYXC: Tensor) -> NDArray[np.float32]:
        """Unit float32 [N, dim] of preprocessed pictures, uint8 [N, height, width, 3]."""
        x_ND: NDArray[np.float32] = self.launch(pixels_NYXC).cpu().numpy()
        return x_ND

    def _encode(self, pixels_NYXC: Tensor) -> Tensor:
        # Channels last already: the permuted view is what convolutions want.
        inputs_NCYX = pixels_NYXC.permute(0, 3, 1, 2).float() * self._scale_C11 + self._shift_C11
        x_ND = self._model.encode_image(inputs_NCYX.to(self._dtype)).float()
        return normalize(x_ND, dim=1)

    def encode_images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Unit float32 [N, dim] of pictures, one batch."""
        if not pictures:
            return np.zeros((0, self.dim), dtype=np.float32)
        batches = [
            self.encode_pixels(self.stack([self.preprocess(picture) for picture in part]))
            for part in _slices(pictures, self._batch or len(pictures))
        ]
        return np.concatenate(batches)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit float32 [N, dim]; a text longer than the model's context is cut."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        batches = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH_TEXTS):
                tokens = self._tokenize(list(texts[start : start + BATCH_TEXTS]))
                batches.append(
                    self._model.encode_text(tokens.to(self._device)).float().cpu().numpy()
                )
        return unit_rows(np.concatenate(batches))


def _slices(pictures: Sequence[Image.Image], size: int) -> list[Sequence[Image.Image]]:
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]


def unit_rows(x_ND: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows scaled to unit L2 norm, float32; a row of zeros stays."""
    norm_N1 = np.linalg.norm(x_ND.astype(np.float64), axis=1, keepdims=True)
    return (x_ND / np.where(norm_N1 > 0, norm_N1, 1.0)).astype(np.float32)


def load_clip(
    model: str,
    pretrained: str = "",
    device: str = "cpu",
    precision: str = "fp32",
    compile_batch: int = 0,
) -> Clip:
    """The model with its preprocessing and tokenizer, ready to encode.

    Args:
        model: A name that open_clip knows, `local-dir:PATH`, `hf-hub:ORG/NAME`, or `tiny`.
        pretrained: A tag that open_clip knows for the model, or a weights file; empty for folders.
        device: "cpu", "cuda", "cuda:1", ...
        precision: fp32, bf16 or fp16.
        compile_batch: Compile the encoder of images for batches of so many; 0: do not.

    Raises:
        ConfigError: Unknown model, tag, device or precision, or a vocabulary that does not fit.
        MissingInputError: The folder or its weights are not there.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device={device!r}: no CUDA device here; set gpus_per_actor=0")
    identity = clip_identity(model, pretrained)
    name = _open_clip_name(model)
    network = open_clip.create_model(
        name, pretrained=pretrained or None, device=device, precision=precision
    )
    return Clip(
        model=network,
        tokenize=_tokenizer(name),
        identity=identity,
        device=torch.device(device),
        precision=precision,
        compile_batch=compile_batch,
    )


def clip_identity(model: str, pretrained: str = "") -> ClipIdentity:
    """The identity of a model without loading it; downloads weights that are not here yet.

    Raises:
        ConfigError: open_clip knows no such model or tag, or cannot get its weights.
        MissingInputError: The folder or its weights are not there.
    """
    name = _open_clip_name(model)
    schema, identifier = parse_model_name(name)
    if schema == "local-dir":
        weights = _weights_in(Path(identifier), model)
    elif schema == "hf-hub":
        weights = Path(_downloaded(model, lambda: download_pretrained_from_hf(identifier)))
    else:
        weights = _tagged_weights(model, pretrained)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ClipIdentity(model=model, pretrained=pretrained, weights_sha256=digest)


def _open_clip_name(model: str) -> str:
    return f"{LOCAL}{TINY_FOLDER}" if model == TINY else model


def _weights_in(folder: Path, model: str) -> Path:
    if not folder.is_dir():
        raise MissingInputError(
            f"clip.model={model!r}: no folder {folder}; expected one with open_clip_config.json "
            "and open_clip_model.safetensors"
        )
    if not (folder / "open_clip_config.json").is_file():
        raise MissingInputError(f"clip.model={model!r}: no open_clip_config.json in {folder}")
    # open_clip's own order of preference, so that the hash is of the file it loads.
    path = open_clip.factory._find_checkpoint_in_dir(folder)
    if path is None:
        raise MissingInputError(
            f"clip.model={model!r}: no weights in {folder}; expected {', '.join(WEIGHT_SUFFIXES)}"
        )
    return Path(path)


def _tagged_weights(model: str, pretrained: str) -> Path:
    known = open_clip.list_models()
    name = model.replace("/", "-")
    if name not in known:
        near = difflib.get_close_matches(name, [TINY, *known], n=5, cutoff=0.4)
        raise ConfigError(
            f"clip.model={model!r}: open_clip knows no such model; "
            f"{'nearest: ' + ', '.join(near) if near else 'see open_clip.list_models()'}; "
            "or give local-dir:PATH"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        config = open_clip.get_pretrained_cfg(name, pretrained)
        return Path(_downloaded(model, lambda: download_pretrained(config)))
    if pretrained and Path(pretrained).is_file():
        return Path(pretrained)
    raise ConfigError(
        f"clip.pretrained={pretrained!r}: {model} has the tags {', '.join(tags) or 'none'}; "
        "give one of them or a weights file"
    )


def _downloaded(model: str, download: Callable[[], str]) -> str:
    # RuntimeError: a checksum that differs; OSError: no network, no disk, no such repository.
    try:
        return download()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"clip.model={model!r}: its weights cannot be had ({error}); put them in a folder and "
            "give local-dir:PATH"
        ) from error


def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """The model's tokenizer; never one whose ids run past the model's table.

    `local-dir` alone answers with open_clip's 49,408-token one whatever the folder's model is.
    """
    schema, identifier = parse_model_name(name)
    merges = sorted(Path(identifier).glob("*.txt.gz")) if schema == "local-dir" else []
    extra = {"bpe_path": str(merges[0])} if merges else {}
    tokenizer: Any = open_clip.get_tokenizer(name, **extra)
    num_ids = getattr(tokenizer, "vocab_size", None)
    table = open_clip.get_model_config(name)["text_cfg"].get("vocab_size")
    if num_ids is not None and table is not None and num_ids > table:
        raise ConfigError(
            f"clip.model={name!r}: its text table has {table} rows, its tokenizer {num_ids} ids; "
            "put the model's merges into the folder as bpe_merges.txt.gz"
        )
    return lambda texts: torch.as_tensor(tokenizer(texts))
