"""A block and the features it touches -> the tensors of one training step, without leaks.

Nothing that a step predicts is in its inputs. The images of *all* users of the chunk are taken out
of the subreddits' means, not only the user's own from what that user sees: with leave-one-out, two
users of one subreddit would see means that differ by exactly the difference of their images, and
telling them apart that way is what InfoNCE rewards.
"""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from graph.blocks import Block, Sampler
from graph.contents import Contents, image_sums, own_image, subreddit_inputs, user_inputs
from graph.counter_random import Stream, uniform
from graph.csr import Csr
from graph.features import Features
from graph.model import Neighbourhood, SubredditInputs, UserInputs
from graph.objective import Candidates, inclusion_log_q
from graph.stats import sample_stats


@dataclass(frozen=True, kw_only=True)
class TrainingGraph:
    """Everything that training reads.

    Args:
        by_user, by_subreddit: Training edges alone.
        features: Images of training edges alone.
        sampler: Makes the blocks, from the same edges.
        users: int64, the seeds of an epoch.
        seed: Of all draws.
        partition: int64, whose users share chunks; None: any.
    """

    by_user: Csr
    by_subreddit: Csr
    features: Features
    sampler: Sampler
    users: Tensor
    seed: int
    partition: Tensor | None = None

    def to(self, device: torch.device) -> TrainingGraph:
        """On another device: sampling and gathering then happen there."""
        partition = None if self.partition is None else self.partition.to(device)
        by_user = self.by_user.to(device)
        return TrainingGraph(
            by_user=by_user,
            by_subreddit=self.by_subreddit.to(device, by_user),
            features=self.features.to(device),
            sampler=self.sampler.to(device),
            users=self.users.to(device),
            seed=self.seed,
            partition=partition,
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Tensors of one step over one chunk.

    Args:
        subreddits: All subreddits of the step, M of them: the N inputs, then further candidates.
        users_below: Users that the inputs are gathered from.
        below: Edges from those users into the N inputs.
        seeds: The chunk's users.
        near: Edges from the N inputs into the seeds.
        candidates: Of the link objective.
        candidate_slot: int64 [C], their rows among the M.
        image_target_BD: float, unit; what p(z_u) is to agree with.
        image_present_B: bool, which seeds have one.
    """

    subreddits: SubredditInputs
    users_below: UserInputs
    below: Neighbourhood
    seeds: UserInputs
    near: Neighbourhood
    candidates: Candidates
    candidate_slot: Tensor
    image_target_BD: Tensor
    image_present_B: Tensor

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class ImageParts:
    """A chunk's own images, divided so that predicting one part from the other is no copy task.

    Args:
        input_BD: float, `own_image` of the input part; zeros if it is empty.
        num_input_B: float, images in it.
        target_BD: float, `own_image` of the target part.
        present_B: bool, the target part is not empty.
    """

    input_BD: Tensor
    num_input_B: Tensor
    target_BD: Tensor
    present_B: Tensor


def divide_images(
    features: Features, centre: Tensor, block: Block, seed: int, epoch: int
) -> ImageParts:
    """Draw each image of the seeds into input or target.

    Half of the time a user's images are all target: most users have none, and the path without
    them must be learned. Otherwise every image is input with probability one half, but for one
    that is always target, and those posted along edges to predict: they would tell the answer.
    """
    users = block.seeds
    owner, image = features.images_of(users)
    dropped = uniform(Stream.IMAGE_DROP, seed, epoch, users) < 0.5
    draw = uniform(Stream.IMAGE_PART, seed, epoch, users[owner], features.image_key[image])
    first = draw.new_full((len(users),), 2.0)
    first.scatter_reduce_(0, owner, draw, reduce="amin")
    along_target = (block.target_BT[owner] == features.image_subreddit[image][:, None]).any(dim=1)
    is_target = (draw < 0.5) | (draw == first[owner]) | dropped[owner] | along_target
    input_sum, num_input = image_sums(features, users, ~is_target)
    target_sum, num_target = image_sums(features, users, is_target)
    return ImageParts(
        input_BD=own_image(input_sum, centre),
        num_input_B=num_input.to(torch.float32),
        target_BD=own_image(target_sum, centre),
        present_B=num_target > 0,
    )


def make_batch(
    graph: TrainingGraph,
    contents: Contents,
    seeds: Tensor,
    *,
    epoch: int,
    step: int,
    num_uniform: int,
) -> Batch:
    """Sample and gather the tensors for one chunk of seeds.

    Args:
        graph, contents: What training reads.
        seeds: int64 [B], users.
        epoch, step: Counters of the draws; `step` numbers the chunk within the epoch.
        num_uniform: Uniform negatives.
    """
    block = graph.sampler.sample(seeds, epoch)
    candidates = draw_candidates(graph, block, epoch, step, num_uniform)
    everyone, candidate_slot = _joined(block.subreddits, candidates.subreddits)
    below, users = _below(graph.by_subreddit, contents, block)
    parts = divide_images(graph.features, contents.centres.image_D, block, graph.seed, epoch)
    edge_BFE = graph.by_user.edge_features(block.edge_BF)
    unseen = graph.by_user.degrees(seeds) - (block.target_BT >= 0).sum(dim=1)
    return Batch(
        subreddits=subreddit_inputs(graph.features, contents, everyone, everyone + 1, seeds),
        users_below=users,
        below=below,
        seeds=UserInputs(
            stats_NK=sample_stats(edge_BFE, block.mask_BF, unseen),
            image_ND=parts.input_BD,
            num_images_N=parts.num_input_B,
        ),
        near=Neighbourhood(slot_RF=block.slot_BF, mask_RF=block.mask_BF, edge_RFE=edge_BFE),
        candidates=candidates,
        candidate_slot=candidate_slot,
        image_target_BD=parts.target_BD,
        image_present_B=parts.present_B,
    )


def _joined(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(both, each once, those of `first` first; where those of `second` are). Both are sorted."""
    if not len(first):
        return second, torch.arange(len(second), device=second.device)
    slot = torch.searchsorted(first, second).clamp(max=len(first) - 1)
    is_new = first[slot] != second
    place = len(first) - 1 + is_new.cumsum(0)
    return torch.cat([first, second[is_new]]), torch.where(is_new, place, slot)


def _below(by_subreddit: Csr, contents: Contents, block: Block) -> tuple[Neighbourhood, UserInputs]:
    ends = by_subreddit.neighbours[block.edge_NG].to(torch.int64)
    # User 0 stands where everything is masked, so that there is always a row to point at.
    users, slot = torch.where(block.mask_NG, ends, 0).unique(return_inverse=True)
    if not len(users):
        users = ends.new_zeros(1)
    near = Neighbourhood(
        slot_RF=slot, mask_RF=block.mask_NG, edge_RFE=by_subreddit.edge_features(block.edge_NG)
    )
    return near, user_inputs(contents, users)


def draw_candidates(
    graph: TrainingGraph, block: Block, epoch: int, step: int, num_uniform: int
) -> Candidates:
    """Targets of the chunk and uniform draws as candidates, with each user's known edges."""
    total = graph.by_subreddit.num_rows
    number = torch.arange(num_uniform, device=block.seeds.device)
    drawn = uniform(Stream.NEGATIVE, graph.seed, epoch, step, number) * total
    asked = block.target_BT >= 0
    subreddits = torch.cat([block.target_BT[asked], drawn.to(torch.int64)]).unique()
    owner, edge = graph.by_user.expand(block.seeds)
    known = among(owner, graph.by_user.neighbours[edge].to(torch.int64), subreddits)
    rows = torch.arange(len(block.seeds), device=asked.device)[:, None].expand_as(asked)
    positive = among(rows[asked], block.target_BT[asked], subreddits)
    degree = graph.by_subreddit.degrees(subreddits).to(torch.float32)
    by_popularity = int(asked.sum()) * degree / max(graph.by_subreddit.num_edges, 1)
    return Candidates(
        subreddits=subreddits,
        positive_2P=positive,
        edge_2K=known,
        log_q_C=inclusion_log_q(by_popularity + num_uniform / total),
    )


def among(owner: Tensor, subreddit: Tensor, chosen: Tensor) -> Tensor:
    """int64 [2, K]: owners of the subreddits that are in `chosen` (sorted), and where there."""
    if not len(chosen):
        return owner.new_zeros(2, 0)
    slot = torch.searchsorted(chosen, subreddit).clamp(max=len(chosen) - 1)
    here = chosen[slot] == subreddit
    return torch.stack([owner[here], slot[here]])
