"""Words for tastes: what taste subreddits are called, and how people there talk about pictures.

Data only. `VALUES` has an entry for every value of every facet of the picture grammar.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Vocabulary of one facet value.

    Args:
        prefix: First half of a subreddit name ("neon" in neoncats).
        suffix: Second half of a subreddit name ("nights" in pastelnights).
        adjectives: Fit a picture and "so ...": "a ... picture", "how did you get it so ...".
        things: In the plural: "I love ...".
        scenes: Noun phrases with an article: "shot of ...".
    """

    prefix: str
    suffix: str
    adjectives: tuple[str, ...]
    things: tuple[str, ...]
    scenes: tuple[str, ...]


VALUES: dict[str, dict[str, Words]] = {
    "palette": {
        "neon": Words(
            "neon",
            "nights",
            ("neon", "fluorescent", "electric", "glowing"),
            ("neon signs", "glow tubes", "late night arcades", "ultraviolet colours"),
            ("an arcade after midnight", "a noodle bar full of signs", "the tube lights at work"),
        ),
        "pastel": Words(
            "pastel",
            "macarons",
            ("pastel", "candy coloured", "pale", "powdery"),
            ("pastel colours", "mint and lilac walls", "soft pinks", "candy shades"),
            ("an ice cream parlour", "a lilac staircase", "the pale pink pool house"),
        ),
        "monochrome": Words(
            "mono",
            "blackandwhite",
            ("monochrome", "black and white", "stark", "silvery"),
            ("deep blacks", "grey tones", "black and white prints", "hard shadows"),
            ("a stairwell at noon", "a rainy platform without colour", "the old silver print"),
        ),
        "sunset": Words(
            "sunset",
            "goldenhour",
            ("fiery", "golden", "amber", "warm"),
            ("orange skies", "long evening shadows", "last rays", "red horizons"),
            ("the last ten minutes of sun", "a burning horizon", "the hill in evening light"),
        ),
        "ocean": Words(
            "deepblue",
            "blues",
            ("blue", "cobalt", "aquatic", "cool toned"),
            ("deep blues", "cobalt shades", "aquarium colours", "blues of every kind"),
            ("a blue room with one window", "the cold blue hour", "an aquarium wall"),
        ),
        "earth": Words(
            "earthy",
            "autumncolours",
            ("earthy", "autumnal", "rusty", "ochre"),
            ("olive greens", "clay browns", "autumn colours", "rust and ochre tones"),
            ("a clay wall in october", "dry leaves on a bench", "the old brown sofa"),
        ),
        "jewel": Words(
            "jewel",
            "emeralds",
            ("opulent", "jewel toned", "velvety", "rich"),
            ("emerald greens", "ruby reds", "rich velvet colours", "gold accents"),
            ("an opera box", "a velvet curtain with gold trim", "the emerald ballroom"),
        ),
        "muted": Words(
            "muted",
            "foggycolours",
            ("muted", "foggy", "faded", "dusty"),
            ("foggy mornings", "faded colours", "dusty greys", "quiet tones"),
            ("a harbour in the fog", "a faded curtain", "the field before sunrise"),
        ),
    },
    "subject": {
        "portrait": Words(
            "portrait",
            "faces",
            ("expressive", "honest", "candid", "intimate"),
            ("portraits", "faces", "candid shots of strangers", "self portraits"),
            ("a face in a doorway", "my grandmother laughing", "a stranger on the tram"),
        ),
        "skyline": Words(
            "skyline",
            "towers",
            ("urban", "towering", "busy", "vertical"),
            ("skylines", "city towers", "skyscrapers", "rooftop views"),
            ("downtown from the bridge", "the towers across the river", "a rooftop at night"),
        ),
        "mountains": Words(
            "mountain",
            "peaks",
            ("alpine", "snowy", "majestic", "rugged"),
            ("mountains", "snowy peaks", "alpine summits", "ridge walks"),
            ("the ridge above the hut", "a summit after fresh snow", "the pass in june"),
        ),
        "flower": Words(
            "flower",
            "blossoms",
            ("delicate", "floral", "fresh", "springlike"),
            ("flowers", "blossoms", "potted blooms", "peonies and poppies"),
            ("one poppy on the windowsill", "my neighbour's dahlia", "the first blossom in april"),
        ),
        "mosaic": Words(
            "mosaic",
            "tiles",
            ("geometric", "intricate", "patterned", "precise"),
            ("mosaics", "geometric tiles", "patchwork patterns", "tiled floors"),
            ("the floor of the old bath house", "a tiled stairway", "a wall of tiny squares"),
        ),
        "forest": Words(
            "forest",
            "pines",
            ("mossy", "quiet", "evergreen", "wild"),
            ("forests", "fir trees", "pine woods", "forest paths"),
            ("the path behind the mill", "a stand of old firs", "the woods after rain"),
        ),
        "waves": Words(
            "wave",
            "surf",
            ("stormy", "salty", "rough", "restless"),
            ("waves", "big swells", "surf breaks", "storm tides"),
            ("the pier in a storm", "a clean set at dawn", "the break behind the lighthouse"),
        ),
        "planet": Words(
            "planet",
            "orbits",
            ("cosmic", "otherworldly", "vast", "alien"),
            ("planets", "ringed worlds", "moons", "imaginary star systems"),
            ("a ringed world over the ice", "saturn as I imagine it", "two moons rising"),
        ),
        "cat": Words(
            "cat",
            "cats",
            ("fluffy", "smug", "sleepy", "catlike"),
            ("cats", "kittens", "grumpy old cats", "whiskers"),
            ("my cat on the radiator", "the shop cat", "a kitten in a bowl"),
        ),
        "cottage": Words(
            "cottage",
            "cabins",
            ("cosy", "rustic", "homely", "crooked"),
            ("cottages", "little houses", "cabins", "thatched roofs"),
            ("the cabin by the lake", "a crooked little house", "the last cottage in the lane"),
        ),
    },
    "treatment": {
        "flat": Words(
            "vector",
            "flatdesign",
            ("flat", "clean", "graphic", "simple", "crisp"),
            ("clean shapes", "vector drawings", "flat posters", "bold outlines"),
            ("a travel poster", "a clean vector drawing", "an icon set that got out of hand"),
        ),
        "grain": Words(
            "analog",
            "filmgrain",
            ("grainy", "analog", "gritty", "rough"),
            ("grainy frames", "expired rolls", "pushed film", "gritty scans"),
            ("a roll pushed two stops", "a scan straight from the lab", "my first roll in years"),
        ),
        "glitch": Words(
            "glitch",
            "vhs",
            ("glitchy", "broken", "corrupted", "noisy"),
            ("glitches", "vhs tapes", "scan lines", "broken screens"),
            ("a tape that was rewound too often", "a corrupted frame", "the set with a dying tube"),
        ),
        "watercolor": Words(
            "watercolor",
            "washes",
            ("painterly", "watery", "loose", "soft edged"),
            ("watercolours", "painted washes", "wet edges", "loose brush work"),
            ("a wash that dried too fast", "a page of my sketchbook", "twenty minutes of painting"),
        ),
        "bokeh": Words(
            "bokeh",
            "softfocus",
            ("dreamy", "blurry", "soft", "hazy"),
            ("round lights", "soft backgrounds", "blurry lights", "vintage lenses"),
            ("fairy lights out of focus", "my old lens wide open", "a lamp seen through rain"),
        ),
        "halftone": Words(
            "halftone",
            "screenprints",
            ("dotted", "inky", "comic", "punchy"),
            ("comic dots", "screenprints", "halftone dots", "two colour prints"),
            ("a misregistered print", "a page from a pulp comic", "my first screenprint"),
        ),
        "pixelated": Words(
            "pixel",
            "eightbit",
            ("pixelated", "retro", "low resolution", "chunky"),
            ("pixels", "sprites", "8 bit scenes", "retro game screens"),
            ("a level that never existed", "a 16 colour scene", "a sprite sheet from my game"),
        ),
        "motion": Words(
            "motion",
            "longexposure",
            ("blurred", "fast", "streaky", "restless"),
            ("light trails", "long exposures", "speed blurs", "panning shots"),
            ("half a second by hand", "a train that did not stop", "traffic from the footbridge"),
        ),
    },
    "composition": {
        "centered": Words(
            "centered",
            "symmetry",
            ("balanced", "straight", "symmetrical", "orderly"),
            ("balanced frames", "symmetrical shots", "straight lines", "centred subjects"),
            ("dead centre and I like it", "a frame with a spirit level", "perfect symmetry"),
        ),
        "closeup": Words(
            "macro",
            "closeups",
            ("close", "detailed", "tactile", "zoomed in"),
            ("close ups", "macro shots", "tiny details", "textures"),
            ("three centimetres away", "the detail nobody sees", "as close as the lens goes"),
        ),
        "minimal": Words(
            "minimal",
            "negativespace",
            ("minimal", "sparse", "empty", "uncluttered"),
            ("empty spaces", "minimal frames", "plain backdrops", "lonely little subjects"),
            ("one small thing and nothing else", "mostly empty sky", "a very quiet frame"),
        ),
        "tilted": Words(
            "tilted",
            "dutchangles",
            ("tilted", "crooked", "off balance", "slanted"),
            ("dutch angles", "crooked horizons", "slanted frames", "tilted shots"),
            ("a horizon I left crooked", "the camera on its corner", "everything sliding left"),
        ),
        "framed": Words(
            "framed",
            "passepartout",
            ("bordered", "tidy", "neat", "gallery ready"),
            ("borders", "picture frames", "wide mounts", "gallery walls"),
            ("a print in its mount", "a frame inside a frame", "the picture over my desk"),
        ),
        "reflected": Words(
            "reflected",
            "reflections",
            ("mirrored", "glassy", "still", "doubled"),
            ("reflections", "mirror images", "puddle shots", "still ponds"),
            ("a puddle after the storm", "the lake without wind", "everything twice"),
        ),
    },
}

SINGLE_SUFFIXES = ("daily", "club", "corner", "lovers", "archive", "addicts", "hour", "house")
