"""Lines beyond doubt -> rows that passed the rules: `pipelines.rows` by column, without objects.

Whatever is unusual about a line makes it odd, and odd lines are read by `pipelines.rows`. What a
name means (whose pseudonym, a bot or not) is worked out once for each name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.forgotten import forgotten_ids
from pipelines.media import MEDIA_KEYS
from pipelines.native.columns import (
    AUTHOR,
    EDITED,
    FLAG,
    ID,
    LINK,
    META,
    NUMBER,
    REQUIRED,
    SKIP,
    SUBREDDIT,
    TEXT_FIELD,
    TIME,
    Column,
    Lines,
    Odd,
    Recipe,
    read_lines,
)
from pipelines.native.media import media_of
from pipelines.native.names import MAX_NAMES, NameTable
from pipelines.native.scan import Field, Spans
from pipelines.native.texts import Texts, texts_of
from pipelines.pseudonym import ID_CHARS, Pseudonyms
from pipelines.rows import (
    REJECTS_SCHEMA,
    Parsed,
    Tally,
    parse_batch,
    posted_urls,
    total,
    unsigned,
)
from pipelines.rules import is_bot, is_gone, is_profile
from pipelines.text import PLAIN_SINCE_UTC, shown
from pipelines.urls import MAX_URL_CHARS

_COMMON = {
    "id": ID | REQUIRED,
    "created_utc": TIME | REQUIRED,
    "retrieved_on": TIME,
    "retrieved_utc": TIME,
    "edited": EDITED,
    "author": AUTHOR,
    "subreddit": SUBREDDIT,
    "score": NUMBER,
    "_meta": META,
}
_SUBMISSION = {
    "title": TEXT_FIELD | REQUIRED,
    "selftext": TEXT_FIELD,
    "url": TEXT_FIELD,
    "num_comments": NUMBER,
    "over_18": FLAG,
    "removed_by_category": TEXT_FIELD,
    "crosspost_parent": LINK,
}
RECIPES: Mapping[Kind, Recipe] = {
    "RS": Recipe(dict.fromkeys(MEDIA_KEYS, SKIP) | _COMMON | _SUBMISSION),
    "RC": Recipe(_COMMON | {"body": TEXT_FIELD | REQUIRED, "link_id": LINK}),
}
_TEXTS_OF_KIND: Mapping[Kind, tuple[str, ...]] = {"RS": ("title", "selftext"), "RC": ("body",)}

Rows = npt.NDArray[np.intp]
Codes = npt.NDArray[np.int64]
_NO_LIMIT = 2**62
# Lines scanned at once: their spans take 10 MB.
MAX_LINES = 1 << 16


class _Authors:
    """What is known of the authors seen so far, by code."""

    def __init__(self, config: IngestConfig, pseudonyms: Pseudonyms) -> None:
        self._config = config
        self._pseudonyms = pseudonyms
        self._forgotten = np.array(sorted(forgotten_ids(config.key_file)), f"S{ID_CHARS}")
        self.table = NameTable.of_authors()
        self._forget()

    def _forget(self) -> None:
        self.table.clear()
        self._ids = np.empty(0, f"S{ID_CHARS}")
        self._names = pl.Series([], dtype=pl.String())
        self.is_bot = np.empty(0, np.bool_)
        self.is_forgotten = np.empty(0, np.bool_)

    def forget_if_many(self) -> None:
        """Begins anew with an empty table when it has grown large; no code holds after that."""
        if self.table.count > MAX_NAMES:
            self._forget()

    def learn(self) -> None:
        """Works out what the new names of the table mean."""
        new = self.table.names(len(self._ids))
        if len(new):
            names = self.table.arena, self.table.offsets[len(self._ids) : self.table.count + 1]
            ids = np.frombuffer(self._pseudonyms.ids_in(*names), self._ids.dtype)
            bots = new.to_frame("author").select(is_bot(pl.col("author"), self._config))
            self._ids = np.concatenate([self._ids, ids])
            self._names = pl.concat([self._names, new], rechunk=True)
            self.is_bot = np.concatenate([self.is_bot, bots.to_series().to_numpy()])
            forgotten = np.isin(ids, self._forgotten)
            self.is_forgotten = np.concatenate([self.is_forgotten, forgotten])

    def user_ids(self, codes: Codes) -> pl.Series:
        """User ids of codes, none of which is -1."""
        offsets = np.arange(len(codes) + 1, dtype=np.int64) * ID_CHARS
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._ids[codes])]
        return pl.Series(pa.Array.from_buffers(pa.large_string(), len(codes), buffers))

    def names(self, codes: Codes) -> pl.Series:
        """Their names in lower case."""
        return self._names.gather(codes)


class _Subreddits:
    """Names of the subreddits seen so far, by code."""

    def __init__(self) -> None:
        self.table = NameTable.of_subreddits()
        self._forget()

    def _forget(self) -> None:
        self.table.clear()
        self._names = pl.Series([], dtype=pl.String())
        self.is_profile = np.empty(0, np.bool_)

    def forget_if_many(self) -> None:
        """As `_Authors.forget_if_many`."""
        if self.table.count > MAX_NAMES:
            self._forget()

    def learn(self) -> None:
        """As `_Authors.learn`."""
        new = self.table.names(self._names.len())
        if len(new):
            self._names = pl.concat([self._names, new])
            found = new.to_frame("name").select(is_profile(pl.col("name"))).to_series()
            self.is_profile = np.concatenate([self.is_profile, found.to_numpy()])

    def names(self, codes: Codes) -> pl.Series:
        """Names of codes, none of which is -1."""
        return self._names.gather(codes)


class LineParser:
    """Batches of lines of one kind of dump -> `Parsed`; remembers names between batches.

    Args:
        kind: RS or RC.
        config: Rules, and length of texts.
        pseudonyms: Names the users.
    """

    def __init__(self, kind: Kind, config: IngestConfig, pseudonyms: Pseudonyms) -> None:
        self._kind = kind
        self._config = config
        self._pseudonyms = pseudonyms
        self._authors = _Authors(config, pseudonyms)
        self._subreddits = _Subreddits()

    def parse(self, data: Any, first_line: int, dump: tuple[int, str]) -> Parsed:
        """What whole lines of a dump gave; equal to `rows.parse_batch` but for the order of rows.

        Args:
            data: Whole lines, as bytes or another buffer.
            first_line: Number of the first, from 1.
            dump: Position among the dumps of the month, and label.
        """
        buffer = np.frombuffer(data, np.uint8)
        parts: list[Parsed] = []
        position = 0
        recipe = RECIPES[self._kind]
        while position < buffer.size or not parts:
            self._authors.forget_if_many()
            self._subreddits.forget_if_many()
            names = (self._authors.table, self._subreddits.table)
            lines = read_lines(buffer, position, MAX_LINES, recipe, *names)
            self._authors.learn()
            self._subreddits.learn()
            parts += self._parts(lines, first_line, dump)
            position = lines.spans.next_position
            first_line += len(lines.is_odd)
        if len(parts) == 1:
            return parts[0]
        return Parsed(
            versions=pl.concat([part.versions for part in parts], how="diagonal"),
            rejects=pl.concat([part.rejects for part in parts]),
            tally=total(part.tally for part in parts),
        )

    def _parts(self, lines: Lines, first_line: int, dump: tuple[int, str]) -> list[Parsed]:
        fast = self._fast(lines, first_line, dump[0])
        odd = np.flatnonzero(lines.is_odd)
        return [fast, self._slow(lines.spans, odd, first_line, dump)] if len(odd) else [fast]

    def _slow(self, spans: Spans, rows: Rows, first_line: int, dump: tuple[int, str]) -> Parsed:
        bounds = zip(spans.line_L[rows].tolist(), spans.line_end_L[rows].tolist(), strict=True)
        lines = [spans.buffer[begin:end].tobytes() for begin, end in bounds]
        parsed = parse_batch(
            self._kind,
            b"\n".join([*lines, b""]),
            0,
            dump=dump,
            config=self._config,
            pseudonyms=self._pseudonyms,
        )
        number = pl.Series(rows + first_line, dtype=pl.Int64())
        real = pl.col("line_number").map_batches(number.gather, pl.Int64())
        other = {**parsed.tally.other, "crlf_lines": 0}
        return Parsed(
            parsed.versions.with_columns(real),
            parsed.rejects.with_columns(real),
            replace(parsed.tally, other=other),
        )

    def _matches(self, lines: Lines) -> dict[str, Odd]:
        """Rule name -> lines that it matches, in order of precedence, as `rules.rules`."""
        columns = lines.columns
        author, subreddit = columns["author"].values, columns["subreddit"].values
        deleted = columns["was_deleted_later"].values != 0
        if self._kind == "RS":
            removed = Field.of(lines.spans, "removed_by_category")
            says_who = columns["removed_by_category"].is_valid & (removed.end_L > removed.start_L)
            deleted = deleted | says_who
        found = {
            "deleted_author": author < 0,
            "removed_content": _is_gone(lines, _TEXTS_OF_KIND[self._kind]),
            "deletion_signal": deleted,
        }
        found["forgotten"] = (author >= 0) & _at_codes(self._authors.is_forgotten, author)
        if self._kind == "RS" and self._config.over_18 == "drop":
            found["over_18"] = columns["over_18"].values != 0
        found["bot"] = (author >= 0) & _at_codes(self._authors.is_bot, author)
        is_profile = _at_codes(self._subreddits.is_profile, subreddit)
        found["profile_subreddit"] = (subreddit >= 0) & is_profile
        found["profile_subreddit"][self._own(author, subreddit)] = True
        found["missing_subreddit"] = subreddit < 0
        return found

    def _own(self, author: Codes, subreddit: Codes) -> Rows:
        """Lines whose subreddit bears the name of their author, as `rules.is_own`."""
        if not (self._authors.table.count and self._subreddits.table.count):
            return np.empty(0, np.intp)
        hashes = self._authors.table.hashes[author], self._subreddits.table.hashes[subreddit]
        rows = np.flatnonzero((author >= 0) & (subreddit >= 0) & (hashes[0] == hashes[1]))
        names = self._authors.names(author[rows]), self._subreddits.names(subreddit[rows])
        return rows[(names[0] == names[1]).to_numpy()]

    def _fast(self, lines: Lines, first_line: int, dump_order: int) -> Parsed:
        is_free = ~lines.is_odd
        num_lines = int(np.count_nonzero(is_free))
        dropped: Counter[str] = Counter()
        for rule, matches in self._matches(lines).items():
            hit = is_free & matches
            dropped[rule] += int(np.count_nonzero(hit))
            is_free &= ~hit
        kept, stubs = np.flatnonzero(is_free), np.flatnonzero(~is_free & ~lines.is_odd)
        order = _order(lines, first_line, dump_order)
        rows, albums = self._rows(lines, kept)
        versions = pl.concat(
            [
                pl.concat([order[kept].with_columns(kept=pl.lit(True)), rows], how="horizontal"),
                order[stubs].with_columns(kept=pl.lit(False)),
            ],
            how="diagonal",
        )
        tally = Tally(
            rows_in=num_lines,
            dropped=+dropped,
            other={"crlf_lines": lines.spans.num_crlf, "albums_lost": albums},
        )
        return Parsed(versions, pl.DataFrame(schema=REJECTS_SCHEMA), tally)

    def _rows(self, lines: Lines, kept: Rows) -> tuple[pl.DataFrame, int]:
        """The columns that tables hold, of lines that no rule dropped, and the albums lost."""
        columns, spans = lines.columns, lines.spans
        author = columns["author"].values[kept]
        created = columns["created_utc"].values[kept]

        def column(key: str, dtype: pl.DataType) -> pl.Series:
            return columns[key].take(kept).to_series(dtype)

        found = {
            "user_id": self._authors.user_ids(author),
            "subreddit": self._subreddits.names(columns["subreddit"].values[kept]),
            "created_utc": pl.Series(created),
            "score": column("score", pl.Int32()),
            "edited_utc": column("edited", pl.Int64()),
        }
        for key in _TEXTS_OF_KIND[self._kind]:
            field = Field.of(spans, key).take(kept)
            is_escaped = created < PLAIN_SINCE_UTC
            raw = texts_of(field, self._config.max_text_chars, is_escaped=is_escaped)
            raw.mark_names(self._authors.table.arena, self._authors.table.offsets, author)
            found[key] = self._cleaned(raw, author)
        if self._kind == "RC":
            return pl.DataFrame(found | {"submission_id": column("link_id", pl.UInt64())}), 0
        found["num_comments"] = column("num_comments", pl.Int32())
        found["over_18"] = pl.Series(columns["over_18"].values[kept] != 0)
        found["crosspost_parent"] = column("crosspost_parent", pl.UInt64())
        found["url"] = self._posted(Field.of(spans, "url").take(kept), author)
        found["media"], albums = media_of(spans, kept, self._config.over_18 == "keep")
        return pl.DataFrame(found), albums

    def _cleaned(self, raw: Texts, author: Codes) -> pl.Series:
        texts, rows = raw.to_series(), np.flatnonzero(raw.needs_care)
        if not len(rows):
            return texts
        clean = texts.gather(rows).to_frame("t").select(shown(pl.col("t"))).to_series()
        return _replaced(
            texts, rows, unsigned(clean, self._authors.names(author[rows]), self._config)
        )

    def _posted(self, field: Field, author: Codes) -> pl.Series:
        """Column `url`: as `rows.posted_urls` where that may change a url, else as posted."""
        raw = texts_of(field, MAX_URL_CHARS, is_line=True)
        raw.mark_names(self._authors.table.arena, self._authors.table.offsets, author)
        care = raw.needs_care | (raw.offsets[1:] == raw.offsets[:-1])
        urls, rows = raw.to_series(), np.flatnonzero(care)
        if not len(rows):
            return urls
        careful = posted_urls(urls.gather(rows), self._authors.names(author[rows]))
        return _replaced(urls, rows, careful)


def _order(lines: Lines, first_line: int, dump_order: int) -> pl.DataFrame:
    """What decides between versions of a line's id."""
    seen = [lines.columns[k] for k in ("retrieved_on", "retrieved_utc", "retrieved_2nd_on")]
    none = np.iinfo(np.int64).min
    latest = np.maximum.reduce([np.where(when.is_valid, when.values, none) for when in seen])
    numbers = np.arange(first_line, first_line + len(lines.is_odd), dtype=np.int64)
    return pl.DataFrame(
        {
            "id": pl.Series(lines.columns["id"].values.view(np.uint64)),
            "retrieved_utc": Column(latest, latest != none).to_series(pl.Int64()),
            "line_number": numbers,
        }
    ).with_columns(dump_order=pl.lit(dump_order, pl.Int32()))


def _replaced(texts: pl.Series, rows: Rows, by: pl.Series) -> pl.Series:
    """`texts` with those at `rows` replaced."""
    source = np.arange(len(texts))
    source[rows] = len(texts) + np.arange(len(rows))
    return pl.concat([texts, by.cast(pl.String())]).gather(source)


def _at_codes(known: Odd, codes: Codes) -> Odd:
    """What is known of each code; anything for -1."""
    return known[codes] if len(known) else np.zeros(len(codes), np.bool_)


def _is_gone(lines: Lines, keys: tuple[str, ...]) -> Odd:
    gone = np.zeros(len(lines.is_odd), np.bool_)
    for key in keys:
        rows = np.flatnonzero(lines.columns[key].values)
        if len(rows):
            texts = texts_of(Field.of(lines.spans, key).take(rows), _NO_LIMIT).to_series()
            gone[rows] |= texts.to_frame("t").select(is_gone(pl.col("t"))).to_series().to_numpy()
    return gone
