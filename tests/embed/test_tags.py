import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embed.clip import load_clip, unit_rows
from embed.tags import Facet, load_vocabulary, tag_embeddings
from embed.tiny_clip.captions import PROMPTS
from embed.tiny_clip.pictures import FACETS, Picture, draw
from pipelines.contract import ConfigError, MissingInputError


def test_the_tiny_vocabulary_is_the_grammars_own() -> None:
    vocabulary = load_vocabulary("tiny")
    assert {
        name: {tag: facet.prompts(tag) for tag in facet.tags} for name, facet in vocabulary.items()
    } == PROMPTS


def test_the_default_vocabulary_has_the_facets_of_a_taste() -> None:
    vocabulary = load_vocabulary("default")
    assert set(vocabulary) == {"palette", "medium", "composition", "mood", "subject", "era"}
    assert min(len(facet.tags) for facet in vocabulary.values()) >= 12


def test_a_tag_is_the_unit_mean_of_its_prompts() -> None:
    clip = load_clip("tiny")
    facet = Facet(templates=("a {}", "my {}"), tags={"cat": ("cat", "kitten"), "sea": ("waves",)})
    table = tag_embeddings(clip, {"subject": facet})
    assert table.select(["facet", "tag"]).to_pylist() == [
        {"facet": "subject", "tag": "cat"},
        {"facet": "subject", "tag": "sea"},
    ]
    by_hand = [["a cat", "a kitten", "my cat", "my kitten"], ["a waves", "my waves"]]
    expected = unit_rows(np.stack([clip.encode_texts(texts).mean(axis=0) for texts in by_hand]))
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), expected, atol=1e-6)


def test_the_nearest_tag_of_a_picture_is_what_was_drawn() -> None:
    clip = load_clip("tiny")
    table = tag_embeddings(clip, load_vocabulary("tiny"))
    text_TD = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    rng = np.random.default_rng(0)
    right = 0
    for subject in FACETS["subject"]:
        drawn = Picture(palette="ocean", subject=subject, treatment="grain", composition="centered")
        score_T = text_TD @ clip.encode_images([draw(drawn, rng, 160)])[0]
        for facet in FACETS:
            rows = [i for i, name in enumerate(table["facet"].to_pylist()) if name == facet]
            best = max(rows, key=lambda row: score_T[row])
            right += table["tag"][best].as_py() == getattr(drawn, facet)
    assert right >= 37, f"{right} of 40"


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"palette": {"templates": ["a {}"]}},
        {"palette": {"templates": ["no place"], "tags": {"red": ["red"]}}},
        {"palette": {"templates": ["{} {}"], "tags": {"red": ["red"]}}},
        {"palette": {"templates": ["a {}"], "tags": {}}},
        {"palette": {"templates": ["a {}"], "tags": {"red": "red"}}},
        {"palette": {"templates": ["a {}"], "tags": {"red": []}}},
    ],
)
def test_a_vocabulary_of_another_shape_is_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"mine\.json.*expected"):
        load_vocabulary(str(path))


def test_text_that_is_not_json_and_a_file_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        load_vocabulary(str(tmp_path / "bad.json"))
    with pytest.raises(MissingInputError, match="default, tiny"):
        load_vocabulary("smal")
