"""The encoder: one or two layers of edge-aware GATv2, inductive in users, with a head in CLIP's
space.

Subreddits gather from users, users gather from subreddits. A user is nothing but activity
statistics, its edges and (if it posts any) its images, so a new user needs no training.

Half of the heads of the second layer also mix the subreddits' image means into p(z_u). So the image
objective trains them directly: their mean is what `SALIENT_SUBREDDITS` reports. The other heads are
free to serve the link objective, whose answers lie elsewhere.

Axes: B users, M subreddits, N users below subreddits, F and G neighbours, H heads, D of CLIP,
d hidden, K statistics.
"""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from graph.agreement import agree
from graph.config import EncoderConfig
from graph.dropout import Dropout
from graph.edges import EDGE_FEATURES
from graph.gatv2 import EdgeGatv2

NUM_EDGE_FEATURES = len(EDGE_FEATURES)
NUM_STATS = NUM_EDGE_FEATURES + 1
# Learned rows of subreddits can memorise what their users post, and the head would read it there
# instead of through attention. On the sample, taste of users without images rises from .90 to .95.
HEAD_DROPOUT = 0.5
CONTENT_FEATURES = (
    "log1p_subreddit_degree",
    "image_coherence",
    "image_agreement_mean",
    "image_agreement_max",
    "text_agreement_mean",
    "own_image_agreement",
)
# What a user posts is partly what the user's other subreddits ask for, and predicts the rest of
# the user's images so well that the loss would have it outweigh what attention sees: where the
# weight of own images is free, precision@3 of attention falls from .94 to .91 on the sample world.
MAX_OWN_WEIGHT = 0.5

T = TypeVar("T", bound="_OnDevice")


class _OnDevice:
    def to(self: T, device: torch.device) -> T:
        """On another device."""
        moved: dict[str, Any] = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)  # type: ignore[arg-type]
        }
        return type(self)(**moved)


