"""Texts as dumps hold them -> texts as tables hold them: unescaped, printable, without names."""

from __future__ import annotations

import re

import polars as pl

# Reddit's API escaped `&`, `<` and `>`, and nothing else; files to 2023-03 hold that, later ones
# hold the plain text, where a written-out "&lt;" is what the user typed.
PLAIN_SINCE_UTC = 1_680_307_200  # 2023-04-01
_ESCAPES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
# What the editors leave in texts: fillers that show nothing.
_FILLERS = {"&#x200B;": "", "&#x200b;": "", "&nbsp;": " ", "\r\n": "\n", "\r": "\n"}
# Control characters but newline and tab; invisible marks; marks that turn the reading direction.
_UNPRINTABLE = (
    r"[[\p{Cc}\u{00AD}\u{200B}\u{200E}\u{200F}\u{202A}-\u{202E}\u{2060}\u{2066}-\u{2069}\u{FEFF}]"
    r"&&[^\n\t]]"
)
MASK = "u/[user]"
# u/name, /u/name, /user/name (also in links), with underscores escaped as the editor does; @name.
MENTION = r"(?i)(?:\B/)?\b(?:u|user)/(?:[a-z0-9-]|\\?_)+|\B@(?:[a-z0-9-]|\\?_){2,}"


def cleaned(text: pl.Expr, created_utc: pl.Expr) -> pl.Expr:
    """`text` unescaped by era, printable, with mentions of users masked.

    Args:
        text: Strings.
        created_utc: Epoch seconds; says whether the text is escaped.
    """
    plain = text.str.replace_many(_ESCAPES)
    return shown(pl.when(created_utc < PLAIN_SINCE_UTC).then(plain).otherwise(text))


def shown(text: pl.Expr) -> pl.Expr:
    """What `cleaned` makes of a text without Reddit's escapes."""
    printable = text.str.replace_many(_FILLERS, leftmost=True).str.replace_all(_UNPRINTABLE, "")
    return masked(printable).str.strip_chars()


def masked(text: pl.Expr) -> pl.Expr:
    """`text` with every mention of a user as `u/[user]`."""
    return text.str.replace_all(MENTION, MASK)


def without_own_names(texts: pl.Series, names: pl.Series) -> pl.Series:
    """`texts` with the name beside each, which may sign it, as `u/[user]` too.

    Args:
        texts: Strings.
        names: The author of each; found as a whole word, in any case, underscores escaped or not.
    """
    told = pl.col("texts").str.to_lowercase().str.replace_all(r"\_", "_", literal=True)
    holds = told.str.contains(pl.col("names").str.to_lowercase(), literal=True)
    signed = pl.DataFrame({"texts": texts, "names": names}).with_row_index().filter(holds)
    if signed.is_empty():
        return texts
    pairs = zip(signed["texts"], signed["names"], strict=True)
    return texts.clone().scatter(
        signed["index"], [_without_name(text, name) for text, name in pairs]
    )


def _without_name(text: str, name: str) -> str:
    word = re.escape(name).replace("_", r"\\?_")
    return re.sub(rf"(?<![A-Za-z0-9_-]){word}(?![A-Za-z0-9_-])", MASK, text, flags=re.IGNORECASE)


# White space but single spaces: a pattern that matched those too would be four times as slow.
_SPACES = r"[^\S ]\s*| \s+"


def one_line(text: pl.Expr, max_chars: int) -> pl.Expr:
    """`text` with white space runs as one space, at most `max_chars` characters."""
    return text.str.replace_all(_SPACES, " ").str.strip_chars().str.head(max_chars)
