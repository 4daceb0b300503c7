"""Evidence rows become users and back; the hash is a content address."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from persona.items import (
    Item,
    UserEvidence,
    evidence_hashes,
    evidence_table,
    group_users,
    slug,
    tag_id,
)
from pipelines.contract import ContractError

NEON = Item("s:neonnights", "subreddit", "neonnights", None, "neonnights", 0.5, 11, False)
TAG = Item("g:palette:neon", "tag", None, "palette", "neon", 1.25, 9, True)
ANN = UserEvidence("ann", (NEON, TAG))
BOB = UserEvidence("bob", (TAG,))


def test_users_survive_the_table() -> None:
    assert list(group_users(evidence_table([ANN, BOB]))) == [ANN, BOB]
    assert list(group_users(evidence_table([]))) == []


def test_rows_of_a_user_must_be_together() -> None:
    table = pa.concat_tables([evidence_table([user]) for user in (ANN, BOB, ANN)])
    with pytest.raises(ContractError, match="'ann' are not together"):
        list(group_users(table))


def test_the_hash_depends_on_content_alone() -> None:
    assert ANN.hash == UserEvidence("other user", (NEON, TAG), pictures={"i:a": b"x"}).hash
    assert len(ANN.hash) == 32
    changed = [
        (TAG, NEON),
        (NEON,),
        (replace(NEON, text="neonnight"), TAG),
        (replace(NEON, weight=0.501), TAG),
        (NEON, replace(TAG, inferred=False)),
        (NEON, replace(TAG, facet="subject")),
        (replace(NEON, evidence_id="s:neon", kind="nightssubreddit"), TAG),
    ]
    hashes = {UserEvidence("ann", items).hash for items in changed} | {ANN.hash}
    assert len(hashes) == len(changed) + 1


def test_weights_of_float32_columns_hash_as_written() -> None:
    (read,) = group_users(evidence_table([ANN]))
    assert read.hash == ANN.hash


def test_hashes_of_many_are_those_of_each() -> None:
    odd = [
        replace(TAG, weight=weight, text=text, subreddit="jazz")
        for weight in (-0.0, 0.0, -0.0004, -1.0, 0.1 + 0.2, 12345.678, 1e-9)
        for text in ("", "é\x1f\x1e", "two\nlines")
    ]
    table = evidence_table([ANN, UserEvidence("many", tuple(odd)), BOB])
    assert evidence_hashes(table) == {user.user_id: user.hash for user in group_users(table)}
    assert evidence_hashes(evidence_table([])) == {}


def test_ids_are_short_words() -> None:
    assert slug("  Golden hour! ") == "golden-hour"
    assert tag_id("palette", "Golden hour") == "g:palette:golden-hour"
    assert tag_id("subject", "neon") != tag_id("palette", "neon")
