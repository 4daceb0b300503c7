"""What people talk about in subreddits that show no taste. Data only."""

from __future__ import annotations

from dataclasses import dataclass


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
        ("boss fights", "patch notes", "couch co-op games"),
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
