"""The ten subjects of the picture grammar, each drawn in unit coordinates on a transparent layer.

A subject fills the unit square with y pointing down and looks at a `Pen`, which knows the size of
the layer in pixels and the five role colours of the palette.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Inks:
    """Role colours of one picture, each RGB in [0, 255]."""

    sky: Colour
    haze: Colour
    main: Colour
    second: Colour
    accent: Colour


class Pen:
    """Draws shapes given in unit coordinates on a square RGBA layer."""

    def __init__(self, size: int, inks: Inks) -> None:
        self.layer = Image.new("RGBA", (size, size), (*inks.haze, 0))
        self.inks = inks
        self._draw = ImageDraw.Draw(self.layer)
        self._size = size

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill the polygon through `points`."""
        self._draw.polygon([(x * self._size, y * self._size) for x, y in points], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill an upright rectangle."""
        self._draw.rectangle(self._bounds(left, top, right, bottom), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour, stretch: float = 1.0) -> None:
        """Fill an ellipse whose height is `stretch` times its width."""
        tall = radius * stretch
        self._draw.ellipse(self._bounds(x - radius, y - tall, x + radius, y + tall), fill=fill)

    def arc(
        self,
        bounds: tuple[float, float, float, float],
        span: tuple[float, float],
        fill: Colour,
        width: float,
    ) -> None:
        """Stroke the part of an ellipse between two angles in degrees."""
        stroke = max(1, round(width * self._size))
        self._draw.arc(self._bounds(*bounds), *span, fill=fill, width=stroke)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Stroke the open line through `points`."""
        stroke = max(1, round(width * self._size))
        self._draw.line(
            [(x * self._size, y * self._size) for x, y in points],
            fill=fill,
            width=stroke,
            joint="curve",
        )

    def _bounds(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[float, float, float, float]:
        size = self._size
        return (left * size, top * size, right * size, bottom * size)


Painter = Callable[[Pen, np.random.Generator], None]


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor < 1) or lighter (factor > 1, towards white)."""
    if factor <= 1.0:
        red, green, blue = (round(channel * factor) for channel in colour)
    else:
        red, green, blue = (round(255 - (255 - channel) / factor) for channel in colour)
    return (red, green, blue)


def portrait(pen: Pen, rng: np.random.Generator) -> None:
    """Head and shoulders with one of three hair styles."""
    inks = pen.inks
    hair, face = shade(inks.second, 0.6), inks.main
    style = int(rng.integers(3))
    width = rng.uniform(0.17, 0.2)
    if style == 0:
        pen.disc(0.5, 0.42, width + 0.07, hair, 1.25)
        pen.box(0.5 - width - 0.07, 0.42, 0.5 + width + 0.07, 0.72, hair)
    pen.disc(0.5, 1.0, 0.36, inks.second, 0.85)
    pen.box(0.43, 0.56, 0.57, 0.76, shade(face, 0.8))
    pen.disc(0.5, 0.42, width, face, 1.3)
    if style == 1:
        pen.arc((0.5 - width - 0.02, 0.16, 0.5 + width + 0.02, 0.6), (180, 360), hair, 0.09)
        pen.box(0.5 - width - 0.08, 0.3, 0.5 + width + 0.08, 0.345, hair)
    else:
        fringe = ((-1.0, 0.36), (-0.7, 0.17), (0.0, 0.13), (0.75, 0.18), (1.0, 0.36), (0.3, 0.28))
        pen.polygon([(0.5 + x * width, y) for x, y in (*fringe, (-0.4, 0.3))], hair)
    for side in (-1, 1):
        pen.disc(0.5 + side * width * 0.45, 0.42, 0.032, inks.accent)
        pen.disc(0.5 + side * width * 0.45, 0.42, 0.016, shade(hair, 0.5))
    pen.line([(0.5, 0.44), (0.485, 0.5), (0.505, 0.5)], shade(face, 0.7), 0.012)
    pen.arc((0.44, 0.48, 0.56, 0.58), (20, 160), shade(inks.second, 0.7), 0.018)


def skyline(pen: Pen, rng: np.random.Generator) -> None:
    """A row of towers with lit windows, a second row behind it."""
    inks = pen.inks
    for row, (colour, low, high) in enumerate(((inks.second, 0.22, 0.5), (inks.main, 0.36, 0.68))):
        left = rng.uniform(-0.08, 0.0)
        while left < 1.0:
            width = rng.uniform(0.12, 0.2)
            top = rng.uniform(low, high)
            pen.box(left, top, left + width, 1.0, shade(colour, rng.uniform(0.85, 1.1)))
            if rng.random() < 0.25:
                pen.box(left + width / 2 - 0.01, top - 0.09, left + width / 2 + 0.01, top, colour)
            if row == 1:
                _windows(pen, rng, left, top, width)
            left += width + rng.uniform(0.0, 0.03)


def _windows(pen: Pen, rng: np.random.Generator, left: float, top: float, width: float) -> None:
    columns = max(2, round(width / 0.055))
    step = width / columns
    for column in range(columns):
        y = top + 0.04
        while y < 0.95:
            if rng.random() < 0.6:
                x = left + (column + 0.25) * step
                pen.box(x, y, x + step * 0.5, y + 0.035, pen.inks.accent)
            y += 0.075


def mountains(pen: Pen, rng: np.random.Generator) -> None:
    """Sharp snow-capped peaks under a small sun."""
    inks = pen.inks
    pen.disc(rng.choice([0.16, 0.84]) + rng.uniform(-0.04, 0.04), 0.16, 0.075, inks.accent)
    peaks = [(0.22, 0.42, 0.36), (0.78, 0.4, 0.36), (0.5, 0.24, 0.44)]
    for index, (centre, top, half) in enumerate(peaks):
        x, y = centre + rng.uniform(-0.07, 0.07), top + rng.uniform(-0.05, 0.05)
        colour = inks.main if index == 2 else inks.second
        pen.polygon([(x - half, 1.0), (x, y), (x + half, 1.0)], colour)
        pen.polygon([(x, y), (x + half, 1.0), (x + half * 0.25, 1.0)], shade(colour, 0.78))
        slope = half / (1.0 - y)
        snow = 0.15
        pen.polygon(
            [
                (x, y),
                (x - slope * snow, y + snow),
                (x - slope * snow * 0.3, y + snow * 0.7),
                (x + slope * snow * 0.2, y + snow * 1.05),
                (x + slope * snow, y + snow),
            ],
            shade(inks.accent, 1.9),
        )


def flower(pen: Pen, rng: np.random.Generator) -> None:
    """One big blossom on an upright stem with two leaves, in a pot."""
    inks = pen.inks
    pen.line([(0.5, 0.4), (0.5, 0.88)], shade(inks.second, 0.75), 0.035)
    for side, height in ((-1, 0.72), (1, 0.66)):
        leaf = ((0.0, 0.06), (0.12, -0.06), (0.24, -0.05), (0.15, 0.04))
        outline = [(0.5 + side * x, height + y) for x, y in leaf]
        pen.polygon(outline, shade(inks.second, 0.75))
    pen.polygon([(0.36, 0.84), (0.64, 0.84), (0.6, 1.0), (0.4, 1.0)], inks.second)
    num_petals = int(rng.integers(5, 9))
    turn = rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.17, 0.2)
    for petal in range(num_petals):
        angle = turn + 2 * np.pi * petal / num_petals
        pen.disc(
            0.5 + reach * np.cos(angle), 0.34 + reach * np.sin(angle), 0.125, shade(inks.main, 0.85)
        )
        pen.disc(0.5 + reach * np.cos(angle), 0.34 + reach * np.sin(angle), 0.1, inks.main)
    pen.disc(0.5, 0.34, 0.105, shade(inks.accent, 0.8))
    pen.disc(0.5, 0.34, 0.08, inks.accent)


def mosaic(pen: Pen, rng: np.random.Generator) -> None:
    """A square field of four by four tiles: plain, halved, dotted or quartered."""
    inks = pen.inks
    colours = (inks.main, inks.second, inks.accent, shade(inks.main, 1.5), inks.haze)
    step = 0.25
    pen.box(0.0, 0.0, 1.0, 1.0, shade(inks.main, 0.45))
    for row in range(4):
        for column in range(4):
            first, other = rng.choice(5, size=2, replace=False)
            left, top = column * step + 0.012, row * step + 0.012
            right, bottom = left + step - 0.024, top + step - 0.024
            pen.box(left, top, right, bottom, colours[first])
            kind = int(rng.integers(4))
            if kind == 1:
                pen.polygon([(left, top), (right, top), (left, bottom)], colours[other])
            elif kind == 2:
                pen.disc((left + right) / 2, (top + bottom) / 2, 0.075, colours[other])
            elif kind == 3:
                pen.box(left, top, (left + right) / 2, (top + bottom) / 2, colours[other])


def forest(pen: Pen, rng: np.random.Generator) -> None:
    """Two rows of pointed firs, the nearer ones darker and larger."""
    inks = pen.inks
    for row, (colour, foot, height, count) in enumerate(
        ((inks.second, 0.86, 0.56, 7), (inks.main, 1.0, 0.66, 5))
    ):
        for index in range(count):
            x = (index + 0.5 + rng.uniform(-0.2, 0.2)) / count
            tall = height * rng.uniform(0.8, 1.12)
            half = 0.09 + 0.03 * row
            tone = shade(colour, rng.uniform(0.85, 1.08))
            pen.box(x - 0.015, foot - 0.1, x + 0.015, foot + 0.1, shade(colour, 0.5))
            for tier in range(3):
                top = foot - 0.06 - tall + tier * tall * 0.27
                wide = half * (0.55 + 0.225 * tier)
                pen.polygon(
                    [(x - wide, top + tall * 0.42), (x, top), (x + wide, top + tall * 0.42)], tone
                )
    pen.box(0.0, 0.97, 1.0, 1.0, shade(inks.main, 0.6))


def waves(pen: Pen, rng: np.random.Generator) -> None:
    """Rolling bands of water below a large low sun."""
    inks = pen.inks
    pen.disc(rng.uniform(0.35, 0.65), 0.3, rng.uniform(0.15, 0.18), inks.accent)
    x_P = np.linspace(0.0, 1.0, 33)
    for band in range(5):
        height = 0.42 + band * 0.125
        phase = rng.uniform(0, 2 * np.pi)
        crest_P = height + 0.045 * np.sin(x_P * 2 * np.pi * rng.uniform(1.8, 2.4) + phase)
        crest = list(zip(x_P.tolist(), crest_P.tolist(), strict=True))
        colour = inks.main if band % 2 else inks.second
        pen.polygon([*crest, (1.0, 1.0), (0.0, 1.0)], shade(colour, 1.0 + 0.05 * band))
        pen.line(crest, shade(inks.accent, 1.4), 0.014)


def planet(pen: Pen, rng: np.random.Generator) -> None:
    """A banded planet with a level ring among stars."""
    inks = pen.inks
    for x, y in rng.uniform(0.03, 0.97, size=(14, 2)):
        pen.disc(float(x), float(y), rng.uniform(0.006, 0.014), inks.accent)
    radius = rng.uniform(0.25, 0.29)
    ring = (0.5 - radius * 1.62, 0.5 - radius * 0.42, 0.5 + radius * 1.62, 0.5 + radius * 0.42)
    pen.arc(ring, (180, 360), inks.accent, 0.04)
    pen.disc(0.5, 0.5, radius, inks.main)
    for offset, tone in ((-0.5, 1.35), (0.05, 0.75), (0.55, 1.2)):
        y = offset * radius
        half = float(np.sqrt(radius**2 - y**2)) * 0.96
        pen.box(0.5 - half, 0.5 + y - 0.03, 0.5 + half, 0.5 + y + 0.03, shade(inks.second, tone))
    pen.disc(0.5 - radius * 0.4, 0.5 - radius * 0.45, radius * 0.16, shade(inks.main, 1.8))
    pen.arc(ring, (0, 180), inks.accent, 0.04)


def cat(pen: Pen, rng: np.random.Generator) -> None:
    """A sitting cat seen from the front, its tail curled to one side."""
    inks = pen.inks
    side = int(rng.choice([-1, 1]))
    dark = shade(inks.main, 0.75)
    tail = (0.62, 0.58, 0.9, 0.96) if side > 0 else (0.1, 0.58, 0.38, 0.96)
    pen.arc(tail, (250, 470) if side > 0 else (70, 290), dark, 0.055)
    pen.disc(0.5, 0.78, 0.215, inks.main, 1.1)
    pen.disc(0.5, 0.84, 0.12, shade(inks.main, 1.5), 1.1)
    for ear in (-1, 1):
        pen.polygon(
            [(0.5 + ear * 0.04, 0.24), (0.5 + ear * 0.21, 0.08), (0.5 + ear * 0.22, 0.36)],
            inks.main,
        )
        pen.polygon(
            [(0.5 + ear * 0.1, 0.22), (0.5 + ear * 0.18, 0.14), (0.5 + ear * 0.19, 0.29)],
            inks.second,
        )
    pen.disc(0.5, 0.39, 0.22, inks.main, 0.88)
    slit = rng.uniform(0.014, 0.026)
    for eye in (-1, 1):
        pen.disc(0.5 + eye * 0.095, 0.37, 0.05, inks.accent)
        pen.disc(0.5 + eye * 0.095, 0.37, slit, shade(inks.main, 0.25), 1.8)
        pen.line([(0.5 + eye * 0.08, 0.47), (0.5 + eye * 0.3, 0.45)], inks.accent, 0.012)
        pen.line([(0.5 + eye * 0.08, 0.49), (0.5 + eye * 0.29, 0.52)], inks.accent, 0.012)
    pen.polygon([(0.47, 0.45), (0.53, 0.45), (0.5, 0.49)], inks.second)


def cottage(pen: Pen, rng: np.random.Generator) -> None:
    """A gabled house with a smoking chimney on a strip of ground."""
    inks = pen.inks
    side = int(rng.choice([-1, 1]))
    pen.disc(0.5, 1.0, 0.6, shade(inks.second, 0.7), 0.22)
    chimney = 0.5 + side * 0.2
    pen.box(chimney - 0.04, 0.2, chimney + 0.04, 0.42, shade(inks.main, 0.7))
    for puff in range(3):
        pen.disc(
            chimney + side * 0.035 * puff,
            0.15 - 0.06 * puff,
            0.028 + 0.012 * puff,
            shade(inks.haze, 1.3),
        )
    pen.box(0.23, 0.48, 0.77, 0.9, inks.second)
    pen.polygon([(0.13, 0.5), (0.5, rng.uniform(0.18, 0.24)), (0.87, 0.5)], inks.main)
    door = 0.5 + side * 0.1
    pen.box(door - 0.07, 0.64, door + 0.07, 0.9, shade(inks.main, 0.8))
    window = 0.5 - side * 0.13
    pen.box(window - 0.085, 0.58, window + 0.085, 0.74, inks.accent)
    pen.line([(window, 0.58), (window, 0.74)], inks.main, 0.015)
    pen.line([(window - 0.085, 0.66), (window + 0.085, 0.66)], inks.main, 0.015)


PAINTERS: dict[str, Painter] = {
    "portrait": portrait,
    "skyline": skyline,
    "mountains": mountains,
    "flower": flower,
    "mosaic": mosaic,
    "forest": forest,
    "waves": waves,
    "planet": planet,
    "cat": cat,
    "cottage": cottage,
}
