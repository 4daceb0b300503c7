"""Prompts and personas change on purpose: `python -m tests.persona.golden`, then read the diff."""

from __future__ import annotations

import pytest

from tests.persona.golden import FOLDER, texts


@pytest.mark.parametrize("name", ["prompt.txt", "personas.json"])
def test_texts_are_the_golden_ones(name: str) -> None:
    assert texts()[name] == (FOLDER / name).read_text("utf-8")
