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
from pipelines.native import values
from pipelines.native.media import media_of
from pipelines.native.names import MAX_NAMES, NameTable
from pipelines.native.scan import TRUE, Field, Keys, Spans, members, scan_lines
from pipelines.native.values import Nullable, Odd, Texts
from pipelines.pseudonym import ID_CHARS, Pseudonyms
from pipelines.rows import (
    REJECTS_SCHEMA,
    Parsed,
    Tally,
    cleaned_texts,
    parse_batch,
    posted_urls,
    total,
)
from pipelines.rules import is_bot, is_gone, is_profile
from pipelines.urls import MAX_URL_CHARS

_COMMON = (
    "id",
    "created_utc",
    "retrieved_on",
    "retrieved_utc",
    "edited",
    "author",
    "subreddit",
    "score",
    "_meta",
)
_SUBMISSION = (
    "title",
    "selftext",
    "url",
    "num_comments",
    "over_18",
    "removed_by_category",
    "crosspost_parent",
)
KEYS_OF_KIND: Mapping[Kind, Keys] = {
    "RS": Keys.of(list(dict.fromkeys((*_COMMON, *_SUBMISSION, *MEDIA_KEYS)))),
    "RC": Keys.of((*_COMMON, "body", "link_id")),
}
_META_KEYS = Keys.of(("was_deleted_later", "retrieved_2nd_on"))
_TEXTS_OF_KIND: Mapping[Kind, tuple[str, ...]] = {"RS": ("title", "selftext"), "RC": ("body",)}

Rows = npt.NDArray[np.intp]
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
        self.is_bot = np.empty(0, np.bool_)
        self.is_forgotten = np.empty(0, np.bool_)

    def codes(self, field: Field, is_odd: Odd) -> npt.NDArray[np.int32]:
        """Code of each line's author, -1 for none; the codes hold until the next call."""
        if self.table.count > MAX_NAMES:
            self._forget()
        codes = self.table.codes(field, is_odd)
        new = self.table.names(len(self._ids))
        if new:
            ids = np.array(self._pseudonyms.user_ids(new), self._ids.dtype)
            bots = pl.DataFrame({"author": new}).select(is_bot(pl.col("author"), self._config))
            self._ids = np.concatenate([self._ids, ids])
            self.is_bot = np.concatenate([self.is_bot, bots.to_series().to_numpy()])
            forgotten = np.isin(ids, self._forgotten)
            self.is_forgotten = np.concatenate([self.is_forgotten, forgotten])
        return codes

    def user_ids(self, codes: npt.NDArray[np.int32]) -> pl.Series:
        """User ids of codes, none of which is -1."""
        offsets = np.arange(len(codes) + 1, dtype=np.int64) * ID_CHARS
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._ids[codes])]
        return pl.Series(pa.Array.from_buffers(pa.large_string(), len(codes), buffers))

    def names(self, codes: npt.NDArray[np.int32]) -> pl.Series:
        """Their names in lower case."""
        table = self.table
        found = [
            table.arena[a:b].tobytes().decode()
            for a, b in zip(table.offsets[codes], table.offsets[codes + 1], strict=True)
        ]
        return pl.Series(found, dtype=pl.String())