@dataclass(frozen=True, kw_only=True)
class SubredditInputs(_OnDevice):
    """What the encoder is told of M subreddits.

    Args:
        row_M: int64, learned row; 0 for subreddits that training did not know.
        text_MD: float, CLIP text minus the mean text; zeros if unknown.
        image_MD: float, mean CLIP image minus the mean image; zeros if none.
        stats_MK: float, `graph.stats` over their users.
    """

    row_M: Tensor
    text_MD: Tensor
    image_MD: Tensor
    stats_MK: Tensor

    def rows(self, index: Tensor | slice) -> SubredditInputs:
        """Of some of them."""
        return SubredditInputs(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class UserInputs(_OnDevice):
    """What the encoder is told of N users.

    Args:
        stats_NK: float, `graph.stats` over their subreddits.
        image_ND: float, mean CLIP image minus the mean image; zeros if none is an input.
        num_images_N: float, images in that mean.
    """

    stats_NK: Tensor
    image_ND: Tensor
    num_images_N: Tensor

    def rows(self, index: Tensor) -> UserInputs:
        """Of some of them."""
        return UserInputs(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Neighbourhood(_OnDevice):
    """Sampled edges into R nodes.

    Args:
        slot_RF: int64, rows of the sources; any valid row where masked.
        mask_RF: bool.
        edge_RFE: float, `EDGE_FEATURES`.
    """

    slot_RF: Tensor
    mask_RF: Tensor
    edge_RFE: Tensor


@dataclass(frozen=True, kw_only=True)
class Encoded(_OnDevice):
    """Users as vectors.

    Args:
        z_Bd: float, unit.
        direction_BD: float, unit: where p(z_u) lies from the mean image.
        attention_BF: float, mean over the taste heads of layer 2; sums to 1 over the neighbours.
    """

    z_Bd: Tensor
    direction_BD: Tensor
    attention_BF: Tensor


class Standardise(nn.Module):
    """Columns with the mean and deviation of the training graph taken out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def fit(self, rows: Tensor) -> None:
        """Take mean and deviation from rows [R, width]; a constant column keeps deviation 1."""
        mean, deviation = rows.double().mean(dim=0), rows.double().std(dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """As described; clamped, for one outlier must not rule a batch."""
        scaled: Tensor = ((x - self.mean) / self.deviation).clamp(-5, 5)
        return scaled


class TasteEncoder(nn.Module):
    """The two layers and the heads.

    Args:
        config: Shape.
        num_rows: Learned rows of subreddits, beside the one of the unknown.
        clip_dim: D.
    """

    image_centre_D: Tensor
    text_centre_D: Tensor
    image_radius: Tensor

    def __init__(self, config: EncoderConfig, num_rows: int, clip_dim: int) -> None:
        super().__init__()
        dim = config.dim
        self.config, self.num_rows, self.clip_dim = config, num_rows, clip_dim
        self.taste_heads = max(1, config.heads // 2)
        self.register_buffer("image_centre_D", torch.zeros(clip_dim))
        self.register_buffer("text_centre_D", torch.zeros(clip_dim))
        self.register_buffer("image_radius", torch.ones(()))
        self.edge_scale = Standardise(NUM_EDGE_FEATURES)
        self.content_scale = Standardise(len(CONTENT_FEATURES))
        self.user_scale = Standardise(NUM_STATS)
        self.subreddit_scale = Standardise(NUM_STATS)
        self.table = nn.Embedding(num_rows + 1, dim, padding_idx=0, sparse=True)
        self.subreddit_text = nn.Linear(clip_dim, dim, bias=False)
        self.subreddit_image = nn.Linear(clip_dim, dim, bias=False)
        self.subreddit_stats = nn.Linear(NUM_STATS, dim)
        self.user_stats = nn.Linear(NUM_STATS, dim)
        self.user_image = nn.Linear(clip_dim + 1, dim, bias=False)
        self.to_subreddits = EdgeGatv2(
            dim, dim, NUM_EDGE_FEATURES, dim, config.heads, attend=config.attention
        )
        edge_dim = NUM_EDGE_FEATURES + len(CONTENT_FEATURES)
        self.to_users = EdgeGatv2(dim, dim, edge_dim, dim, config.heads, attend=config.attention)
        self.user_self = nn.Linear(dim, dim)
        self.item = nn.Linear(dim, dim, bias=False)
        self.item_bias = nn.Embedding(num_rows + 1, 1, padding_idx=0, sparse=True)
        self.popularity = nn.Parameter(torch.ones(()))
        self.projection = nn.Linear(dim, clip_dim, bias=False)
        self.own_gate = nn.Linear(1, 1)
        self.log_link_temperature = nn.Parameter(torch.tensor(0.1).log())
        self.log_image_temperature = nn.Parameter(torch.tensor(0.1).log())
        self.dropout = Dropout(config.dropout)
        self.shed = Dropout(HEAD_DROPOUT)
        if config.spectral:
            self.degree_bias = nn.Parameter(torch.tensor(-0.5))
            self.degree_gain = nn.Parameter(torch.tensor(0.5))
        self._initialise()

    def start_from(self, vectors_Sd: Tensor) -> None:
        """Start as the linear filter with these singular vectors of subreddits, row 1 first.

        What is not of the filter starts at zero, and all rows together at the usual scale.
        """
        width = vectors_Sd.shape[1]
        with torch.no_grad():
            self.table.weight.zero_()
            self.table.weight[1:, :width] = unit_rms(vectors_Sd)
            self.to_users.att.mul_(0.1)
            self.popularity.zero_()
            nn.init.eye_(self.to_users.lin_l.weight)
            for linear in (self.user_self, self.subreddit_stats):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)

    def _initialise(self) -> None:
        nn.init.normal_(self.table.weight, std=0.1)
        nn.init.zeros_(self.item_bias.weight)
        nn.init.eye_(self.item.weight)
        nn.init.normal_(self.projection.weight, std=0.01)
        with torch.no_grad():
            self.table.weight[0].zero_()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.image_radius.device

    def set_centres(self, image_D: Tensor, text_D: Tensor, radius: float) -> None:
        """Remember the mean image, the mean text, and how far users' images lie from the first."""
        self.image_centre_D.copy_(image_D)
        self.text_centre_D.copy_(text_D)
        self.image_radius.fill_(radius)

    def clip_embedding(self, direction_BD: Tensor) -> Tensor:
        """p(z_u), unit, where images of CLIP lie: as far from their mean as users' images are."""
        return unit(unit(self.image_centre_D) + self.image_radius * direction_BD)

    def describe(self, inputs: SubredditInputs) -> Tensor:
        """x_Md: subreddits by themselves: learned row, text, images, statistics."""
        row = self.dropout(self.table(inputs.row_M))
        content = self.subreddit_text(inputs.text_MD) + self.subreddit_image(inputs.image_MD)
        stats = self.subreddit_stats(self.subreddit_scale(inputs.stats_MK))
        x: Tensor = row + content + 0.1 * stats
        return x

    def introduce(self, inputs: UserInputs) -> Tensor:
        """x_Nd: users by themselves."""
        x: Tensor = self.user_stats(self.user_scale(inputs.stats_NK))
        posts = torch.nonzero(inputs.num_images_N)[:, 0]  # Most users post none.
        count = inputs.num_images_N[posts][:, None].log1p()
        x.index_add_(0, posts, self.user_image(torch.cat([inputs.image_ND[posts], count], dim=1)))
        return nn.functional.gelu(x)

    def gather_users(self, x_Md: Tensor, users: UserInputs, below: Neighbourhood) -> Tensor:
        """h_Md, layer 1: subreddits with what their users add; as they were, of one layer."""
        if not self.config.fanouts[1]:
            return x_Md
        edge = self._edges(below)
        out, _ = self.to_subreddits(self.introduce(users), x_Md, edge, below.slot_RF, below.mask_RF)
        return x_Md + nn.functional.gelu(out)

    def gather_subreddits(
        self, h_Md: Tensor, subreddits: SubredditInputs, users: UserInputs, near: Neighbourhood
    ) -> Encoded:
        """Layer 2 and heads: users from their subreddits."""
        hidden_Bd, attention_BF = self.mix(h_Md, subreddits, users, near)
        return Encoded(
            z_Bd=unit(hidden_Bd),
            direction_BD=self.direct(hidden_Bd, attention_BF, subreddits, users, near),
            attention_BF=attention_BF,
        )

    def mix(
        self, h_Md: Tensor, subreddits: SubredditInputs, users: UserInputs, near: Neighbourhood
    ) -> tuple[Tensor, Tensor]:
        """(hidden_Bd, whose direction is z_u; attention_BF) of layer 2."""
        x_Bd = self.introduce(users)
        edge = torch.cat([self._edges(near), self._content(subreddits, users, near)], dim=-1)
        bias = None
        if self.config.spectral:
            bias = self.degree_bias * subreddits.stats_MK[:, 0][near.slot_RF]
        out, alpha_BFH = self.to_users(h_Md, x_Bd, edge, near.slot_RF, near.mask_RF, bias_NF=bias)
        attention_BF = alpha_BFH[..., : self.taste_heads].mean(dim=-1)
        return self.dropout(out + self.user_self(x_Bd)), attention_BF

    def direct(
        self,
        hidden_Bd: Tensor,
        attention_BF: Tensor,
        subreddits: SubredditInputs,
        users: UserInputs,
        near: Neighbourhood,
    ) -> Tensor:
        """direction_BD of `Encoded`, from what `mix` gives."""
        images = subreddits.image_MD
        seen = nn.functional.embedding_bag(
            near.slot_RF, images, per_sample_weights=attention_BF.to(images.dtype), mode="sum"
        )
        gate = MAX_OWN_WEIGHT * self.own_gate(users.num_images_N[:, None].log1p()).sigmoid()
        projected = self.projection(self.shed(hidden_Bd))
        return unit(unit(seen) + gate * users.image_ND + projected)

    def _edges(self, near: Neighbourhood) -> Tensor:
        """Edge features as attention reads them: standardised, or zeros without."""
        if not self.config.edge_features:
            return torch.zeros_like(near.edge_RFE)
        scaled: Tensor = self.edge_scale(near.edge_RFE)
        return scaled

    def _content(
        self, subreddits: SubredditInputs, users: UserInputs, near: Neighbourhood
    ) -> Tensor:
        """The same of `content_features`; without contents, of degrees alone."""
        if self.config.content_attention:
            features = content_features(subreddits, users, near)
        else:
            degree = subreddits.stats_MK[:, :1][near.slot_RF]
            features = nn.functional.pad(degree, (0, len(CONTENT_FEATURES) - 1))
        scaled: Tensor = self.content_scale(features)
        return scaled

    def item_vectors(self, x_Md: Tensor, inputs: SubredditInputs) -> Tensor:
        """t_Md: subreddits as answers of link prediction; unit, unless spectral."""
        answers: Tensor = self.item(x_Md)
        if not self.config.spectral:
            return unit(answers)
        log_degree = inputs.stats_MK[:, 0] - self.subreddit_scale.mean[0]
        return answers * (self.degree_gain * log_degree).exp()[:, None]

    def item_prior(self, inputs: SubredditInputs) -> Tensor:
        """float [M]: logit of a subreddit for anybody, first of all the log of its popularity."""
        log_degree = inputs.stats_MK[:, 0] - self.subreddit_scale.mean[0]
        prior: Tensor = self.popularity * log_degree + self.item_bias(inputs.row_M)[:, 0]
        return prior

    def link_scores(self, z_Bd: Tensor, t_Md: Tensor, prior_M: Tensor) -> Tensor:
        """Logits [B, M] of user and subreddit."""
        return z_Bd @ t_Md.T / temperature(self.log_link_temperature) + prior_M


def temperature(log_temperature: Tensor) -> Tensor:
    """A learned temperature within the range where InfoNCE is stable."""
    return log_temperature.exp().clamp(0.03, 1.0)


def unit(x: Tensor) -> Tensor:
    """Rows of length one; zeros stay zeros."""
    return nn.functional.normalize(x, dim=-1, eps=1e-8)


def unit_rms(x: Tensor) -> Tensor:
    """Rows scaled alike, to length one in the root mean square."""
    return x / x.square().sum(dim=1).mean().sqrt().clamp(min=1e-8)


def content_features(subreddits: SubredditInputs, users: UserInputs, near: Neighbourhood) -> Tensor:
    """How each neighbour's content agrees with the user's other neighbours and own images.

    Returns:
        float [B, F, len(CONTENT_FEATURES)]; what each means is in the name.
    """
    image_MD, text_MD = unit(subreddits.image_MD), unit(subreddits.text_MD)
    agreement = compiled_agreement if near.mask_RF.device.type == "cpu" else tensor_agreement
    columns = [
        subreddits.stats_MK[:, 0][near.slot_RF],
        subreddits.image_MD.norm(dim=-1)[near.slot_RF],
        *agreement(image_MD, text_MD, unit(users.image_ND), near),
    ]
    return torch.stack(columns, dim=-1)


def compiled_agreement(
    image_MD: Tensor, text_MD: Tensor, own_BD: Tensor, near: Neighbourhood
) -> list[Tensor]:
    """The agreements among `CONTENT_FEATURES`, float [B, F], by the kernel of `graph.agreement`."""
    found = [torch.zeros(near.mask_RF.shape) for _ in range(4)]
    inputs = (image_MD, text_MD, own_BD, near.slot_RF, near.mask_RF)
    agree(*(x.contiguous().numpy() for x in inputs), *(x.numpy() for x in found))
    return found


def tensor_agreement(
    image_MD: Tensor, text_MD: Tensor, own_BD: Tensor, near: Neighbourhood
) -> list[Tensor]:
    """The same by tensors, on any device."""
    others = near.mask_RF[:, None, :] & near.mask_RF[:, :, None]
    others = others & ~torch.eye(near.mask_RF.shape[1], dtype=torch.bool, device=others.device)
    image_BFD, text_BFD = image_MD[near.slot_RF], text_MD[near.slot_RF]
    image_BFF = (image_BFD @ image_BFD.mT) * others
    text_BFF = (text_BFD @ text_BFD.mT) * others
    count = others.sum(dim=-1).clamp(min=1)
    own_BF = (image_BFD @ own_BD[..., None])[..., 0]
    text_BF = text_BFF.sum(dim=-1) / count
    return [image_BFF.sum(dim=-1) / count, image_BFF.amax(dim=-1), text_BF, own_BF]
