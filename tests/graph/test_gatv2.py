"""Our dense GATv2 layer against PyG's over the same edges."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from graph.gatv2 import NEGATIVE_SLOPE, EdgeGatv2, masked_softmax

SOURCE_DIM, TARGET_DIM, EDGE_DIM, DIM = 5, 7, 3, 8
MASK = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
SLOT = torch.tensor([[0, 1, 2, 5], [4, 0, 4, 0], [0, 0, 0, 3], [0, 0, 0, 0]])


@dataclass(frozen=True)
class Pair:
    """Both layers with the same parameters, and inputs of one block: the last target is alone."""

    ours: EdgeGatv2
    theirs: GATv2Conv
    source: Tensor
    target: Tensor
    edge: Tensor

    def run_ours(self) -> tuple[Tensor, Tensor]:
        """(out [N, dim], attention of the edges [E, H])."""
        out, alpha = self.ours(self.source, self.target, self.edge, SLOT, MASK)
        return out, alpha[MASK]

    def run_theirs(self) -> tuple[Tensor, Tensor]:
        """The same by PyG."""
        index = torch.stack([SLOT[MASK], MASK.nonzero()[:, 0]])
        out, (_, alpha) = self.theirs(
            (self.source, self.target), index, self.edge[MASK], return_attention_weights=True
        )
        return out, alpha


@pytest.fixture(params=[1, 2, 4])
def pair(request: pytest.FixtureRequest) -> Pair:
    heads = request.param
    torch.manual_seed(heads)
    ours = EdgeGatv2(SOURCE_DIM, TARGET_DIM, EDGE_DIM, DIM, heads)
    theirs = GATv2Conv(
        (SOURCE_DIM, TARGET_DIM),
        DIM // heads,
        heads=heads,
        edge_dim=EDGE_DIM,
        add_self_loops=False,
        negative_slope=NEGATIVE_SLOPE,
    )
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
    theirs.load_state_dict(ours.state_dict())
    source, target = torch.randn(6, SOURCE_DIM), torch.randn(len(MASK), TARGET_DIM)
    edge = torch.randn(*MASK.shape, EDGE_DIM)
    return Pair(ours, theirs, *(x.requires_grad_() for x in (source, target, edge)))


def test_outputs_and_attention_are_those_of_pyg(pair: Pair) -> None:
    out, alpha = pair.run_ours()
    expected_out, expected_alpha = pair.run_theirs()
    assert torch.allclose(out, expected_out, atol=1e-5)
    assert torch.allclose(alpha, expected_alpha, atol=1e-5)


def test_gradients_are_those_of_pyg(pair: Pair) -> None:
    torch.manual_seed(9)
    weight = torch.randn(len(MASK), DIM)
    inputs = (pair.source, pair.target, pair.edge)
    names = [name for name, _ in pair.ours.named_parameters()]
    theirs = dict(pair.theirs.named_parameters())
    found = torch.autograd.grad(
        (pair.run_ours()[0] * weight).sum(), [*inputs, *pair.ours.parameters()]
    )
    expected = torch.autograd.grad(
        (pair.run_theirs()[0] * weight).sum(), [*inputs, *(theirs[name] for name in names)]
    )
    for name, a, b in zip(["source", "target", "edge", *names], found, expected, strict=True):
        assert b.abs().max() > 0, name
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5), name


def test_what_is_masked_changes_nothing(pair: Pair) -> None:
    slot = torch.where(MASK, SLOT, 5)
    edge = torch.where(MASK[..., None], pair.edge, 1e6)
    out, alpha = pair.ours(pair.source, pair.target, pair.edge, SLOT, MASK)
    other_out, other_alpha = pair.ours(pair.source, pair.target, edge, slot, MASK)
    assert torch.equal(out, other_out)
    assert torch.equal(alpha, other_alpha)


def test_a_target_without_neighbours_gets_the_bias(pair: Pair) -> None:
    out, alpha = pair.ours(pair.source, pair.target, pair.edge, SLOT, MASK)
    assert torch.equal(out[-1], pair.ours.bias)
    assert not alpha[-1].any()
    assert torch.allclose(alpha[:-1].sum(dim=1), torch.ones(3, pair.ours.heads))


def test_masked_softmax_is_a_softmax_of_what_is_left() -> None:
    score = torch.tensor([[0.0, 1.0, 50.0], [1000.0, 1001.0, -5.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, False], [True, True, False], [False] * 3])
    e = torch.tensor(1.0).exp()
    row = torch.stack([1 / (1 + e), e / (1 + e), torch.tensor(0.0)])
    expected = torch.stack([row, row, torch.zeros(3)])
    assert torch.allclose(masked_softmax(score, mask), expected)


@pytest.mark.parametrize("has_bias", [False, True])
def test_one_pass_on_the_cpu_is_the_tensor_operations(pair: Pair, has_bias: bool) -> None:
    """Double precision takes the tensors' way, single the fused one."""
    inputs = (pair.source, pair.target, pair.edge)
    added = (torch.randn(MASK.shape),) if has_bias else ()
    weight, other = torch.randn(len(MASK), DIM), torch.randn(*MASK.shape, pair.ours.heads)
    found = []
    for layer, dtype in (
        (pair.ours, torch.float32),
        (copy.deepcopy(pair.ours).double(), torch.float64),
    ):
        values, bias = (
            [x.detach().to(dtype).requires_grad_() for x in part] for part in (inputs, added)
        )
        out, alpha = layer(*values, SLOT, MASK, bias_NF=bias[0] if bias else None)
        loss = (out * weight).sum() + (alpha * other).sum()
        every = [*values, *bias, *layer.parameters()]
        found.append([out, alpha, *torch.autograd.grad(loss, every)])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two.float(), atol=1e-5, rtol=1e-5)
