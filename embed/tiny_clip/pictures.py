"""The picture grammar of the offline sample: palette, subject, treatment, composition -> picture.

A palette gives five role colours, a subject is drawn with them on a transparent layer, the
composition places that layer on a ground, the treatment restyles the whole. Everything is drawn at
twice the size and reduced, so that any size looks alike.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from embed.tiny_clip.subjects import PAINTERS, Colour, Inks, Pen, shade
from embed.tiny_clip.treatments import TREATMENTS

PALETTES: dict[str, Inks] = {
    "neon": Inks(
        sky=(12, 8, 26),
        haze=(34, 12, 66),
        main=(255, 30, 160),
        second=(0, 225, 245),
        accent=(195, 255, 40),
    ),
    "pastel": Inks(
        sky=(226, 240, 255),
        haze=(255, 230, 240),
        main=(206, 150, 226),
        second=(132, 206, 190),
        accent=(255, 190, 130),
    ),
    "monochrome": Inks(
        sky=(244, 244, 244),
        haze=(196, 196, 196),
        main=(38, 38, 38),
        second=(104, 104, 104),
        accent=(232, 232, 232),
    ),
    "sunset": Inks(
        sky=(255, 188, 84),
        haze=(255, 116, 62),
        main=(104, 18, 54),
        second=(188, 36, 52),
        accent=(255, 238, 140),
    ),
    "ocean": Inks(
        sky=(196, 234, 246),
        haze=(112, 192, 228),
        main=(10, 46, 108),
        second=(22, 112, 176),
        accent=(240, 252, 255),
    ),
    "earth": Inks(
        sky=(230, 210, 170),
        haze=(204, 174, 124),
        main=(84, 54, 28),
        second=(108, 116, 54),
        accent=(200, 100, 44),
    ),
    "jewel": Inks(
        sky=(8, 66, 56),
        haze=(10, 96, 74),
        main=(196, 22, 62),
        second=(98, 44, 184),
        accent=(244, 192, 48),
    ),
    "muted": Inks(
        sky=(198, 202, 184),
        haze=(168, 172, 166),
        main=(92, 96, 120),
        second=(136, 106, 126),
        accent=(224, 200, 186),
    ),
}
COMPOSITIONS = ("centered", "closeup", "minimal", "tilted", "framed", "reflected")

FACETS: dict[str, tuple[str, ...]] = {
    "palette": tuple(PALETTES),
    "subject": tuple(PAINTERS),
    "treatment": tuple(TREATMENTS),
    "composition": COMPOSITIONS,
}

# Where a close-up looks: the height that is told apart best, such as the face of a cat.
_CLOSEUP_CENTRE = {"portrait": 0.44, "flower": 0.4, "cat": 0.42, "cottage": 0.52, "skyline": 0.62}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One combination of the grammar; every value must be one of its facet's in `FACETS`."""

    palette: str
    subject: str
    treatment: str
    composition: str

    def __post_init__(self) -> None:
        for facet, values in FACETS.items():
            if getattr(self, facet) not in values:
                raise ValueError(
                    f"Picture.{facet} is {getattr(self, facet)!r}: expected one of {values}"
                )


