"""The words of the sample world: what its subreddits are called and what people there talk about.

Data only. `VALUES` has an entry for every value of every facet of the picture grammar; `TOPICS` are
the interests of mixed subreddits, `HUB_TOPICS` those of hubs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Vocabulary of one facet value or topic.

    Args:
        prefix: First half of a subreddit name ("neon" in neoncats).
        suffix: Second half of a subreddit name ("nights" in pastelnights).
        adjectives: Fit before a noun: "such a ... picture".
        things: Countable, in the plural: "I love ...".
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
            ("neon", "fluorescent", "cyberpunk", "electric pink", "glowing"),
            ("neon signs", "glow tubes", "late night arcades", "ultraviolet colours"),
            ("an arcade after midnight", "a noodle bar full of signs", "the tube lights at work"),
        ),
        "pastel": Words(
            "pastel",
            "macarons",
            ("pastel", "candy coloured", "soft pale", "powdery", "milky pink"),
            ("pastel colours", "mint and lilac walls", "soft pinks", "candy shades"),
            ("an ice cream parlour", "a lilac staircase", "the pale pink pool house"),
        ),
        "monochrome": Words(
            "mono",
            "blackandwhite",
            ("monochrome", "black and white", "greyscale", "high contrast", "silvery"),
            ("deep blacks", "grey tones", "black and white prints", "hard shadows"),
            ("a stairwell at noon", "a rainy platform without colour", "the old silver print"),
        ),
        "sunset": Words(
            "sunset",
            "goldenhour",
            ("sunset", "fiery orange", "golden hour", "burning", "amber"),
            ("orange skies", "long evening shadows", "last rays", "red horizons"),
            ("the last ten minutes of sun", "a burning horizon", "the hill in evening light"),
        ),
        "ocean": Words(
            "deepblue",
            "blues",
            ("ocean", "deep blue", "aquatic", "cobalt", "cold blue"),
            ("deep blues", "cobalt shades", "aquarium colours", "every kind of blue"),
            ("a blue room with one window", "the cold blue hour", "an aquarium wall"),
        ),
        "earth": Words(
            "earthy",
            "autumncolours",
            ("earth toned", "brown and olive", "autumnal", "rusty", "ochre"),
            ("olive greens", "clay browns", "autumn colours", "rust and ochre tones"),
            ("a clay wall in october", "dry leaves on a bench", "the old brown sofa"),
        ),
        "jewel": Words(
            "jewel",
            "emeralds",
            ("jewel toned", "emerald and ruby", "opulent", "velvet", "gilded"),
            ("emerald greens", "ruby reds", "rich velvet colours", "gold accents"),
            ("an opera box", "a velvet curtain with gold trim", "the emerald ballroom"),
        ),
        "muted": Words(
            "muted",
            "foggycolours",
            ("muted", "foggy", "desaturated", "washed out", "dusty"),
            ("foggy mornings", "faded colours", "dusty greys", "quiet tones"),
            ("a harbour in the fog", "a faded curtain", "the field before sunrise"),
        ),
    },
    "subject": {
        "portrait": Words(
            "portrait",
            "faces",
            ("human", "expressive", "candid", "face filling"),
            ("portraits", "faces", "candid shots of strangers", "self portraits"),
            ("a face in a doorway", "my grandmother laughing", "a stranger on the tram"),
        ),
        "skyline": Words(
            "skyline",
            "towers",
            ("urban", "towering", "metropolitan", "downtown"),
            ("skylines", "city towers", "skyscrapers", "rooftop views"),
            ("downtown from the bridge", "the towers across the river", "a rooftop at night"),
        ),
        "mountains": Words(
            "mountain",
            "peaks",
            ("alpine", "snowy", "high altitude", "rugged"),
            ("mountains", "snowy peaks", "alpine summits", "ridge walks"),
            ("the ridge above the hut", "a summit after fresh snow", "the pass in june"),
        ),
        "flower": Words(
            "flower",
            "blossoms",
            ("blooming", "floral", "petalled", "springlike"),
            ("flowers", "blossoms", "potted blooms", "peonies and poppies"),
            ("one poppy on the windowsill", "my neighbour's dahlia", "the first blossom in april"),
        ),
        "mosaic": Words(
            "mosaic",
            "tiles",
            ("geometric", "tiled", "patterned", "patchwork"),
            ("mosaics", "geometric tiles", "patchwork patterns", "tiled floors"),
            ("the floor of the old bath house", "a tiled stairway", "a wall of tiny squares"),
        ),
        "forest": Words(
            "forest",
            "pines",
            ("wooded", "mossy", "evergreen", "sylvan"),
            ("forests", "fir trees", "pine woods", "forest paths"),
            ("the path behind the mill", "a stand of old firs", "the woods after rain"),
        ),
        "waves": Words(
            "wave",
            "surf",
            ("stormy", "rolling", "coastal", "tidal"),
            ("waves", "big swells", "surf breaks", "storm tides"),
            ("the pier in a storm", "a clean set at dawn", "the break behind the lighthouse"),
        ),
        "planet": Words(
            "planet",
            "orbits",
            ("ringed", "cosmic", "celestial", "interstellar"),
            ("planets", "ringed worlds", "moons", "imaginary star systems"),
            ("a ringed world over the ice", "saturn as I imagine it", "two moons rising"),
        ),
        "cat": Words(
            "cat",
            "cats",
            ("feline", "whiskered", "purring", "sleepy"),
            ("cats", "kittens", "grumpy old cats", "whiskers"),
            ("my cat on the radiator", "the shop cat", "a kitten in a bowl"),
        ),
        "cottage": Words(
            "cottage",
            "cabins",
            ("cosy", "rustic", "thatched", "tiny"),
            ("cottages", "little houses", "cabins", "thatched roofs"),
            ("the cabin by the lake", "a crooked little house", "the last cottage in the lane"),
        ),
    },
    "treatment": {
        "flat": Words(
            "vector",
            "flatdesign",
            ("flat", "vector", "clean", "graphic", "minimal line"),
            ("clean shapes", "vector drawings", "flat posters", "bold outlines"),
            ("a travel poster", "a clean vector drawing", "an icon set that got out of hand"),
        ),
        "grain": Words(
            "analog",
            "filmgrain",
            ("grainy", "analog", "gritty", "pushed", "expired film"),
            ("film grain", "expired rolls", "pushed film", "gritty scans"),
            ("a roll pushed two stops", "a scan straight from the lab", "my first roll in years"),
        ),
        "glitch": Words(
            "glitch",
            "vhs",
            ("glitchy", "vhs", "corrupted", "scanlined", "broken screen"),
            ("glitches", "vhs tapes", "scan lines", "broken screens"),
            ("a tape that was rewound too often", "a corrupted frame", "the set with a dying tube"),
        ),
        "watercolor": Words(
            "watercolor",
            "washes",
            ("watercolour", "painted", "washed", "loose", "aquarelle"),
            ("watercolours", "painted washes", "wet edges", "loose brush work"),
            ("a wash that dried too fast", "a page of my sketchbook", "twenty minutes of painting"),
        ),
        "bokeh": Words(
            "bokeh",
            "softfocus",
            ("dreamy", "blurry", "soft focus", "wide open", "hazy"),
            ("round lights", "soft backgrounds", "blurry lights", "vintage lenses"),
            ("fairy lights out of focus", "my old lens wide open", "a lamp seen through rain"),
        ),
        "halftone": Words(
            "halftone",
            "screenprints",
            ("halftone", "comic", "screenprinted", "dotted", "risograph"),
            ("comic dots", "screenprints", "halftone dots", "two colour prints"),
            ("a misregistered print", "a page from a pulp comic", "my first screenprint"),
        ),
        "pixelated": Words(
            "pixel",
            "eightbit",
            ("pixelated", "8 bit", "retro game", "low resolution", "chunky"),
            ("pixels", "sprites", "8 bit scenes", "retro game screens"),
            ("a level that never existed", "a 16 colour scene", "a sprite sheet from my game"),
        ),
        "motion": Words(
            "motion",
            "longexposure",
            ("blurred", "long exposure", "speeding", "streaked", "panned"),
            ("light trails", "long exposures", "speed blurs", "panning shots"),
            ("half a second by hand", "a train that did not stop", "traffic from the footbridge"),
        ),
    },
    "composition": {
        "centered": Words(
            "centered",
            "symmetry",
            ("centred", "balanced", "straight", "symmetrical"),
            ("balanced frames", "symmetrical shots", "straight lines", "centred subjects"),
            ("dead centre and I like it", "a frame with a spirit level", "perfect symmetry"),
        ),
        "closeup": Words(
            "macro",
            "closeups",
            ("close up", "macro", "zoomed in", "frame filling"),
            ("close ups", "macro shots", "tiny details", "textures"),
            ("three centimetres away", "the detail nobody sees", "as close as the lens goes"),
        ),
        "minimal": Words(
            "minimal",
            "negativespace",
            ("minimal", "sparse", "empty", "uncluttered"),
            ("empty space", "minimal frames", "negative space", "lonely little subjects"),
            ("one small thing and nothing else", "mostly empty sky", "a very quiet frame"),
        ),
        "tilted": Words(
            "tilted",
            "dutchangles",
            ("tilted", "slanted", "crooked", "dutch angle"),
            ("dutch angles", "crooked horizons", "slanted frames", "tilted shots"),
            ("a horizon I left crooked", "the camera on its corner", "everything sliding left"),
        ),
        "framed": Words(
            "framed",
            "passepartout",
            ("framed", "bordered", "matted", "gallery style"),
            ("borders", "picture frames", "wide mounts", "gallery walls"),
            ("a print in its mount", "a frame inside a frame", "the picture over my desk"),
        ),
        "reflected": Words(
            "reflected",
            "reflections",
            ("mirrored", "reflected", "doubled", "glassy"),
            ("reflections", "mirror images", "puddle shots", "still water"),
            ("a puddle after the storm", "the lake without wind", "everything twice"),
        ),
    },
}

SINGLE_SUFFIXES = ("daily", "club", "corner", "lovers", "archive", "addicts", "hour", "house")


@dataclass(frozen=True)
class Topic:
    """An interest that shows no taste.

    Args:
        name: Subreddit name, lower case.
        things: Plural nouns.
        events: What happened to people: "I ... yesterday".
    """

    name: str
    things: tuple[str, ...]
    events: tuple[str, ...]


TOPICS: tuple[Topic, ...] = (
    Topic(
        "weekendprojects",
        ("bookshelves", "cordless drills", "wobbly tables"),
        ("glued the wrong side", "built a birdhouse"),
    ),
    Topic(
        "breadbakers",
        ("sourdough starters", "rye loaves", "cast iron pots"),
        ("burned the crust", "got an open crumb"),
    ),
    Topic(
        "bikecommuters",
        ("mudguards", "chain lubes", "bike lanes"),
        ("rode through hail", "fixed a flat in the dark"),
    ),
    Topic(
        "boardgameshelf",
        ("worker placement games", "card sleeves", "co-op games"),
        ("lost by one point", "taught my parents a new game"),
    ),
    Topic(
        "slowcooking",
        ("stews", "lentils", "dutch ovens"),
        ("forgot the salt", "fed twelve people from one pot"),
    ),
    Topic(
        "homenetworkers",
        ("routers", "patch panels", "access points"),
        ("rewired the attic", "locked myself out of the switch"),
    ),
    Topic(
        "penpalsonline",
        ("letters", "stamps", "fountain pens"),
        ("got a letter from Norway", "wrote nine pages"),
    ),
    Topic(
        "trainwatchers",
        ("night trains", "timetables", "old carriages"),
        ("missed the last connection", "rode in the dining car"),
    ),
    Topic(
        "houseplanthelp",
        ("pothos cuttings", "grow lamps", "fungus gnats"),
        ("overwatered again", "found a new leaf"),
    ),
    Topic(
        "runningbeginners",
        ("shin splints", "running shoes", "5k plans"),
        ("ran ten minutes without a stop", "signed up for a race"),
    ),
    Topic(
        "languagetables",
        ("flash cards", "verb endings", "podcasts"),
        ("ordered coffee in Polish", "dreamt in Spanish"),
    ),
    Topic(
        "thriftfinds",
        ("wool coats", "lamps", "vinyl crates"),
        ("paid two euros", "found a working radio"),
    ),
    Topic(
        "coffeecorner",
        ("grinders", "pour over cones", "light roasts"),
        ("cleaned the machine at last", "switched to decaf"),
    ),
    Topic(
        "mapreaders",
        ("contour lines", "atlases", "border oddities"),
        ("walked an entire sheet", "found a misprint"),
    ),
    Topic(
        "puzzletable",
        ("jigsaws", "crosswords", "missing pieces"),
        ("finished the sky first", "lost a corner piece"),
    ),
    Topic(
        "oldradios",
        ("shortwave sets", "tubes", "antennas"),
        ("heard a station from Peru", "replaced a capacitor"),
    ),
    Topic(
        "campfirecooks",
        ("foil dinners", "camp stoves", "skewers"),
        ("cooked in the rain", "forgot the tin opener"),
    ),
    Topic(
        "studydesks",
        ("lamps", "notebooks", "standing desks"),
        ("cleared the desk", "finished the thesis chapter"),
    ),
    Topic(
        "choirpractice",
        ("altos", "warm ups", "sheet music"),
        ("missed the entry in bar nine", "sang in a stairwell"),
    ),
    Topic(
        "repaircafe",
        ("toasters", "zippers", "soldering stations"),
        ("fixed a blender", "saved a lamp from the bin"),
    ),
    Topic(
        "knittingcircle",
        ("sock yarns", "circular needles", "cable patterns"),
        ("dropped a stitch", "finished the second sock"),
    ),
    Topic(
        "cityallotment",
        ("tomato seedlings", "compost heaps", "slugs"),
        ("harvested eleven beans", "lost the lettuce to slugs"),
    ),
    Topic(
        "smallflats",
        ("fold out beds", "shelves", "thin walls"),
        ("moved for the fourth time", "measured the door twice"),
    ),
    Topic(
        "publiclibraries",
        ("reading rooms", "due dates", "audio books"),
        ("paid a fine from 2011", "found a note in a book"),
    ),
    Topic(
        "chesscafe",
        ("endgames", "blitz games", "opening traps"),
        ("hung my queen", "beat my uncle for once"),
    ),
)
TOPIC_PREFIXES = ("", "casual", "better", "ask", "true", "the", "budget", "local")

HUB_TOPICS: tuple[Topic, ...] = (
    Topic(
        "askeveryone",
        ("first jobs", "bad habits", "childhood rules"),
        ("said yes by mistake", "met my teacher again"),
    ),
    Topic(
        "worldheadlines",
        ("elections", "weather warnings", "rail strikes"),
        ("read past the headline", "checked the source"),
    ),
    Topic(
        "dailypictures",
        ("phone pictures", "lucky shots", "old scans"),
        ("took the long way home", "found this on an old card"),
    ),
    Topic(
        "todayifoundout",
        ("patents", "shipwrecks", "odd laws"),
        ("fell into a rabbit hole", "checked the footnotes"),
    ),
    Topic(
        "funnyclips",
        ("reaction clips", "fails", "talking parrots"),
        ("laughed in a meeting", "watched it six times"),
    ),
    Topic(
        "gamingplaza",
        ("boss fights", "patch notes", "couch co-op"),
        ("finished the game at last", "lost my save file"),
    ),
    Topic(
        "musicboard",
        ("b-sides", "live albums", "cover versions"),
        ("saw them in a tiny venue", "wore out the tape"),
    ),
    Topic(
        "moviechatter",
        ("sequels", "plot holes", "credit scenes"),
        ("fell asleep in the cinema", "cried at the end"),
    ),
    Topic(
        "lifehints",
        ("shopping lists", "stain removers", "calendars"),
        ("labelled every cable", "stopped snoozing"),
    ),
    Topic(
        "showertalk",
        ("elevators", "left socks", "doorbells"),
        ("thought about it all day", "could not unsee it"),
    ),
)
