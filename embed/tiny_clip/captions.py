"""Captions of the picture grammar and the prompts that tell its values apart.

A caption names some of the four facets of a picture, each by one of three synonyms.
"""

from collections.abc import Sequence

import numpy as np

from embed.tiny_clip.pictures import FACETS, Picture

SYNONYMS: dict[str, dict[str, tuple[str, str, str]]] = {
    "palette": {
        "neon": ("neon", "fluorescent", "cyberpunk"),
        "pastel": ("pastel", "candy coloured", "soft pale"),
        "monochrome": ("monochrome", "black and white", "greyscale"),
        "sunset": ("sunset", "fiery orange", "golden hour"),
        "ocean": ("ocean", "deep blue", "aquatic"),
        "earth": ("earth", "brown and olive", "autumnal"),
        "jewel": ("jewel", "emerald and ruby", "opulent"),
        "muted": ("muted", "foggy", "desaturated"),
    },
    "subject": {
        "portrait": ("portrait", "face", "person"),
        "skyline": ("skyline", "city towers", "skyscrapers"),
        "mountains": ("mountains", "snowy peaks", "alpine summit"),
        "flower": ("flower", "blossom", "potted bloom"),
        "mosaic": ("mosaic", "geometric tiles", "patchwork pattern"),
        "forest": ("forest", "fir trees", "pine woods"),
        "waves": ("waves", "rolling sea", "surf"),
        "planet": ("planet", "ringed world", "saturn"),
        "cat": ("cat", "kitten", "feline"),
        "cottage": ("cottage", "little house", "cabin"),
    },
    "treatment": {
        "flat": ("flat", "vector", "clean graphic"),
        "grain": ("grain", "film noise", "gritty analog"),
        "glitch": ("glitch", "vhs", "broken screen"),
        "watercolor": ("watercolor", "painted wash", "aquarelle"),
        "bokeh": ("bokeh", "blurry lights", "dreamy"),
        "halftone": ("halftone", "comic dots", "screenprint"),
        "pixelated": ("pixelated", "retro game", "8 bit"),
        "motion": ("motion", "speed blur", "long exposure"),
    },
    "composition": {
        "centered": ("centered", "straight", "balanced"),
        "closeup": ("closeup", "macro", "zoomed in"),
        "minimal": ("minimal", "tiny in empty space", "negative space"),
        "tilted": ("tilted", "slanted", "dutch angle"),
        "framed": ("framed", "gallery", "bordered"),
        "reflected": ("reflected", "mirrored in water", "mirror image"),
    },
}

_CLAUSES: dict[str, tuple[str, ...]] = {
    "palette": ("in {} colours", "with a {} palette", "in {} tones"),
    "subject": ("a {}", "{}", "my {}"),
    "treatment": ("{} style", "{} effect", "with a {} look"),
    "composition": ("{} composition", "{} view", "{} framing"),
}
_OPENINGS = ("", "", "a picture of ", "artwork, ", "an image of ", "new piece, ")
_PROMPT_TEMPLATES: dict[str, tuple[str, ...]] = {
    "palette": ("a picture of art in {} colours", "{} colours", "with a {} palette", "in {} tones"),
    "subject": ("a picture of a {}", "a {}", "{}", "an image of a {}"),
    "treatment": ("{} style", "{} effect", "with a {} look", "a picture of {} style"),
    "composition": ("{} composition", "{} view", "{} framing", "a picture of {} composition"),
}


def describe(picture: Picture, facets: Sequence[str], rng: np.random.Generator) -> str:
    """A caption that names exactly `facets` of the picture.

    Raises:
        ValueError: No facet was asked for.
    """
    if not facets:
        raise ValueError("facets is empty: a caption must name at least one facet")
    words = {
        facet: SYNONYMS[facet][getattr(picture, facet)][int(rng.integers(3))] for facet in facets
    }
    clauses = {facet: _pick(_CLAUSES[facet], rng).format(word) for facet, word in words.items()}
    # An adjective before its noun is how titles are written: "neon cat, vhs effect".
    if "subject" in words and "palette" in words and rng.random() < 0.4:
        clauses["subject"] = f"{words['palette']} {words['subject']}"
        del clauses["palette"]
    elif "subject" in words and "treatment" in words and rng.random() < 0.3:
        clauses["subject"] = f"{words['treatment']} {words['subject']}"
        del clauses["treatment"]
    order = list(clauses)
    rng.shuffle(order)
    joint = ", " if rng.random() < 0.7 else " "
    return _pick(_OPENINGS, rng) + joint.join(clauses[facet] for facet in order)


def mentioned_facets(rng: np.random.Generator, partial: float = 1 / 3) -> tuple[str, ...]:
    """The facets a caption names: all of them or, with probability `partial`, one to three."""
    names = tuple(FACETS)
    if rng.random() >= partial:
        return names
    count = int(rng.integers(1, len(names)))
    chosen = set(rng.choice(len(names), size=count, replace=False).tolist())
    return tuple(name for index, name in enumerate(names) if index in chosen)


def caption(picture: Picture, rng: np.random.Generator) -> str:
    """A caption of the picture; a third of all captions leave facets out."""
    return describe(picture, mentioned_facets(rng), rng)


def prompts(facet: str, value: str) -> list[str]:
    """Every template with every synonym of one value, for zero-shot ensembling.

    Raises:
        KeyError: No such facet or value.
    """
    return [
        template.format(word)
        for template in _PROMPT_TEMPLATES[facet]
        for word in SYNONYMS[facet][value]
    ]


PROMPTS: dict[str, dict[str, list[str]]] = {
    facet: {value: prompts(facet, value) for value in values} for facet, values in FACETS.items()
}


def every_word() -> list[str]:
    """All words that captions and prompts are made of, sorted; the corpus of the vocabulary."""
    phrases = [
        phrase for values in SYNONYMS.values() for words in values.values() for phrase in words
    ]
    templates = [*_OPENINGS, *(t for ts in _CLAUSES.values() for t in ts)]
    templates += [t for ts in _PROMPT_TEMPLATES.values() for t in ts]
    text = " ".join([*phrases, *(template.replace("{}", " ") for template in templates)])
    return sorted({word.strip(",.") for word in text.split()} - {""})


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
