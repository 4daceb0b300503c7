"""The eight treatments of the picture grammar: a square picture -> the same picture restyled.

Every length is a share of the side, so that a treatment looks the same at any size. All are mild
enough to leave the subject recognisable at 64 px.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Treatment = Callable[[Image.Image, np.random.Generator], Image.Image]


def flat(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Clean vector shapes: the picture as it was drawn."""
    return picture


def grain(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Coarse film grain, one grey noise field over all channels."""
    cells = 72
    noise_YX = rng.normal(0.0, 36.0, size=(cells, cells)) + 128.0
    field = Image.fromarray(noise_YX.clip(0, 255).astype(np.uint8)).resize(
        picture.size, Image.Resampling.NEAREST
    )
    noise = np.asarray(field, dtype=np.int16)[:, :, None] - 128
    return _to_image(np.asarray(picture, dtype=np.int16) + noise)


def glitch(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Red and blue pulled apart, a few displaced rows, dark scan lines."""
    side = picture.size[0]
    shift = max(1, round(side * rng.uniform(0.035, 0.05)))
    red, green, blue = picture.split()
    split = Image.merge(
        "RGB", (ImageChops.offset(red, shift, 0), green, ImageChops.offset(blue, -shift, 0))
    )
    pixels_YXC = np.asarray(split).copy()
    for _ in range(3):
        top = int(rng.uniform(0.05, 0.85) * side)
        tall = max(2, int(rng.uniform(0.04, 0.08) * side))
        pixels_YXC[top : top + tall] = np.roll(
            pixels_YXC[top : top + tall],
            int(rng.choice([-1, 1]) * rng.uniform(0.06, 0.12) * side),
            axis=1,
        )
    row_Y = np.arange(side) * 32 // side % 2 == 1
    pixels_YXC[row_Y] = (pixels_YXC[row_Y] * 0.72).astype(np.uint8)
    return Image.fromarray(pixels_YXC)


def watercolor(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Soft wandering edges, pooled pigment and a white paper margin."""
    side = picture.size[0]
    wander_YX = _smooth_noise(rng, 7, side)
    drift_YX = _smooth_noise(rng, 7, side)
    y_YX, x_YX = np.indices((side, side))
    reach = 0.022 * side
    source_y = np.clip(np.rint(y_YX + wander_YX * reach), 0, side - 1).astype(np.intp)
    source_x = np.clip(np.rint(x_YX + drift_YX * reach), 0, side - 1).astype(np.intp)
    soft = picture.filter(ImageFilter.GaussianBlur(side * 0.012))
    pixels_YXC = np.asarray(soft, dtype=np.float32)[source_y, source_x]
    wash_YX = 1.0 + 0.12 * _smooth_noise(rng, 11, side)
    washed_YXC = 255.0 - (255.0 - pixels_YXC) * (0.85 * wash_YX)[:, :, None]
    edge = np.minimum(np.minimum(y_YX, x_YX), np.minimum(side - 1 - y_YX, side - 1 - x_YX)) / side
    paper_YX = np.clip((edge + 0.018 * wander_YX - 0.025) / 0.03, 0.0, 1.0)[:, :, None]
    return _to_image(washed_YXC * paper_YX + 250.0 * (1.0 - paper_YX))


def bokeh(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A slightly soft picture behind round lights out of focus."""
    side = picture.size[0]
    soft = picture.filter(ImageFilter.GaussianBlur(side * 0.014))
    lights = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(lights)
    for _ in range(int(rng.integers(9, 13))):
        x, y = rng.uniform(0.0, 1.0, size=2) * side
        radius = rng.uniform(0.045, 0.085) * side
        tint = (255, int(rng.integers(225, 256)), int(rng.integers(170, 240)))
        bounds = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(
            bounds, fill=(*tint, 105), outline=(*tint, 230), width=max(1, round(side * 0.012))
        )
    return Image.alpha_composite(soft.convert("RGBA"), lights).convert("RGB")


def halftone(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Printed dots, larger where the picture is darker, on a paler ground."""
    side = picture.size[0]
    num_dots = 18
    grey = picture.convert("L").resize((num_dots, num_dots), Image.Resampling.BOX)
    dark_RC = 1.0 - np.asarray(grey, dtype=np.float32) / 255.0
    coordinate_S = (np.arange(side) + 0.5) / side * num_dots
    cell_S = np.minimum(coordinate_S.astype(np.intp), num_dots - 1)
    offset_S = coordinate_S - cell_S - 0.5
    distance_YX = np.sqrt(offset_S[:, None] ** 2 + offset_S[None, :] ** 2)
    radius_YX = (0.28 + 0.22 * dark_RC)[cell_S[:, None], cell_S[None, :]]
    dot_YX = np.clip((radius_YX - distance_YX) * side / num_dots + 0.5, 0.0, 1.0)[:, :, None]
    pixels_YXC = np.asarray(picture, dtype=np.float32)
    pale_YXC = 0.5 * pixels_YXC + 0.5 * 244.0
    return _to_image(0.92 * pixels_YXC * dot_YX + pale_YXC * (1.0 - dot_YX))


def pixelated(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Large square pixels."""
    blocks = int(rng.integers(19, 23))
    small = picture.resize((blocks, blocks), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def motion(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Sideways motion blur."""
    side = picture.size[0]
    reach = max(3, round(side * rng.uniform(0.11, 0.15)))
    pixels_YXC = np.asarray(picture, dtype=np.float32)
    left = reach // 2
    padded = np.pad(pixels_YXC, ((0, 0), (left + 1, reach - left - 1), (0, 0)), mode="edge")
    total = np.cumsum(padded, axis=1)
    return _to_image((total[:, reach:] - total[:, :-reach])[:, :side] / reach)


def _smooth_noise(rng: np.random.Generator, cells: int, side: int) -> NDArray[np.float32]:
    """Smooth noise of mean about 0 and reach about 1, [side, side]."""
    coarse = Image.fromarray(rng.uniform(-1.0, 1.0, size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def _to_image(pixels_YXC: NDArray[np.floating] | NDArray[np.integer]) -> Image.Image:
    return Image.fromarray(np.clip(pixels_YXC, 0, 255).astype(np.uint8))


TREATMENTS: dict[str, Treatment] = {
    "flat": flat,
    "grain": grain,
    "glitch": glitch,
    "watercolor": watercolor,
    "bokeh": bokeh,
    "halftone": halftone,
    "pixelated": pixelated,
    "motion": motion,
}
