"""Phrases of the grounded verbalizer: templates, their choice, and small English grammar. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

# Attention says how much a place counts, not how often somebody came: that takes several texts.
INTEREST_STRONG = (
    "Puts {topic} before most other things",
    "Gives a large part of their attention to {topic}",
    "Is most at home with {topic}",
    "Follows {topic} more closely than most things",
)
INTEREST_OFTEN = (
    "Keeps coming back to {topic}",
    "Returns again and again to {topic}",
    "Comes back to {topic} time and again",
    "Takes a steady interest in {topic}",
    "Has {topic} among their regular stops",
)
INTEREST_PLAIN = (
    "Takes an interest in {topic}",
    "Makes room for {topic}",
    "Follows {topic}",
    "Has time for {topic}",
    "Is drawn to {topic}",
)
INTEREST_LIGHT = (
    "Looks in on {topic}",
    "Has a lighter interest in {topic}",
    "Shows a passing interest in {topic}",
    "Has some time for {topic}",
)
INTEREST_INFERRED = (
    "May also care for {topic}, as people of like interests do",
    "Might take to {topic}, which people of like interests follow",
    "Could well enjoy {topic}, to judge by people of like interests",
)
THEME_SUFFIX = (
    ", where the talk turns to {themes}",
    ", writing mostly about {themes}",
    ", with {themes} as the usual subject",
)
THEME_SOME = (
    ", touching more than once on {themes}",
    ", with some words on {themes}",
    ", writing now and then about {themes}",
)
THEME_ONCE = (
    ", with a word on {themes}",
    ", touching on {themes}",
    ", writing once about {themes}",
)
THEME_ACROSS = (
    "Brings up {theme} in more than one place",
    "Talks about {theme} across several communities",
    "Carries an interest in {theme} from one community to another",
)

TASTE_GRADES = (  # certainty from which a grade holds, its wordings
    (0.9, ("Strongly drawn to {things}", "Clearly fond of {things}", "Seeks out {things}")),
    (0.6, ("Drawn to {things}", "Likes {things}", "Has a taste for {things}")),
    (0.3, ("Leans toward {things}", "Tends to favor {things}")),
    (0.0, ("A slight leaning to {things}", "A faint preference for {things}")),
)
# Of what communities say, and no picture of the user's own.
TASTE_GRADES_INFERRED = (
    (0.9, ("Seems drawn to {things}", "Is likely fond of {things}", "Would seem to like {things}")),
    (0.6, ("May well like {things}", "Seems to have a taste for {things}")),
    (0.3, ("May lean toward {things}", "Perhaps favors {things}")),
    (0.0, ("May have a slight leaning to {things}", "Perhaps has a faint liking for {things}")),
)
DRAWN_FROM = 0.6

FACET_PHRASES: dict[str, tuple[str, ...]] = {
    "palette": ("{tags} colors", "{tags} tones", "{tags} palettes"),
    "subject": ("pictures of {plurals}", "{plurals} as subjects", "images of {plurals}"),
    "treatment": ("{tags} treatments", "{tags} looks", "work with {a_tags} treatment"),
    "medium": ("{plurals}",),
    "composition": ("{tags} compositions", "{tags} framing", "{tags} shots"),
    "mood": ("{tags} moods", "{a_tags} atmosphere"),
    "era": ("{tags} style", "{tags} looks"),
}
# How a tag is asked for in a prompt of an image generator.
FACET_FORMS = {
    "palette": "{tag} colors",
    "treatment": "{tag} treatment",
    "composition": "{tag} composition",
    "mood": "{tag} mood",
    "era": "{tag} style",
}
OTHER_FACET = ("{tags} as the {facet}",)

TRAIT_ADJECTIVES = {
    "warmth": ("warm", "friendly"),
    "enthusiasm": ("enthusiastic", "eager"),
    "curiosity": ("curious", "inquisitive"),
    "humour": ("playful", "humorous"),
    "thoughtfulness": ("thoughtful", "reflective"),
    "bluntness": ("blunt", "outspoken"),
    "nostalgia": ("nostalgic", "fond of the past"),
    "helpfulness": ("helpful", "ready with advice"),
}
TRAIT_CLAIMS = (
    "Comes across as {trait}, in {hits} of {total} remarks",
    "Sounds {trait} in {hits} of {total} remarks",
    "Tends to be {trait}: {hits} of {total} remarks show it",
)
TRAIT_CLAIMS_AT_TIMES = (
    "At times {trait}: {hits} of {total} remarks show it",
    "Now and then {trait}, in {hits} of {total} remarks",
)
OFTEN_SHARE = 1 / 3
BROAD = (
    "Spreads attention over many different subjects",
    "Divides attention widely instead of settling on one thing",
)
FOCUSED = (
    "Gathers attention on very few subjects",
    "Stays with a narrow set of subjects",
)

SUMMARY_STRONG = (  # well ahead of the next
    "Few things hold their attention like {first}; after that, {rest}.",
    "Much of what they do revolves around {first}, with {rest} beside it.",
    "This is someone with {first} at heart, who also follows {rest}.",
    "Above all else it is {first} that holds them, before {rest}.",
)
SUMMARY_MANY = (
    "Ask what occupies them and the answer is {first}, followed by {rest}.",
    "Attention here goes first to {first}, then to {rest}.",
    "The first thing to know is an interest in {first}, ahead of {rest}.",
    "They follow {first} and, after that, {rest}.",
)
SUMMARY_SPREAD = (
    "Their attention is spread over many places, above all {first}, then {rest}.",
    "No one thing dominates here; they look in on {first}, and on {rest}.",
    "They divide their attention between many things, with {first} ahead of {rest}.",
    "A person of many small interests, led by {first}, with {rest} close behind.",
)
SUMMARY_ONE = (
    "What shows of this person centers on {first}.",
    "Their activity gathers around {first}.",
    "The one interest that stands out is {first}.",
)
SUMMARY_NO_INTEREST = ("No single interest stands out in what this person does.",)
SUMMARY_TASTE = (
    "What they like to look at: {strong}",
    "Where pictures are concerned, they like {strong}",
    "In pictures, they are drawn to {strong}",
    "Visually, they favor {strong}",
    "Their eye goes to {strong}",
)
SUMMARY_TASTE_INFERRED = (
    "Their communities point to a liking for {strong}",
    "In pictures, they would seem drawn to {strong}",
    "Judging by the company they keep, their eye goes to {strong}",
    "Their visual taste appears to favor {strong}",
)
SUMMARY_TASTE_WEAK = (
    "In pictures, only a slight leaning shows, to {weak}.",
    "Their visual taste is not marked; there is a faint preference for {weak}.",
)
SUMMARY_WEAK_SUFFIX = (", with a slight leaning to {weak}.", ", and less clearly {weak}.")
SUMMARY_TRAITS = (
    "They often come across as {traits}.",
    "In tone they are often {traits}.",
    "Their remarks often sound {traits}.",
)
SUMMARY_TRAITS_AT_TIMES = (
    "At times they sound {traits}.",
    "Now and then they come across as {traits}.",
)
CAVEAT_INFERRED = (
    "The visual part is inferred from the communities they take part in, not from own pictures.",
    "As they have no pictures of their own to go by, the visual part rests on their communities.",
)
CAVEAT_PLAIN = (
    "Neither a visual taste nor a tone stands out beside it.",
    "Nothing shows of their visual taste, and no tone stands out.",
)
CAVEAT_THIN = (
    "There is too little evidence to say more.",
    "More than this the evidence does not support.",
)

_NAMES_OF_PICTURES = frozenset(("portrait", "landscape", "still life", "selfie", "abstract shapes"))
_UNCOUNTED = frozenset(
    (
        *("aircraft", "anime", "architecture", "art", "coffee", "fashion", "fish", "fog", "food"),
        *("furniture", "graffiti", "jewelry", "landscape", "nature", "needlework", "people"),
        *("sheep", "sky", "snow", "space", "street", "text", "typography", "water", "watercolor"),
        *("weather", "wildlife", "woodwork"),
    )
)


class Wording:
    """Chooses among wordings by a hash of seed, user and place: varied, and always the same."""

    def __init__(self, user_id: str, seed: int) -> None:
        self._key = f"{seed}:{user_id}:"

    def pick(self, place: str, options: Sequence[str], index: int = 0) -> str:
        """One of `options`; `place` names the gap in the text, so that gaps vary independently.

        Args:
            place: Name of the gap.
            options: To choose from.
            index: Place in a list of like gaps: neighbours never get the same wording.
        """
        digest = blake2b((self._key + place).encode(), digest_size=4).digest()
        return options[(int.from_bytes(digest, "big") + index) % len(options)]


def join_words(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def with_article(phrase: str) -> str:
    """The phrase with a or an, by its first letter."""
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """The plural of a noun phrase: "wild animal" -> "wild animals", "lake or river" of both."""
    if " or " in phrase:
        return " or ".join(map(plural, phrase.split(" or ")))
    *before, noun = phrase.split(" ")
    return " ".join([*before, _plural_noun(noun)])


def _plural_noun(noun: str) -> str:
    if noun in _UNCOUNTED or noun.endswith("s"):
        return noun
    if noun.endswith("fe"):
        return noun[:-2] + "ves"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("x", "ch", "sh", "z")) else "s")


def facet_phrase(wording: Wording, facet: str, tags: Sequence[str]) -> str:
    """A noun phrase for tags of one facet: "neon and jewel colors", "pictures of cats"."""
    templates = FACET_PHRASES.get(facet, OTHER_FACET)
    if facet == "subject" and not _NAMES_OF_PICTURES.isdisjoint(tags):
        templates = ("{plurals}",)
    # "framed framing": a template may not repeat the stem of a tag.
    fitting = [t for t in templates if not any(tag[:4] in t for tag in tags)]
    template = wording.pick(f"facet:{facet}", fitting or templates)
    joined = join_words(tags)
    return template.format(
        tags=joined,
        plurals=join_words([plural(tag) for tag in tags]),
        a_tags=with_article(joined),
        facet=facet,
    )