class _Subreddits:
    """Names of the subreddits seen so far, by code."""

    def __init__(self) -> None:
        self.table = NameTable.of_subreddits()
        self._names = pl.Series([], dtype=pl.String())
        self.is_profile = np.empty(0, np.bool_)

    def codes(self, field: Field, is_odd: Odd) -> npt.NDArray[np.int32]:
        """Code of each line's subreddit, -1 for none."""
        if self.table.count > MAX_NAMES:
            self.__init__()  # type: ignore[misc]
        codes = self.table.codes(field, is_odd)
        new = self.table.names(self._names.len())
        if new:
            names = pl.Series(new, dtype=pl.String())
            self._names = pl.concat([self._names, names])
            found = names.to_frame("name").select(is_profile(pl.col("name"))).to_series()
            self.is_profile = np.concatenate([self.is_profile, found.to_numpy()])
        return codes

    def names(self, codes: npt.NDArray[np.int32]) -> pl.Series:
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
        while position < buffer.size or not parts:
            spans = scan_lines(buffer, KEYS_OF_KIND[self._kind], position, MAX_LINES)
            parts += self._parts(spans, first_line, dump)
            position, first_line = spans.next_position, first_line + len(spans.line_L)
        if len(parts) == 1:
            return parts[0]
        return Parsed(
            versions=pl.concat([part.versions for part in parts], how="diagonal"),
            rejects=pl.concat([part.rejects for part in parts]),
            tally=total(part.tally for part in parts),
        )

    def _parts(self, spans: Spans, first_line: int, dump: tuple[int, str]) -> list[Parsed]:
        is_odd = spans.is_odd_L.copy()
        columns = self._columns(spans, is_odd)
        fast = self._fast(spans, columns, is_odd, first_line, dump[0])
        if not is_odd.any():
            return [fast]
        return [fast, self._slow(spans, np.flatnonzero(is_odd), first_line, dump)]

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

    def _columns(self, spans: Spans, is_odd: Odd) -> dict[str, Any]:
        """The typed values of all lines; lines with unusual ones become odd."""

        def field(key: str) -> Field:
            return Field.of(spans, key)

        deleted, seen_again = members(field("_meta"), _META_KEYS, is_odd)
        found: dict[str, Any] = {
            "id": values.ids(field("id"), is_odd),
            "created_utc": values.times(field("created_utc"), is_odd),
            "edited_utc": values.times(field("edited"), is_odd, edited=True),
            "score": values.numbers(field("score"), is_odd),
            "author": self._authors.codes(field("author"), is_odd),
            "subreddit": self._subreddits.codes(field("subreddit"), is_odd),
            "was_deleted_later": deleted.kind_L == TRUE,
        }
        seen = [field("retrieved_on"), field("retrieved_utc"), seen_again]
        found["retrieved_utc"] = _latest([values.times(when, is_odd) for when in seen])
        is_odd |= ~found["created_utc"].is_valid
        required, *optional = _TEXTS_OF_KIND[self._kind]
        is_odd |= ~field(required).is_text
        if self._kind == "RC":
            found["submission_id"] = values.links(field("link_id"), is_odd)
            return found
        for key in (*optional, "url", "removed_by_category"):
            is_odd |= ~(field(key).is_text | field(key).is_absent)
        removed = field("removed_by_category")
        found["is_removed"] = removed.is_text & (removed.end_L > removed.start_L)
        found["num_comments"] = values.numbers(field("num_comments"), is_odd)
        found["over_18"] = values.flags(field("over_18"), is_odd)
        found["crosspost_parent"] = values.links(field("crosspost_parent"), is_odd)
        return found

    def _matches(self, spans: Spans, columns: Mapping[str, Any]) -> dict[str, Odd]:
        """Rule name -> lines that it matches, in order of precedence, as `rules.rules`."""
        author, subreddit = columns["author"], columns["subreddit"]
        deleted = columns["was_deleted_later"]
        found = {
            "deleted_author": author < 0,
            "removed_content": _is_gone(spans, _TEXTS_OF_KIND[self._kind]),
            "deletion_signal": deleted | columns["is_removed"] if self._kind == "RS" else deleted,
        }
        found["forgotten"] = (author >= 0) & _at_codes(self._authors.is_forgotten, author)
        if self._kind == "RS" and self._config.over_18 == "drop":
            found["over_18"] = columns["over_18"]
        found["bot"] = (author >= 0) & _at_codes(self._authors.is_bot, author)
        is_profile = _at_codes(self._subreddits.is_profile, subreddit)
        found["profile_subreddit"] = (subreddit >= 0) & is_profile
        found["missing_subreddit"] = subreddit < 0
        return found

    def _fast(
        self,
        spans: Spans,
        columns: Mapping[str, Any],
        is_odd: Odd,
        first_line: int,
        dump_order: int,
    ) -> Parsed:
        is_free = ~is_odd
        dropped: Counter[str] = Counter()
        for rule, matches in self._matches(spans, columns).items():
            hit = is_free & matches
            dropped[rule] += int(np.count_nonzero(hit))
            is_free &= ~hit
        kept, stubs = np.flatnonzero(is_free), np.flatnonzero(~is_free & ~is_odd)

        def order(rows: Rows, keep: bool) -> pl.DataFrame:
            retrieved = columns["retrieved_utc"].take(rows)
            return pl.DataFrame(
                {
                    "id": pl.Series(columns["id"][rows]).cast(pl.UInt64()),
                    "retrieved_utc": retrieved.to_series(pl.Int64()),
                    "line_number": pl.Series(rows + first_line, dtype=pl.Int64()),
                }
            ).with_columns(dump_order=pl.lit(dump_order, pl.Int32()), kept=pl.lit(keep))

        rows, albums = self._rows(spans, columns, kept)
        versions = pl.concat(
            [pl.concat([order(kept, True), rows], how="horizontal"), order(stubs, False)],
            how="diagonal",
        )
        tally = Tally(
            rows_in=len(is_odd) - int(np.count_nonzero(is_odd)),
            dropped=+dropped,
            other={"crlf_lines": spans.num_crlf, "albums_lost": albums},
        )
        return Parsed(versions, pl.DataFrame(schema=REJECTS_SCHEMA), tally)

    def _rows(
        self, spans: Spans, columns: Mapping[str, Any], kept: Rows
    ) -> tuple[pl.DataFrame, int]:
        """The columns that tables hold, of lines that no rule dropped, and the albums lost."""
        author = columns["author"][kept]
        created = columns["created_utc"].values[kept]
        found = {
            "user_id": self._authors.user_ids(author),
            "subreddit": self._subreddits.names(columns["subreddit"][kept]),
            "created_utc": pl.Series(created),
            "score": columns["score"].take(kept).to_series(pl.Int32()),
            "edited_utc": columns["edited_utc"].take(kept).to_series(pl.Int64()),
        }
        for key in _TEXTS_OF_KIND[self._kind]:
            raw = values.texts(Field.of(spans, key).take(kept), self._config.max_text_chars)
            raw.mark_names(self._authors.table.arena, self._authors.table.offsets, author)
            found[key] = self._cleaned(raw, created, author)
        if self._kind == "RC":
            links = columns["submission_id"].take(kept)
            return pl.DataFrame(found | {"submission_id": links.to_series(pl.UInt64())}), 0
        found["num_comments"] = columns["num_comments"].take(kept).to_series(pl.Int32())
        found["over_18"] = pl.Series(columns["over_18"][kept], dtype=pl.Boolean())
        parents = columns["crosspost_parent"].take(kept)
        found["crosspost_parent"] = parents.to_series(pl.UInt64())
        found["url"] = _posted(Field.of(spans, "url").take(kept))
        found["media"], albums = media_of(spans, kept, self._config.over_18 == "keep")
        return pl.DataFrame(found), albums

    def _cleaned(
        self, raw: Texts, created: npt.NDArray[np.int64], author: npt.NDArray[np.int32]
    ) -> pl.Series:
        texts, rows = raw.to_series(), np.flatnonzero(raw.needs_care)
        if not len(rows):
            return texts
        names = self._authors.names(author[rows])
        careful = pl.DataFrame({"t": texts.gather(rows), "created_utc": created[rows]})
        (clean,) = cleaned_texts(careful, names, self._config, "t")
        return _replaced(texts, rows, clean)


