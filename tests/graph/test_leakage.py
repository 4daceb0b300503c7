"""What a model is asked must not be in what it is told: METHOD's rules, on sampled batches."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graph.batches import Batch, TrainingGraph, divide_images, make_batch
from graph.blocks import Block
from graph.contents import IMAGE_PRIOR, Contents, subreddit_inputs
from graph.counter_random import hash_strings
from graph.evaluate import Held
from graph.features import ARRAYS, Features, check_sums, load_features
from graph.splits import Split
from pipelines.contract import ContractError, Run
from tests.graph.conftest import SMALL
from tests.graph.drawn import images
from tests.graph.synthetic import World, write_tables
from tests.graph.views import Published, held_views, reader

EPOCHS = (0, 1, 7)


@pytest.fixture(scope="module")
def held(small: Published) -> Held:
    return held_views(small, SMALL)


@pytest.fixture(params=["torch", "dgl"])
def training(request: pytest.FixtureRequest, held: Held) -> TrainingGraph:
    if request.param == "dgl":
        pytest.importorskip("dgl")
    return reader(held, SMALL, request.param)


def blocks(training: TrainingGraph) -> list[Block]:
    """Blocks of every training user in a few epochs."""
    return [
        training.sampler.sample(seeds, epoch)
        for epoch in EPOCHS
        for seeds in training.users.split(16)
    ]


def below_users(training: TrainingGraph, block: Block) -> Tensor:
    """Users at the far end of the second hop."""
    return training.by_subreddit.neighbours[block.edge_NG[block.mask_NG]].long()


def test_target_edges_are_no_messages_in_either_direction(training: TrainingGraph) -> None:
    num_targets = 0
    for block in blocks(training):
        ends = training.by_user.neighbours[block.edge_BF].long()
        same = (ends[:, :, None] == block.target_BT[:, None, :]) & block.mask_BF[:, :, None]
        assert not same.any()
        assert not torch.isin(below_users(training, block), block.seeds).any()
        num_targets += int((block.target_BT >= 0).sum())
    assert num_targets > len(training.users)  # else the above proves nothing


def test_inductive_users_are_in_no_training_block(training: TrainingGraph, held: Held) -> None:
    inductive = torch.nonzero(held.splits.inductive)[:, 0]
    assert len(inductive) > 10
    assert not torch.isin(training.users, inductive).any()
    met = torch.cat([below_users(training, block) for block in blocks(training)])
    assert len(met.unique()) > len(training.users) // 2
    assert not torch.isin(met, inductive).any()


def test_held_out_edges_are_neither_targets_nor_messages(
    training: TrainingGraph, held: Held
) -> None:
    by_user = held.graph.by_user
    places = held.graph.num_subreddits
    withheld = held.splits.edge != Split.TRAIN
    assert set(held.splits.edge.tolist()) == {Split.TRAIN, Split.VALIDATION, Split.TEST}
    withheld_pairs = (by_user.rows_of_edges() * places + by_user.neighbours)[withheld]
    for block in blocks(training):
        owner = block.seeds[:, None]
        inputs = owner * places + training.by_user.neighbours[block.edge_BF]
        targets = owner * places + block.target_BT
        below = below_users(training, block) * places
        below += block.subreddits[:, None].expand_as(block.edge_NG)[block.mask_NG]
        met = torch.cat([inputs[block.mask_BF], targets[block.target_BT >= 0], below])
        assert not torch.isin(met, withheld_pairs).any()


def test_an_encoder_under_evaluation_reads_no_held_out_edge(held: Held) -> None:
    by_user, inputs = held.graph.by_user, held.inputs.graph.by_user
    kept = by_user.subset(held.splits.edge == Split.TRAIN)
    assert torch.equal(inputs.offsets, kept.offsets)
    assert torch.equal(inputs.neighbours, kept.neighbours)
    assert torch.equal(held.inputs.graph.user_stats[:, 0], inputs.degrees().float().log1p())


def test_training_features_hold_only_images_of_training_edges(small: Published, held: Held) -> None:
    by_user, world = held.graph.by_user, small.world
    keep = held.splits.training_edges(by_user)
    pairs = {
        (int(u), int(s))
        for u, s in zip(by_user.rows_of_edges()[keep], by_user.neighbours[keep], strict=True)
    }
    index = {name: i for i, name in enumerate(held.graph.subreddits())}
    places = [index[world.subreddits[s]] for s in world.image_subreddit]
    seen = [
        m
        for m, (user, place) in enumerate(zip(world.image_user, places, strict=True))
        if not world.image_heldout[m] and (int(user), place) in pairs
    ]
    assert 0 < len(seen) < int((~world.image_heldout).sum())
    sums = np.zeros((len(index), world.image_vectors.shape[1]))
    np.add.at(sums, np.array(places)[seen], world.image_vectors[seen])
    features = held.training.features
    assert np.allclose(features.image_sum_sd.numpy(), sums, atol=5e-3)  # float16 images
    assert sorted(features.image_key.tolist()) == sorted(image_keys(seen).tolist())
    assert torch.equal(
        features.image_counts(),
        torch.bincount(torch.from_numpy(world.image_user[seen]), minlength=held.graph.num_users),
    )


def image_keys(numbers: list[int]) -> Tensor:
    """Keys of the images that `write_tables` numbers so."""
    return torch.from_numpy(hash_strings([f"{m:032x}" for m in numbers]))


def test_held_out_images_are_not_loaded(small: Published) -> None:
    features = load_features(small.run, small.graph)
    heldout = np.flatnonzero(small.world.image_heldout).tolist()
    seen = np.flatnonzero(~small.world.image_heldout).tolist()
    assert heldout
    assert sorted(features.image_key.tolist()) == sorted(image_keys(seen).tolist())


def first_batch(small: Published, features: Features) -> Batch:
    """One batch of a trainer that reads these."""
    held = held_views(small, SMALL, features)
    training = reader(held, SMALL)
    seeds, contents = training.users[:32], held.training.contents
    return make_batch(training, contents, seeds, epoch=1, step=0, num_uniform=8)


def repainted(world: World, where: np.ndarray) -> World:
    """The world with other images there."""
    vectors = world.image_vectors.copy()
    vectors[where] = -vectors[where][:, ::-1]
    return replace(world, image_vectors=vectors)


def repainted_features(small: Published, root: Path, where: np.ndarray) -> Features:
    """What is loaded of a world that shows other images there, through its tables."""
    run = Run(root=root)
    write_tables(repainted(small.world, where), run)
    return load_features(run, small.graph)


def test_repainting_held_out_images_changes_no_input(small: Published, tmp_path: Path) -> None:
    loaded = load_features(small.run, small.graph)
    hidden = repainted_features(small, tmp_path / "hidden", small.world.image_heldout)
    shown = repainted_features(small, tmp_path / "shown", ~small.world.image_heldout)
    for name in ARRAYS:
        assert torch.equal(getattr(hidden, name), getattr(loaded, name)), name
    batch, same, other = (first_batch(small, features) for features in (loaded, hidden, shown))
    for part in ("subreddits", "users_below", "seeds"):
        for field in fields(getattr(batch, part)):
            before = getattr(getattr(batch, part), field.name)
            assert torch.equal(getattr(getattr(same, part), field.name), before)
    assert torch.equal(same.image_target_BD, batch.image_target_BD)
    assert not torch.allclose(other.image_target_BD, batch.image_target_BD)
    assert not torch.allclose(other.subreddits.image_MD, batch.subreddits.image_MD)


def naive_image_means(
    features: Features, contents: Contents, subreddits: Tensor, without: set[int]
) -> Tensor:
    """Shrunk, centred mean image of each subreddit, image by image, leaving out some users'."""
    rows = []
    owners, places = features.image_users().tolist(), features.image_subreddit.tolist()
    for subreddit in subreddits.tolist():
        kept = [
            m
            for m, (user, place) in enumerate(zip(owners, places, strict=True))
            if place == subreddit and user not in without
        ]
        off = features.vectors_of(torch.tensor(kept, dtype=torch.int64)) - contents.centres.image_D
        rows.append(off.sum(dim=0) / (len(kept) + IMAGE_PRIOR))
    return torch.stack(rows)


