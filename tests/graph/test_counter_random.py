"""Draws are pure functions of their counters, and random enough."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare, kstest

from graph.counter_random import (
    Stream,
    hash_strings,
    hash_words,
    permuted,
    torch_seed,
    uniform,
)

MANY = torch.arange(20_000)


def test_a_draw_does_not_depend_on_its_company() -> None:
    together = uniform(Stream.TARGET, 3, MANY)
    alone = torch.stack([uniform(Stream.TARGET, 3, n) for n in MANY[:50]])
    assert torch.equal(together[:50], alone)
    assert torch.equal(uniform(Stream.TARGET, 3, MANY.flip(0)), together.flip(0))


def test_compiled_draws_are_those_of_tensors() -> None:
    words = hash_words(Stream.TARGET, 3, MANY - 7)
    tensors = uniform(Stream.TARGET, 3, words[:, None])
    assert torch.equal(uniform(Stream.TARGET, 3, words), tensors[:, 0])


@pytest.mark.parametrize("words", [(Stream.INPUT, 3), (Stream.TARGET, 4)])
def test_streams_and_seeds_are_independent(words: tuple[int, int]) -> None:
    a, b = uniform(Stream.TARGET, 3, MANY), uniform(*words, MANY)
    assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.03  # 4 sigma


def test_draws_are_uniform_and_never_0_or_1() -> None:
    draw = uniform(Stream.NEGATIVE, 0, MANY)
    assert 0 < float(draw.min()) < float(draw.max()) < 1
    assert kstest(draw.numpy(), "uniform").pvalue > 1e-3


def test_hashes_of_known_words_stay() -> None:
    # A new hash would silently change the splits of every graph.
    assert int(hash_words(1, 2, 3)) == -1532074704679183783
    assert hash_strings(["askreddit", ""]).tolist() == [
        3537278598099918508,
        -2152535657050944081,
    ]
    assert torch_seed(1, 2, 3) == 8457334684515183916


def test_order_of_words_matters() -> None:
    assert hash_words(1, 2) != hash_words(2, 1)
    assert hash_words(0) != hash_words(0, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 64, 100, 1000])
def test_permuted_is_a_permutation(size: int) -> None:
    index = torch.arange(size)
    for key in range(5):
        image = permuted(index, torch.tensor(size), torch.tensor(key))
        assert torch.equal(image.sort().values, index)
        assert torch.equal(permuted(index[:1], torch.tensor(size), torch.tensor(key)), image[:1])


def test_permuted_mixes_sizes_and_keys_elementwise() -> None:
    size, key = torch.tensor([[5], [1 << 40], [64]]), torch.tensor([[7], [8], [9]])
    together = permuted(torch.arange(5)[None, :], size, key)
    for row in range(3):
        assert torch.equal(together[row], permuted(torch.arange(5), size[row], key[row]))
    assert (together < size).all()
    assert (together >= 0).all()


def test_every_place_of_a_permutation_is_equally_likely() -> None:
    keys = hash_words(Stream.POOL, torch.arange(7000))[:, None]
    image = permuted(torch.arange(7)[None, :], torch.tensor(7), keys)
    for position in (0, 3):
        counts = torch.bincount(image[:, position], minlength=7)
        assert chisquare(counts.numpy()).pvalue > 1e-3


def test_a_string_hashes_the_same_beside_longer_ones() -> None:
    values = ["pics", "a" * 7, "a" * 8, "a" * 9, "", "ab" * 40]
    together = hash_strings(values)
    assert together.tolist() == [int(hash_strings([value])[0]) for value in values]
    assert len(set(together.tolist())) == len(values)
    assert hash_strings([]).shape == (0,)