def _replaced(texts: pl.Series, rows: Rows, by: pl.Series) -> pl.Series:
    """`texts` with those at `rows` replaced."""
    source = np.arange(len(texts))
    source[rows] = len(texts) + np.arange(len(rows))
    return pl.concat([texts, by.cast(pl.String())]).gather(source)


def _latest(times: list[Nullable]) -> Nullable:
    none = np.iinfo(np.int64).min
    each = [np.where(time.is_valid, time.values, none) for time in times]
    latest = np.maximum.reduce(each)
    return Nullable(latest, latest != none)


def _at_codes(known: Odd, codes: npt.NDArray[np.int32]) -> Odd:
    """What is known of each code; anything for -1."""
    return known[codes] if len(known) else np.zeros(len(codes), np.bool_)


def _is_gone(spans: Spans, keys: tuple[str, ...]) -> Odd:
    gone = np.zeros(len(spans.line_L), np.bool_)
    for key in keys:
        field = Field.of(spans, key)
        rows = np.flatnonzero(values.may_be_gone(field))
        if len(rows):
            texts = values.texts(field.take(rows), _NO_LIMIT).to_series().to_frame("t")
            gone[rows] |= texts.select(is_gone(pl.col("t"))).to_series().to_numpy()
    return gone


def _posted(field: Field) -> pl.Series:
    """Column `url`: as `rows.posted_urls` where that may change a url, else as posted."""
    raw = values.texts(field, MAX_URL_CHARS)
    care = raw.needs_care | (raw.offsets[1:] == raw.offsets[:-1])
    urls, rows = raw.to_series(), np.flatnonzero(care)
    if not len(rows):
        return urls
    careful = urls.gather(rows).to_frame("url").select(posted_urls(pl.col("url"))).to_series()
    return _replaced(urls, rows, careful)
