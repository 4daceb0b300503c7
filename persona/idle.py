"""Users in whose own data nothing changed: their evidence, and so their persona, may stay.

A new month moves everybody's attention, tag weights and decay a little, so evidence that is made
anew differs for nearly all users, also for those who did nothing; and a persona that differs costs
a request. So what a user did, wrote and posted is hashed, and evidence made of the same data by the
same rules and the same encoder is taken over. Others' data is drift, which the next encoder ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from persona.tables import EVIDENCE, USER_DATA
from pipelines.contract import Run

RULES = "rules"  # in the metadata of USER_DATA
_LISTS = ("sensitive.json", "topics.json", "words.txt", "demographics.json")
_FIELD, _ROW = "\x1f", "\x1e"


def evidence_rules(rules: str, encoder: str) -> str:
    """Content address of how evidence is made: code and settings, the encoder, lists of words.

    Args:
        rules: See `Run`.
        encoder: Content hash of the checkpoint behind the embeddings.
    """
    digest = blake2b(f"{rules} {encoder}".encode(), digest_size=16)
    for name in _LISTS:
        digest.update(files("persona").joinpath(name).read_bytes())
    return digest.hexdigest()


def data_hashes(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Content address of each user's rows, in whatever order they come: user_id, data_hash.

    Args:
        tables: By name; every column counts.
    """
    told = []
    for name, frame in sorted(tables.items()):
        columns = [pl.col(c).cast(pl.String).fill_null("") for c in sorted(frame.columns)]
        told.append(
            frame.select("user_id", row=pl.concat_str([pl.lit(name), *columns], separator=_FIELD))
        )
    users = (
        pl.concat(told).group_by("user_id").agg(pl.col("row").sort().str.join(_ROW)).sort("user_id")
    )
    hashes = [blake2b(rows.encode(), digest_size=16).hexdigest() for rows in users["row"]]
    return users.select("user_id", data_hash=pl.Series(hashes, dtype=pl.String))


class LastEvidence:
    """The published evidence, if it was made by the same rules.

    USER_DATA is published after EVIDENCE: after a kill between the two, users of other data are
    still told from idle ones, whose evidence is the same in both publications.

    Args:
        run: Where it is published.
        rules: Of the evidence that is being made; None: nothing is taken over.
    """

    def __init__(self, run: Run, rules: str | None) -> None:
        self._evidence = self._data = None
        if rules is None or not USER_DATA.files(run) or not EVIDENCE.files(run):
            return
        data = USER_DATA.dataset(run)
        if (data.schema.metadata or {}).get(RULES.encode()) == rules.encode():
            self._evidence, self._data = EVIDENCE.dataset(run), data

    @property
    def stays(self) -> bool:
        """Whether there is any that may be taken over."""
        return self._data is not None

    def of(self, data: pl.DataFrame) -> pa.Table:
        """Rows of EVIDENCE of those of the users whose data is what it was made of.

        Args:
            data: user_id, data_hash; ids are sorted in files, so few row groups are read.
        """
        if self._evidence is None or self._data is None or data.is_empty():
            return EVIDENCE.empty()
        user = ds.field("user_id")
        between = (user >= data["user_id"].min()) & (user <= data["user_id"].max())
        before = pl.DataFrame(pl.from_arrow(self._data.to_table(filter=between)))
        same = data.join(before, on=["user_id", "data_hash"], how="semi")["user_id"]
        idle = pa.array(same.to_list(), pa.string())
        names = EVIDENCE.schema.names
        return self._evidence.to_table(columns=names, filter=between & user.isin(idle))
