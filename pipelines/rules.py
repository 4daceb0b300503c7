"""Named rules that leave lines out. A line is dropped by the first rule that matches it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import polars as pl

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.forgotten import is_forgotten

DUPLICATE_ID = "duplicate_id"

# [removed], [deleted], \[deleted\], [deleted by user], [ Removed by Reddit ], and what was put in
# place of texts after copyright claims: one bracket, nothing else but a link to the policy in it.
_LINK = r"\[[^\[\]\n]{0,100}\]\([^()\s]{0,200}\)"
_GONE = (
    r"(?i)^\s*\\?\[\s*(?:removed|deleted|unavailable)\b"
    rf"[^\[\]\n]{{0,100}}(?:{_LINK}[^\[\]\n]{{0,100}})?\\?\]\s*$"
)
# "Abbot" and "Talbot" are people. Moderators of pics speak as "pics-ModTeam".
_BOT_NAME = r"(?i)(?:bot(?:[-_]\d*)?|[-_]bot[-_]?\d*|-modteam)$"
_HUMAN_NAME = r"(?i)(?:abbot|talbot|cabot)(?:[-_]\d*)?$"


@cache
def known_bots() -> frozenset[str]:
    """Names of well-known bots, lower case; from `bots.txt`."""
    text = resources.files("pipelines").joinpath("bots.txt").read_text(encoding="utf-8")
    names = (line.partition("#")[0].strip().lower() for line in text.splitlines())
    return frozenset(name for name in names if name)


def is_bot(author: pl.Expr, config: IngestConfig) -> pl.Expr:
    """Whether an author is a known bot, or is named like one."""
    bots = known_bots() | {name.lower() for name in config.bots}
    named = author.str.to_lowercase().is_in(sorted(bots))
    return named | (author.str.contains(_BOT_NAME) & ~author.str.contains(_HUMAN_NAME))


def is_gone(text: pl.Expr) -> pl.Expr:
    """Whether a text only says that there was one."""
    return text.str.contains(_GONE)


def is_profile(subreddit: pl.Expr) -> pl.Expr:
    """Whether a subreddit is a user's own page."""
    return subreddit.str.contains(r"(?i)^u_")


def is_own(subreddit: pl.Expr, author: pl.Expr) -> pl.Expr:
    """Whether a subreddit bears its author's name, which it would tell of them."""
    return subreddit.str.to_lowercase() == author.str.to_lowercase()


def rules(kind: Kind, config: IngestConfig) -> Mapping[str, pl.Expr]:
    """Rule name -> whether it matches a row of `pipelines.records`, in order of precedence.

    `duplicate_id` is not among them: it is the last rule, and it needs all versions of an id.
    """
    gone_text = ("title", "selftext") if kind == "RS" else ("body",)
    signals = [pl.col("was_deleted_later")]
    if kind == "RS":
        signals.append(pl.col("removed_by_category").fill_null("") != "")
    found = {
        "deleted_author": pl.col("author").is_null() | pl.col("author").str.contains(r"[\[\]]"),
        "removed_content": pl.any_horizontal(is_gone(pl.col(name)) for name in gone_text),
        "deletion_signal": pl.any_horizontal(signals),
    }
    forgotten = is_forgotten(pl.col("author"), config.key_file)
    if forgotten is not None:
        found["forgotten"] = forgotten
    if kind == "RS" and config.over_18 == "drop":
        found["over_18"] = pl.col("over_18")
    found["bot"] = is_bot(pl.col("author"), config)
    subreddit, author = pl.col("subreddit"), pl.col("author")
    found["profile_subreddit"] = is_profile(subreddit) | is_own(subreddit, author)
    found["missing_subreddit"] = pl.col("subreddit").is_null()
    return found


def first_rule(kind: Kind, config: IngestConfig) -> pl.Expr:
    """Name of the first rule that matches a row, null where none does."""
    matches = rules(kind, config).items()
    return pl.coalesce(
        [pl.when(match.fill_null(False)).then(pl.lit(name)) for name, match in matches]
    )