def draw(picture: Picture, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """An RGB picture of `size` x `size` pixels; what the combination leaves open comes from `rng`.

    Raises:
        ValueError: `size` is below 32, too small for the treatments.
    """
    if size < 32:
        raise ValueError(f"size is {size}: expected at least 32 px")
    inks = _jitter(PALETTES[picture.palette], rng)
    pen = Pen(2 * size, inks)
    PAINTERS[picture.subject](pen, rng)
    placed = _compose(picture, pen.layer, inks, rng)
    treated = TREATMENTS[picture.treatment](placed, rng)
    return treated.resize((size, size), Image.Resampling.BOX)


def _jitter(inks: Inks, rng: np.random.Generator) -> Inks:
    """The palette, light and tint slightly changed, `main` and `second` swapped at times."""
    light = rng.uniform(0.94, 1.06)
    tint_C = rng.uniform(-5.0, 5.0, size=3) if inks.main[0] != inks.main[2] else np.zeros(3)

    def change(colour: Colour) -> Colour:
        red, green, blue = (int(v) for v in np.clip(np.array(colour) * light + tint_C, 0, 255))
        return (red, green, blue)

    main, second = change(inks.main), change(inks.second)
    if rng.random() < 0.3:
        main, second = second, main
    return Inks(
        sky=change(inks.sky),
        haze=change(inks.haze),
        main=main,
        second=second,
        accent=change(inks.accent),
    )


def _compose(
    picture: Picture, layer: Image.Image, inks: Inks, rng: np.random.Generator
) -> Image.Image:
    """The subject layer placed on its ground, RGB, of the layer's size."""
    side = layer.size[0]
    match picture.composition:
        case "centered":
            return _place(
                _gradient(side, inks), layer, rng.uniform(0.92, 1.0), _near(rng, 0.5, 0.02)
            )
        case "closeup":
            scale = rng.uniform(1.65, 1.85)
            focus = _CLOSEUP_CENTRE.get(picture.subject, 0.5)
            x, y = _near(rng, 0.5, 0.04)
            return _place(_gradient(side, inks), layer, scale, (x, y + (0.5 - focus) * scale))
        case "minimal":
            ground = Image.new("RGB", (side, side), inks.sky)
            x, y = rng.choice([0.38, 0.62]), rng.choice([0.38, 0.62])
            return _place(ground, layer, rng.uniform(0.58, 0.64), (float(x), float(y)))
        case "tilted":
            angle = float(rng.choice([-1, 1]) * rng.uniform(20, 28))
            return _place(_gradient(side, inks, angle), layer, 0.94, _near(rng, 0.5, 0.02), angle)
        case "framed":
            return _frame(_place(_gradient(side, inks), layer, 0.98, (0.5, 0.5)), inks)
        case "reflected":
            return _reflect(_place(_gradient(side, inks), layer, 0.97, (0.5, 0.51)), inks, rng)
    raise AssertionError(picture.composition)


def _near(rng: np.random.Generator, centre: float, spread: float) -> tuple[float, float]:
    x, y = rng.uniform(centre - spread, centre + spread, size=2)
    return float(x), float(y)


def _gradient(side: int, inks: Inks, angle: float = 0.0) -> Image.Image:
    """From sky at the top to haze at the bottom; if tilted, with a slanting strip of ground."""
    y_Y, x_X = np.linspace(-0.5, 0.5, side)[:, None], np.linspace(-0.5, 0.5, side)[None, :]
    radians = np.deg2rad(angle)
    depth_YX = y_Y * np.cos(radians) + x_X * np.sin(radians) + 0.5
    sky_C, haze_C = np.array(inks.sky, np.float32), np.array(inks.haze, np.float32)
    share_YX = np.clip(depth_YX, 0.0, 1.0)[:, :, None]
    pixels_YXC = sky_C * (1.0 - share_YX) + haze_C * share_YX
    if angle:
        pixels_YXC[depth_YX > 0.93] = np.array(shade(inks.second, 0.7), np.float32)
    return Image.fromarray(pixels_YXC.astype(np.uint8))


def _place(
    ground: Image.Image,
    layer: Image.Image,
    scale: float,
    centre: tuple[float, float],
    angle: float = 0.0,
) -> Image.Image:
    """`layer` scaled, turned by `angle` degrees, its middle pasted at `centre` (unit square)."""
    side = ground.size[0]
    cos, sin = np.cos(np.deg2rad(angle)) / scale, np.sin(np.deg2rad(angle)) / scale
    x, y = centre[0] * side, centre[1] * side
    half = side / 2
    matrix = (cos, -sin, half - cos * x + sin * y, sin, cos, half - sin * x - cos * y)
    moved = layer.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    result = ground.copy()
    result.paste(moved, (0, 0), moved)
    return result


def _frame(scene: Image.Image, inks: Inks) -> Image.Image:
    """The scene reduced inside a dark frame and a pale mount."""
    side = scene.size[0]
    outer, mount = round(side * 0.06), round(side * 0.07)
    inner = scene.resize((side - 2 * (outer + mount),) * 2, Image.Resampling.BOX)
    mounted = ImageOps.expand(inner, border=mount, fill=shade(inks.accent, 1.6))
    return ImageOps.expand(mounted, border=outer, fill=shade(inks.second, 0.55))


def _reflect(scene: Image.Image, inks: Inks, rng: np.random.Generator) -> Image.Image:
    """The scene squeezed into the upper part, its darker rippled mirror image below."""
    side = scene.size[0]
    upper = round(side * 0.6)
    top = scene.resize((side, upper), Image.Resampling.BOX)
    mirror_YXC = np.asarray(top.transpose(Image.Transpose.FLIP_TOP_BOTTOM))[: side - upper]
    phase = rng.uniform(0, 2 * np.pi)
    rows = np.arange(side - upper)
    shift_Y = np.rint(0.02 * side * np.sin(rows / side * 40.0 + phase)).astype(int)
    rippled = np.stack(
        [np.roll(row, step, axis=0) for row, step in zip(mirror_YXC, shift_Y, strict=True)]
    )
    water_C = np.array(shade(inks.haze, 0.8), np.float32)
    lower = (0.62 * rippled + 0.38 * water_C).astype(np.uint8)
    lower[: max(1, side // 64)] = shade(inks.accent, 1.3)
    return Image.fromarray(np.concatenate([np.asarray(top), lower]))
