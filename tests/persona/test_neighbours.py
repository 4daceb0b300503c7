"""Inferred interests: of cold users alone, shared by several, beyond what is usual, and marked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from persona.grounded import verbalize_user
from persona.items import Item, UserEvidence
from persona.neighbours import MIN_SHARING, NUM_NEIGHBOURS, Anchors, neighbour_rows
from persona.schema import Persona
from tests.persona.examples import subreddit


def anchors(jazz: int = 12, num: int = 60) -> Anchors:
    """Half of the anchors look east and half north; `jazz` of those in the east follow jazz."""
    users = [f"a{index:03d}" for index in range(num)]
    z_Ad = np.array([(1.0, 0.0) if i < num // 2 else (0.0, 1.0) for i in range(num)], np.float32)
    follows = [("askeveryone", range(num)), ("jazz", range(jazz)), ("knitting", range(2))]
    pairs = [(users[i], name) for name, who in follows for i in who]
    pairs += [(users[i], "mentalhealth") for i in range(num // 2)]
    salient = pl.DataFrame(pairs, schema=["user_id", "subreddit"], orient="row")
    return Anchors.of(users, z_Ad, salient)


def infer(
    own: dict[str, list[str]], z: tuple[float, float], **kwargs: int
) -> list[tuple[str, str]]:
    pairs = [(user, name) for user, names in own.items() for name in names]
    frame = pl.DataFrame(pairs, schema={"user_id": pl.String, "subreddit": pl.String}, orient="row")
    z_Ud = np.array([z] * len(own), np.float32)
    rows = neighbour_rows(list(own), z_Ud, frame, anchors(**kwargs), cold_subreddits=3)
    assert rows["inferred"].all() and set(rows["kind"]) <= {"neighbour"}
    return list(rows.select("user_id", "evidence_id").iter_rows())


def test_cold_users_get_what_their_neighbours_share_beyond_the_usual() -> None:
    found = infer({"cold": ["pics"], "warm": ["pics", "art", "music"]}, (1.0, 0.0))
    # Not askeveryone (everybody's), knitting (of two), or mentalhealth (sensitive).
    assert found == [("cold", "n:jazz")]


def test_elsewhere_nothing_is_shared() -> None:
    assert infer({"cold": ["pics"]}, (0.0, 1.0)) == []


def test_what_is_their_own_is_not_inferred() -> None:
    assert infer({"cold": ["jazz"]}, (1.0, 0.0)) == []


@pytest.mark.parametrize(("jazz", "found"), [(MIN_SHARING - 1, 0), (MIN_SHARING, 1)])
def test_few_neighbours_are_not_enough(jazz: int, found: int) -> None:
    assert len(infer({"cold": []}, (1.0, 0.0), jazz=jazz)) == found


def test_few_anchors_are_not_enough() -> None:
    assert infer({"cold": []}, (1.0, 0.0), num=40) == []


def test_a_user_is_no_neighbour_of_themselves() -> None:
    all_ = anchors()
    own = pl.DataFrame(schema={"user_id": pl.String, "subreddit": pl.String})
    rows = neighbour_rows(["a000"], all_.z_Ad[:1], own, all_, cold_subreddits=3)
    weights = dict(rows.select("evidence_id", "weight").iter_rows())
    assert weights["n:jazz"] == pytest.approx(11 / NUM_NEIGHBOURS)


def test_claims_say_that_they_are_inferred() -> None:
    item = Item("n:jazz", "neighbour", "jazz", None, "jazz", 0.75, 9, True)
    persona = verbalize_user(UserEvidence("ann", (subreddit("pics", 1.0), item)), 0)
    assert isinstance(persona, Persona)
    (claim,) = [claim for claim in persona.interests if claim.evidence == ("n:jazz",)]
    assert "people of like interests" in claim.text and "jazz" in claim.text
    assert claim.confidence < 0.3
