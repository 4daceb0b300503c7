"""Visual tags: a vocabulary of facets and values -> one CLIP text vector a tag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embed.clip import Texts, unit_rows
from embed.tables import TAG_EMBEDDINGS
from pipelines.contract import ConfigError, MissingInputError

VOCABULARIES = Path(__file__).parent / "vocabulary"


@dataclass(frozen=True, kw_only=True)
class Facet:
    """One way in which pictures differ.

    Args:
        templates: Prompts with one `{}` each.
        tags: Phrases to put there, by tag.
    """

    templates: tuple[str, ...]
    tags: Mapping[str, tuple[str, ...]]

    def prompts(self, tag: str) -> list[str]:
        """Every template with every phrase of the tag.

        Raises:
            KeyError: No such tag in this facet.
        """
        phrases = self.tags[tag]
        return [template.format(phrase) for template in self.templates for phrase in phrases]


def load_vocabulary(name: str) -> dict[str, Facet]:
    """Facets by name, of a shipped vocabulary (`tiny`, `default`) or a JSON file.

    The file holds `{"FACET": {"templates": ["a {} picture"], "tags": {"TAG": ["phrase"]}}}`.

    Raises:
        MissingInputError: Neither a shipped name nor a file.
        ConfigError: The file does not hold that.
    """
    path = VOCABULARIES / f"{name}.json"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in VOCABULARIES.glob("*.json")))
        raise MissingInputError(
            f"vocabulary={name!r}: no file there; give one of {shipped}, or the path of a JSON file"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"vocabulary={name!r}: not JSON ({error})") from error
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"vocabulary={name!r}: expected an object of facets, not empty")
    return {facet: _facet(name, facet, value) for facet, value in document.items()}


def _facet(name: str, facet: str, value: Any) -> Facet:
    where = f"vocabulary={name!r}, facet {facet!r}"
    if not isinstance(value, dict) or set(value) != {"templates", "tags"}:
        raise ConfigError(f"{where}: expected an object with templates and tags")
    templates, tags = value["templates"], value["tags"]
    if not _texts(templates) or any(template.count("{}") != 1 for template in templates):
        raise ConfigError(
            f"{where}: templates are {templates!r}: expected texts with one {{}} each"
        )
    if not isinstance(tags, dict) or not tags:
        raise ConfigError(f"{where}: tags are {tags!r}: expected an object of phrases, not empty")
    for tag, phrases in tags.items():
        if not _texts(phrases):
            raise ConfigError(f"{where}, tag {tag!r}: {phrases!r}: expected a list of phrases")
    return Facet(
        templates=tuple(templates), tags={tag: tuple(phrases) for tag, phrases in tags.items()}
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)


def tag_embeddings(clip: Texts, vocabulary: Mapping[str, Facet]) -> pa.Table:
    """Rows of TAG_EMBEDDINGS: the unit mean over a tag's prompts, facets and tags in their order.

    Source: prompt ensembling, Radford et al. 2021, section 3.1.4, arXiv:2103.00020.
    """
    names = [(facet, tag) for facet, held in vocabulary.items() for tag in held.tags]
    prompts = [vocabulary[facet].prompts(tag) for facet, tag in names]
    x_PD = clip.encode_texts([prompt for group in prompts for prompt in group])
    ends = np.cumsum([len(group) for group in prompts])
    x_TD = unit_rows(np.stack([rows.mean(axis=0) for rows in np.split(x_PD, ends[:-1])]))
    columns = {
        "facet": [facet for facet, _ in names],
        "tag": [tag for _, tag in names],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_TD.ravel()), clip.dim),
    }
    return TAG_EMBEDDINGS.check(pa.table(columns))
