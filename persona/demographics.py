"""Age band and region of users who say them of themselves; only where switched on. Pure.

Nothing is guessed: a band rests on a plain statement in the first person, and goes with a
contradiction, with any sign of a minor, and with too few users of the same band (`anonymity`).
Regions are those of the United Nations (M49), by names of places in `demographics.json`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files

import polars as pl

from persona.budget import estimate_tokens
from persona.items import DEMOGRAPHIC
from persona.privacy import sensitive_subreddit, words_of
from persona.tables import EVIDENCE

AGE, REGION = "age", "region"
BAND = "d:"  # begins the evidence ids of bands
ADULT, OLDEST = 18, 100
AGE_BANDS = (18, 25, 35, 45, 55, 65)  # each up to the next
_REGIONS: dict[str, list[str]] = json.loads(
    files("persona").joinpath("demographics.json").read_text("utf-8")
)
_REGION_OF = {place: region for region, places in _REGIONS.items() for place in places}
# What follows a number must end the statement, or say years: "I'm 30 minutes away" is no age.
_AGE = re.compile(
    r"\b(?:i am|i'm|im)(?: a| an)? (?P<age>\d{1,3})"
    r"(?=[\s-]?(?:years?[\s-]old|yrs?[\s-]old|y/?o\b)|[.,;!]|$)|"
    r"\bas an? (?P<told>\d{1,3})[\s-]years?[\s-]old"
)
_PLACES = "|".join(sorted(map(re.escape, _REGION_OF), key=len, reverse=True))
_PLACE = re.compile(rf"\b(?:i live in|i'm from|i am from|im from) (?P<place>{_PLACES})\b")
_UNSURE = re.compile(r"\b(?:if|when|until|till|unless|once|says?|said|pretend) ?$|[\"“>]")
# Wider than _AGE, for here a mistake may only be on the other side.
_YOUNG = re.compile(
    r"\b(?:i am|i'm|im|i turned|i just turned)(?: only| just| a| an)? (?:[1-9]|1[0-7])\b|"
    r"\b(?:i am|i'm|im) in (?:\w+ grade|middle school|high school)\b|"
    r"\bmy (?:mom|mum|dad|parents) won't let"
)
_TELLS = re.compile(
    r"\b(?:aged|age of|at age|at) \d{1,3}\b|"
    r"\b(?:in|his|her|their|early|mid|late)[ -](?:teens|(?:twen|thir|for|fif|six|seven)ties)\b|"
    r"\b(?:is|comes|lives?|living|based|born|raised|someone|person|user|adult|man|woman) "
    rf"(?:from|in) (?:{_PLACES})\b"
)

BANDS = {"user_id": pl.String, "kind": pl.String, "value": pl.String, "count": pl.Int64}


def stated(texts: Iterable[str]) -> dict[str, tuple[str, int]]:
    """What a user states of themselves: kind -> (band, number of statements).

    Contradictions are left out; whoever may have said that they are under 18 has none at all.
    """
    ages, regions = Counter[str](), Counter[str]()
    for text in texts:
        plain = text.lower().replace("’", "'")
        if _YOUNG.search(plain):
            return {}
        for found in _AGE.finditer(plain):
            age = int(found["age"] or found["told"])
            if ADULT <= age <= OLDEST and not _is_unsure(plain, found.start()):
                ages[age_band(age)] += 1
        for found in _PLACE.finditer(plain):
            if not _is_unsure(plain, found.start()):
                regions[_REGION_OF[found["place"]]] += 1
    told = {AGE: ages, REGION: regions}
    return {kind: (*counts.items(),)[0] for kind, counts in told.items() if len(counts) == 1}


def age_band(age: int) -> str:
    """ "25-34" of 30; "65+" of all above."""
    low = max(start for start in AGE_BANDS if start <= age)
    above = [start for start in AGE_BANDS if start > low]
    return f"{low}-{above[0] - 1}" if above else f"{low}+"


def stated_bands(snippets: pl.DataFrame, attended: pl.DataFrame) -> pl.DataFrame:
    """Bands of some users, columns `BANDS`; none of users of communities of or about minors.

    Args:
        snippets: user_id, text.
        attended: user_id, subreddit.
    """
    names = attended["subreddit"].unique().to_list()
    young = [name for name in names if sensitive_subreddit(name, words_of(name)) == "minors"]
    barred = attended.filter(pl.col("subreddit").is_in(young)).select("user_id")
    texts = snippets.join(barred, on="user_id", how="anti").group_by("user_id").agg("text")
    rows = [
        (user, kind, value, count)
        for user, told in texts.sort("user_id").iter_rows()
        for kind, (value, count) in stated(told).items()
    ]
    return pl.DataFrame(rows, schema=BANDS, orient="row")


def tells(text: str) -> bool:
    """Whether a text about somebody tells their age or where they are from."""
    return _TELLS.search(text.lower()) is not None


def states_any(texts: pl.Series) -> pl.Series:
    """Which texts state an age or a place of whoever wrote them; such texts are no evidence."""
    likely = texts.str.contains(r"(?i)\b(?:i['’]?m|i am|i live|turned|as an? \d)")
    told = [bool(one) and _states(text) for text, one in zip(texts, likely, strict=True)]
    return pl.Series(told, dtype=pl.Boolean)


def _states(text: str) -> bool:
    plain = text.lower().replace("’", "'")
    return any(pattern.search(plain) for pattern in (_AGE, _PLACE, _YOUNG))


def band_id(kind: pl.Expr, value: pl.Expr) -> pl.Expr:
    """Evidence id of a band: `d:age:25-34`."""
    return pl.lit(BAND) + kind + pl.lit(":") + value.str.to_lowercase().str.replace_all(" ", "-")


def band_rows(bands: pl.DataFrame) -> pl.DataFrame:
    """Bands as rows of EVIDENCE, and `order`; the texts that state them are no evidence."""
    place = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
    return bands.select(
        "user_id",
        evidence_id=band_id(pl.col("kind"), pl.col("value")),
        kind=pl.lit(DEMOGRAPHIC),
        subreddit=pl.lit(None, pl.String),
        facet="kind",
        text="value",
        weight=pl.col("count").cast(pl.Float64),
        inferred=pl.lit(False),
        tokens=estimate_tokens(pl.col("value")),
        order=1_500_000_000 + place,
    ).select(*EVIDENCE.schema.names, "order")


def _is_unsure(text: str, start: int) -> bool:
    """Whether the words before a statement make it another's, or no statement."""
    return _UNSURE.search(text[max(0, start - 12) : start]) is not None