def test_subreddit_means_hold_no_image_of_the_seeds(held: Held) -> None:
    training, view = reader(held, SMALL), held.training
    with_images = view.features.image_counts() > 0
    seeds = training.users[with_images[training.users]][:24]
    batch = make_batch(training, view.contents, seeds, epoch=0, step=0, num_uniform=8)
    subreddits = batch.subreddits.row_M - 1
    without = naive_image_means(view.features, view.contents, subreddits, set(seeds.tolist()))
    whole = naive_image_means(view.features, view.contents, subreddits, set())
    assert torch.allclose(batch.subreddits.image_MD, without, atol=2e-3)
    assert not torch.allclose(batch.subreddits.image_MD, whole, atol=2e-2)


def test_at_inference_nobody_is_left_out_of_the_means(held: Held) -> None:
    view = held.training
    everywhere = torch.arange(held.graph.num_subreddits)
    nobody = torch.zeros(0, dtype=torch.int64)
    inputs = subreddit_inputs(view.features, view.contents, everywhere, everywhere + 1, nobody)
    whole = naive_image_means(view.features, view.contents, everywhere, set())
    assert torch.allclose(inputs.image_MD, whole, atol=2e-3)


def drawn_block(target_BT: list[list[int]]) -> Block:
    """A block of users 0.. of which only the targets matter."""
    none = torch.zeros(0, dtype=torch.int64)
    return Block(
        seeds=torch.arange(len(target_BT)),
        target_BT=torch.tensor(target_BT),
        edge_BF=none,
        mask_BF=none.bool(),
        slot_BF=none,
        subreddits=none,
        edge_NG=none,
        mask_NG=none.bool(),
    )


def test_input_and_target_images_of_a_user_are_disjoint() -> None:
    # Images are axes of the space and the centre is one more: what a part holds can be read off it.
    drawn = images(torch.eye(7)[:6], [0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 0], 3, 4)
    centre, block = torch.eye(7)[6], drawn_block([[2, -1], [-1, -1], [3, -1]])
    own = torch.tensor([[1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0], [0] * 7]).bool()
    inputs = torch.zeros(7)
    for epoch in range(64):
        parts = divide_images(drawn, centre, block, seed=1, epoch=epoch)
        is_input, is_target = parts.input_BD > 0, parts.target_BD > 0
        assert not (is_input & is_target).any()
        assert torch.equal(is_input | is_target, own)
        assert torch.equal(parts.num_input_B, is_input.sum(dim=1).float())
        assert parts.present_B.tolist() == [True, True, False]
        inputs += is_input.sum(dim=0)
    # Image 2 was posted along an edge to predict. The others are input in about a quarter.
    assert inputs[2] == 0
    assert ((inputs[[0, 1, 3, 4, 5]] > 4) & (inputs[[0, 1, 3, 4, 5]] < 32)).all()


def test_sums_that_lack_a_known_image_are_refused() -> None:
    drawn = images(torch.eye(4)[:3], [0, 1, 1], [0, 0, 1], 2, 2)
    short = replace(drawn, num_images_s=torch.tensor([1, 1]))
    check_sums(drawn)
    with pytest.raises(ContractError, match="fewer images than user_images in 1 subreddits"):
        check_sums(short)
