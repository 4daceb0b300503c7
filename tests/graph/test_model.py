from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from graph.baselines import matrix, matrix_factorisation
from graph.batches import Batch, make_batch
from graph.evaluate import encoder_scorer
from graph.experiment import train_encoder
from graph.model import (
    CONTENT_FEATURES,
    Encoded,
    Neighbourhood,
    Standardise,
    SubredditInputs,
    TasteEncoder,
    UserInputs,
    compiled_agreement,
    content_features,
    tensor_agreement,
    unit,
)
from graph.prepare import new_encoder
from tests.graph.conftest import SMALL, Small


@pytest.fixture(scope="module")
def batch(small: Small) -> Batch:
    graph = small.training_graph()
    return make_batch(graph, small.contents, graph.users[:20], epoch=0, step=0, num_uniform=8)


@pytest.fixture
def model(small: Small) -> TasteEncoder:
    return new_encoder(SMALL, small.training_graph(), small.contents).eval()


def inputs(x_Md: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Of all subreddits of the batch, those that are inputs."""
    return x_Md[: len(batch.below.slot_RF)]


def encode(model: TasteEncoder, batch: Batch) -> Encoded:
    x_Md = model.describe(batch.subreddits)
    h_Nd = model.gather_users(inputs(x_Md, batch), batch.users_below, batch.below)
    return model.gather_subreddits(h_Nd, batch.subreddits, batch.seeds, batch.near)


def test_outputs_are_unit_and_attention_is_a_share(model: TasteEncoder, batch: Batch) -> None:
    encoded = encode(model, batch)
    ones = torch.ones(20)
    torch.testing.assert_close(encoded.z_Bd.norm(dim=1), ones)
    torch.testing.assert_close(encoded.direction_BD.norm(dim=1), ones)
    torch.testing.assert_close(model.clip_embedding(encoded.direction_BD).norm(dim=1), ones)
    torch.testing.assert_close(encoded.attention_BF.sum(dim=1), ones)
    assert not encoded.attention_BF[~batch.near.mask_RF].any()


def test_the_order_of_neighbours_does_not_matter(model: TasteEncoder, batch: Batch) -> None:
    turned = Neighbourhood(
        slot_RF=batch.near.slot_RF.flip(1),
        mask_RF=batch.near.mask_RF.flip(1),
        edge_RFE=batch.near.edge_RFE.flip(1),
    )
    one, two = encode(model, batch), encode(model, replace(batch, near=turned))
    torch.testing.assert_close(one.z_Bd, two.z_Bd)
    torch.testing.assert_close(one.direction_BD, two.direction_BD)
    torch.testing.assert_close(one.attention_BF, two.attention_BF.flip(1))


def test_what_is_masked_does_not_matter(model: TasteEncoder, batch: Batch) -> None:
    near = batch.near
    other = torch.where(near.mask_RF, near.slot_RF, 1)
    noise = torch.where(near.mask_RF[..., None], near.edge_RFE, 7.0)
    changed = Neighbourhood(slot_RF=other, mask_RF=near.mask_RF, edge_RFE=noise)
    one, two = encode(model, batch), encode(model, replace(batch, near=changed))
    torch.testing.assert_close(one.z_Bd, two.z_Bd)
    torch.testing.assert_close(one.direction_BD, two.direction_BD)


def test_a_user_without_neighbours_still_has_vectors(model: TasteEncoder, batch: Batch) -> None:
    alone = replace(batch.near, mask_RF=torch.zeros_like(batch.near.mask_RF))
    encoded = encode(model, replace(batch, near=alone))
    assert torch.isfinite(encoded.z_Bd).all()
    assert torch.isfinite(encoded.direction_BD).all()
    assert not encoded.attention_BF.any()


def test_attention_mixes_the_images_of_neighbours_into_p(model: TasteEncoder, batch: Batch) -> None:
    torch.nn.init.zeros_(model.projection.weight)
    nobody = replace(batch.seeds, image_ND=torch.zeros_like(batch.seeds.image_ND))
    encoded = encode(model, replace(batch, seeds=nobody))
    images = batch.subreddits.image_MD[batch.near.slot_RF]
    mixed = (images * encoded.attention_BF[..., None]).sum(dim=1)
    torch.testing.assert_close(encoded.direction_BD, unit(mixed))


def test_the_image_objective_reaches_only_the_taste_heads(
    model: TasteEncoder, batch: Batch
) -> None:
    torch.nn.init.zeros_(model.projection.weight)
    encode(model, batch).direction_BD.square().mul(torch.arange(24.0)).sum().backward()
    gradient = model.to_users.att.grad
    assert gradient is not None
    assert gradient[0, : model.taste_heads].abs().sum() > 0
    assert gradient[0, model.taste_heads :].abs().sum() == 0


def test_an_unknown_subreddit_is_described_by_its_features(
    model: TasteEncoder, batch: Batch
) -> None:
    unknown = replace(batch.subreddits, row_M=torch.zeros_like(batch.subreddits.row_M))
    x_Md = model.describe(unknown)
    expected = model.subreddit_text(unknown.text_MD) + model.subreddit_image(unknown.image_MD)
    stats = model.subreddit_stats(model.subreddit_scale(unknown.stats_MK))
    torch.testing.assert_close(x_Md, expected + 0.1 * stats)


def test_content_features_on_a_drawn_neighbourhood() -> None:
    """Three subreddits: two that look alike, one at a right angle; the user posts as the first."""
    image = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    subreddits = SubredditInputs(
        row_M=torch.arange(3),
        text_MD=torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        image_MD=image,
        stats_MK=torch.tensor([[5.0], [6.0], [7.0]]),
    )
    user = UserInputs(
        stats_NK=torch.zeros(1, 1), image_ND=torch.tensor([[3.0, 0.0]]), num_images_N=torch.ones(1)
    )
    near = Neighbourhood(
        slot_RF=torch.tensor([[0, 1, 2, 0]]),
        mask_RF=torch.tensor([[True, True, True, False]]),
        edge_RFE=torch.zeros(1, 4, 1),
    )
    made = content_features(subreddits, user, near)[0, :3]
    expected = {
        "log1p_subreddit_degree": [5.0, 6.0, 7.0],
        "image_coherence": [2.0, 1.0, 0.5],
        "image_agreement_mean": [0.5, 0.5, 0.0],
        "image_agreement_max": [1.0, 1.0, 0.0],
        "text_agreement_mean": [0.5, 0.0, 0.5],
        "own_image_agreement": [1.0, 1.0, 0.0],
    }
    columns = torch.tensor([expected[name] for name in CONTENT_FEATURES]).T
    torch.testing.assert_close(made, columns)


def test_compiled_agreement_is_that_of_tensors() -> None:
    torch.manual_seed(0)
    image_MD, text_MD, own_BD = (unit(torch.randn(size, 6)) for size in (9, 9, 20))
    image_MD[2], text_MD[3], own_BD[4:] = 0, 0, 0
    mask = torch.rand(20, 5) < 0.5
    mask[0], mask[1] = True, False
    slot = torch.where(mask, torch.randint(9, (20, 5)), 0)
    near = Neighbourhood(slot_RF=slot, mask_RF=mask, edge_RFE=torch.zeros(20, 5, 1))
    found = compiled_agreement(image_MD, text_MD, own_BD, near)
    expected = tensor_agreement(image_MD, text_MD, own_BD, near)
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs[mask].any()
        torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-6, rtol=1e-5)


def test_standardise_leaves_constant_columns_and_cuts_outliers() -> None:
    scale = Standardise(2)
    scale.fit(torch.tensor([[1.0, 3.0], [3.0, 3.0]]))
    rows = scale(torch.tensor([[1.0, 3.0], [3.0, 4.0], [100.0, 3.0]]))
    assert rows.tolist() == [[-1.0, 0.0], [1.0, 1.0], [5.0, 0.0]]


def ablated(small: Small, name: str) -> tuple[TasteEncoder, Batch]:
    """An encoder without one part, and a batch as it would train on."""
    config = SMALL.ablated(name)
    graph = small.training_graph(config)
    batch = make_batch(graph, small.contents, graph.users[:20], epoch=0, step=0, num_uniform=8)
    return new_encoder(config, graph, small.contents).eval(), batch


def test_one_layer_reads_no_other_users(small: Small, model: TasteEncoder, batch: Batch) -> None:
    single, its = ablated(small, "one_layer")
    assert its.below.mask_RF.shape[1] == 0
    x_Nd = inputs(single.describe(its.subreddits), its)
    assert torch.equal(single.gather_users(x_Nd, its.users_below, its.below), x_Nd)
    both = inputs(model.describe(batch.subreddits), batch)
    assert not torch.allclose(model.gather_users(both, batch.users_below, batch.below), both)


def test_without_edges_attention_is_blind_to_what_was_done(
    small: Small, model: TasteEncoder, batch: Batch
) -> None:
    blind, its = ablated(small, "no_edges")
    for encoder, one, is_blind in ((blind, its, True), (model, batch, False)):
        near = replace(one.near, edge_RFE=one.near.edge_RFE.flip(1) + 1)
        before, after = encode(encoder, one), encode(encoder, replace(one, near=near))
        assert torch.allclose(before.attention_BF, after.attention_BF, atol=1e-6) == is_blind


def test_without_content_attention_is_blind_to_images(
    small: Small, model: TasteEncoder, batch: Batch
) -> None:
    blind, its = ablated(small, "no_content")
    for encoder, one, is_blind in ((blind, its, True), (model, batch, False)):
        h_Md = encoder.describe(one.subreddits)
        shown = replace(one.subreddits, image_MD=-one.subreddits.image_MD.flip(0))
        before, after = (
            encoder.gather_subreddits(h_Md, inputs, one.seeds, one.near).attention_BF
            for inputs in (one.subreddits, shown)
        )
        assert torch.allclose(before, after, atol=1e-6) == is_blind


def test_without_attention_all_neighbours_count_alike(
    small: Small, model: TasteEncoder, batch: Batch
) -> None:
    even, its = ablated(small, "no_attention")
    degree = its.near.mask_RF.sum(dim=1, keepdim=True)
    assert torch.allclose(encode(even, its).attention_BF, its.near.mask_RF / degree.clamp(min=1))
    share = encode(model, batch).attention_BF
    assert not torch.allclose(share, batch.near.mask_RF / batch.near.mask_RF.sum(1, keepdim=True))


def test_a_spectral_encoder_starts_as_the_linear_filter(small: Small) -> None:
    config = replace(SMALL, encoder=replace(SMALL.encoder, spectral=True, fanouts=(64, 0)))
    view = small.held.training
    model = new_encoder(config, small.training_graph(config), view.contents).eval()
    with torch.no_grad():  # What training has yet to weigh: contents, and attention's own scores.
        model.to_users.att.zero_()
        for linear in (model.subreddit_text, model.subreddit_image):
            linear.weight.zero_()
    score = encoder_scorer(model, small.held, seed=0)
    train = matrix(view.graph.by_user, small.graph.num_subreddits)
    expected = matrix_factorisation(train, SMALL.encoder.dim, config.seed)(train)
    users = torch.nonzero(view.graph.by_user.degrees() > 3)[:50, 0]
    found, wanted = score(users).argmax(dim=1), torch.from_numpy(expected)[users].argmax(dim=1)
    # log1p of a degree stands for its log, so a few close calls go the other way.
    assert (found == wanted).double().mean() > 0.8


def test_a_spectral_encoder_learns(small: Small) -> None:
    config = replace(SMALL, encoder=replace(SMALL.encoder, spectral=True), epochs=15)
    losses: list[float] = []
    train_encoder(small.held, config, lambda _, loss: losses.append(loss))
    assert losses[-1] < 0.95 * losses[0]
