from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from embed import products
from embed.clip import Clip, load_clip
from embed.config import EmbedResources, ProductsConfig
from embed.remote import RemoteTexts, TextActor


@pytest.mark.engine
def test_texts_are_encoded_where_the_model_is(ray_local: None) -> None:
    here, there = load_clip("tiny"), RemoteTexts(partial(load_clip, "tiny"), num_gpus=0)
    assert (there.identity, there.dim) == (here.identity, here.dim)
    texts = ["a red cat", "the sea at night"]
    np.testing.assert_allclose(there.encode_texts(texts), here.encode_texts(texts), atol=1e-6)


def test_a_driver_without_a_gpu_leaves_the_model_to_an_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    def load(**arguments: Any) -> Clip:
        asked.append(arguments)
        return load_clip("tiny")

    def started(load_there: Any, num_gpus: float) -> TextActor:
        asked.append({"num_gpus": num_gpus})
        return TextActor(load_there)

    monkeypatch.setattr(products, "RemoteTexts", started)
    resources = EmbedResources(gpus_per_actor=0.5, precision="bf16")
    found = products.text_encoder(ProductsConfig(), resources, load)
    assert isinstance(found, TextActor)
    assert asked[0] == {"num_gpus": 0.5}
    assert (asked[1]["device"], asked[1]["precision"]) == ("cuda", "bf16")
    assert products.text_encoder(ProductsConfig(), EmbedResources(), load).dim == 64
    assert asked[-1]["device"] == "cpu"
