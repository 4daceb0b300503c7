"""A picture -> the pixels that a model takes, uint8; the model's device makes floats of them.

The geometry is that of open_clip's own preprocessing, crop before resize: what is cut away need not
be resized. Torch resizes bytes four times as fast as Pillow, with the same antialiased filters.
"""

from __future__ import annotations

import numpy as np
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

# Of what bytes become on their way to a model. Raise it with a change that makes other pixels.
VERSION = 2


def to_pixels(picture: Image.Image, config: PreprocessCfg) -> Tensor:
    """The picture as uint8 [height, width, 3], as large as the model takes.

    Args:
        picture: RGB.
        config: Size, filter and way of resizing: `shortest` fills the size and cuts what is over,
            `longest` fits into it and fills the rest, `squash` changes the proportions.
    """
    height, width = _size(config)
    pixels_YXC = torch.from_numpy(np.array(picture))
    if config.resize_mode == "squash":
        return _resized(pixels_YXC, height, width, config)
    if config.resize_mode == "longest":
        scale = min(height / picture.height, width / picture.width)
        fitted_YXC = _resized(
            pixels_YXC,
            max(1, round(picture.height * scale)),
            max(1, round(picture.width * scale)),
            config,
        )
        return _padded(fitted_YXC, height, width, config.fill_color)
    return _resized(_middle(pixels_YXC, height, width), height, width, config)


def _size(config: PreprocessCfg) -> tuple[int, int]:
    size = config.size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _resized(pixels_YXC: Tensor, height: int, width: int, config: PreprocessCfg) -> Tensor:
    if pixels_YXC.shape[:2] == (height, width):
        return pixels_YXC
    pixels_1CYX = pixels_YXC.permute(2, 0, 1)[None]
    mode = "bilinear" if config.interpolation == "bilinear" else "bicubic"
    resized_1CYX = interpolate(pixels_1CYX, (height, width), mode=mode, antialias=True)
    return resized_1CYX[0].permute(1, 2, 0).contiguous()


def _middle(pixels_YXC: Tensor, height: int, width: int) -> Tensor:
    """What of a picture is left by resizing it to cover [height, width] and cutting the middle.

    Beginnings are rounded as torchvision rounds them, in pixels of the resized picture.
    """
    scale = max(height / pixels_YXC.shape[0], width / pixels_YXC.shape[1])
    starts, sizes = [], []
    for length, target in zip(pixels_YXC.shape, (height, width), strict=False):
        size = min(length, max(1, round(target / scale)))
        start = round(round((int(length * scale + 1e-6) - target) / 2) / scale)
        starts.append(min(max(0, start), length - size))
        sizes.append(size)
    (top, left), (tall, wide) = starts, sizes
    return pixels_YXC[top : top + tall, left : left + wide]


def _padded(pixels_YXC: Tensor, height: int, width: int, fill: int) -> Tensor:
    above, left = (height - pixels_YXC.shape[0]) // 2, (width - pixels_YXC.shape[1]) // 2
    below, right = height - pixels_YXC.shape[0] - above, width - pixels_YXC.shape[1] - left
    return pad(pixels_YXC, (0, 0, left, right, above, below), value=fill)
