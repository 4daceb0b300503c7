"""Lines of one dump -> rows that passed the rules, and what became of every other line.

This is what a Beam worker computes for one batch; nothing here knows Beam.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.media import images_of
from pipelines.pseudonym import Pseudonyms
from pipelines.records import NO_OBJECT, Reason, Records, parse_comments, parse_submissions
from pipelines.rules import DUPLICATE_ID, first_rule
from pipelines.text import cleaned, masked, without_own_names
from pipelines.urls import MAX_URL_CHARS

REJECTS_SCHEMA = {
    "dump": pl.String(),
    "line_number": pl.Int64(),
    "reason": pl.String(),
    "line_bytes": pl.Int64(),
}


@dataclass(frozen=True)
class Tally:
    """How many lines, and what became of them. Tallies add up.

    Args:
        rows_in: Lines that are not blank.
        rows_out: Rows kept.
        rejected: By reason.
        dropped: By rule.
        other: Further counts, by name.
    """

    rows_in: int = 0
    rows_out: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, int] = field(default_factory=dict)


def total(tallies: Iterable[Tally]) -> Tally:
    """Their sum, with sorted names."""
    rows_in = rows_out = 0
    rejected, dropped, other = Counter[str](), Counter[str](), Counter[str]()
    for tally in tallies:
        rows_in += tally.rows_in
        rows_out += tally.rows_out
        rejected.update(tally.rejected)
        dropped.update(tally.dropped)
        other.update(tally.other)
    named = (dict(sorted((+count).items())) for count in (rejected, dropped, other))
    return Tally(rows_in, rows_out, *named)


@dataclass(frozen=True)
class Parsed:
    """What one batch of lines gave.

    Args:
        versions: One row a readable line: `id`, `retrieved_utc`, `dump_order`, `line_number`,
            `kept`, and, where kept, the columns of its table (media nested for submissions).
            Lines that a rule dropped stay as such stubs: a later one outdates an earlier version.
        rejects: Rows of REJECTS.
        tally: Of the lines; `rows_out` is 0 as long as duplicates are among the versions.
    """

    versions: pl.DataFrame
    rejects: pl.DataFrame
    tally: Tally


def parse_batch(
    kind: Kind,
    data: bytes,
    first_line: int,
    *,
    dump: tuple[int, str],
    config: IngestConfig,
    pseudonyms: Pseudonyms,
) -> Parsed:
    """Whole lines of a dump -> their versions of submissions or comments.

    Args:
        kind: RS or RC.
        data: Whole lines.
        first_line: Number of the first, from 1.
        dump: Position among the dumps of the month, and label.
        config: Rules, and length of texts.
        pseudonyms: Names the users.
    """
    parse = parse_submissions if kind == "RS" else parse_comments
    records = parse(data, first_line)
    frame = records.frame.with_columns(
        rule=first_rule(kind, config),
        retrieved_utc=pl.max_horizontal("retrieved_on", "retrieved_utc", "retrieved_2nd_on"),
        dump_order=pl.lit(dump[0], pl.Int32()),
    )
    is_kept = frame["rule"].is_null()
    order = ["id", "retrieved_utc", "dump_order", "line_number"]
    stubs = frame.filter(~is_kept).select(order).with_columns(kept=pl.lit(False))
    kept = frame.filter(is_kept)
    albums = 0
    if kind == "RS":
        shown = [fields for fields, keep in zip(records.shown, is_kept, strict=True) if keep]
        media, albums = media_column(shown, config.over_18 == "keep")
        rows = _submissions(kept, config).with_columns(media)
    else:
        rows = _comments(kept, config)
    users = pl.Series("user_id", pseudonyms.user_ids(kept["author"].to_list()), pl.String())
    rows = rows.with_columns(users, kept=pl.lit(True))
    rejects = [(dump[1], number, str(reason), size) for number, reason, size in records.rejects]
    return Parsed(
        versions=pl.concat([rows, stubs], how="diagonal"),
        rejects=pl.DataFrame(rejects, REJECTS_SCHEMA, orient="row"),
        tally=_tally(records, frame["rule"], albums),
    )


def with_cut_lines(parsed: Parsed, numbers: Collection[int]) -> Parsed:
    """The same, but lines of these numbers that are no objects were cut by damage to the dump."""
    cut = pl.col("line_number").is_in(list(numbers)) & pl.col("reason").is_in(NO_OBJECT)
    reason = pl.when(cut).then(pl.lit(Reason.CUT_LINE.value)).otherwise("reason")
    rejects = parsed.rejects.with_columns(reason.alias("reason"))
    rejected = Counter(rejects["reason"].to_list())
    return replace(parsed, rejects=rejects, tally=replace(parsed.tally, rejected=rejected))


def _tally(records: Records, rules: pl.Series, albums: int) -> Tally:
    return Tally(
        rows_in=records.num_lines,
        rejected=Counter(str(reason) for _, reason, _ in records.rejects),
        dropped=Counter(rules.drop_nulls().to_list()),
        other={
            "blank_lines": records.num_blank,
            "crlf_lines": records.num_crlf,
            "albums_lost": albums,
        },
    )


def _shared() -> list[pl.Expr]:
    return [
        pl.col("id", "retrieved_utc", "dump_order", "line_number", "created_utc", "score"),
        pl.col("subreddit").str.to_lowercase(),
        pl.col("edited").alias("edited_utc"),
    ]


def _comments(kept: pl.DataFrame, config: IngestConfig) -> pl.DataFrame:
    submission = pl.col("link_id").alias("submission_id")
    return kept.select(*_shared(), submission, *cleaned_texts(kept, kept["author"], config, "body"))


def _submissions(kept: pl.DataFrame, config: IngestConfig) -> pl.DataFrame:
    return kept.select(
        *_shared(),
        *cleaned_texts(kept, kept["author"], config, "title", "selftext"),
        posted_urls(kept["url"], kept["author"]),
        pl.col("num_comments", "over_18", "crosspost_parent"),
    )


def posted_urls(urls: pl.Series, authors: pl.Series) -> pl.Series:
    """Column `url`: as posted, `&amp;` undone, users masked; null for none and for those too long.

    One link in a hundred leads to a site that its author's name is part of.
    """
    posted = pl.col("url").str.replace_all("&amp;", "&", literal=True).str.strip_chars()
    printable = posted.str.replace_all(r"\p{Cc}", "")
    fits = printable.str.len_chars().is_between(1, MAX_URL_CHARS)
    shown = urls.to_frame("url").select(pl.when(fits).then(masked(printable))).to_series()
    return without_own_names(shown, authors)


def cleaned_texts(
    rows: pl.DataFrame, authors: pl.Series, config: IngestConfig, *names: str
) -> list[pl.Series]:
    """The named columns as tables hold them; `rows` has created_utc too."""
    clean = rows.select(cleaned(pl.col(n).fill_null(""), pl.col("created_utc")) for n in names)
    return [unsigned(text, authors, config) for text in clean]


def unsigned(texts: pl.Series, authors: pl.Series, config: IngestConfig) -> pl.Series:
    """Clean texts without the names of their authors, and no longer than they may be."""
    return without_own_names(texts, authors).str.head(config.max_text_chars)


def media_column(shown: Sequence[Mapping[str, Any]], over_18: bool) -> tuple[pl.Series, int]:
    """Column `media`, nested, and the number of albums that nothing stands for."""
    urls: list[str] = []
    sources: list[str] = []
    ends = [0]
    num_lost = 0
    for fields in shown:
        images, is_lost_album = images_of(fields, over_18)
        urls += [image.url for image in images]
        sources += [image.source for image in images]
        ends.append(len(urls))
        num_lost += is_lost_album
    structs = pa.StructArray.from_arrays(
        [pa.array(urls, pa.string()), pa.array(sources, pa.string())], names=["url", "source"]
    )
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)
    return pl.Series("media", lists), num_lost


def winners(versions: pl.DataFrame) -> tuple[pl.DataFrame, Tally]:
    """The version of each id that counts, sorted by id; the other kept ones are duplicates.

    The latest retrieval wins; an unknown one is the earliest. Of those retrieved at once, one that
    a rule dropped wins (what is gone in one is gone), then the first in the order of the dumps. If
    the winner was dropped, nothing of the id remains.
    """
    ids = versions["id"].sort()
    if not (ids == ids.shift(1)).any():
        latest = versions.filter("kept").sort("id")
        return latest, Tally(rows_out=latest.height)
    ordered = versions.sort(
        "id",
        "retrieved_utc",
        "kept",
        "dump_order",
        "line_number",
        descending=[False, True, False, False, False],
        nulls_last=True,
    )
    latest = ordered.unique("id", keep="first", maintain_order=True).filter("kept")
    num_lost = int(versions["kept"].sum()) - latest.height
    return latest, Tally(rows_out=latest.height, dropped={DUPLICATE_ID: num_lost})
