"""What stage 3 is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.contract import ConfigError

LAMBDA0, ONE_LAYER = "lambda0", "one_layer"
NO_CONTENT, NO_EDGES, NO_ATTENTION = "no_content", "no_edges", "no_attention"
NO_SPECTRUM = "no_spectrum"
ABLATIONS = (LAMBDA0, ONE_LAYER, NO_CONTENT, NO_EDGES, NO_ATTENTION)


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """interactions -> graph store.

    Args:
        min_subreddits: Users with fewer are left out (counted).
        min_users: Subreddits with fewer are left out (counted).
        half_life_days: Of the time-decayed activity.
    """

    min_subreddits: int = 1
    min_users: int = 1
    half_life_days: float = 90.0

    def __post_init__(self) -> None:
        if self.half_life_days <= 0:
            raise ConfigError(f"half_life_days={self.half_life_days}: expected above 0")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Shape of the GATv2.

    Args:
        dim: Width of z_u and of the hidden states.
        heads: Attention heads; divides dim.
        fanouts: Neighbours sampled at hop 1 (subreddits of a user) and hop 2 (users of those);
            0 users: one layer, subreddits are what they are by themselves.
        dropout: Of learned rows and of the hidden state of users.
        attention: Neighbours are weighed; else they all count alike.
        content_attention: Attention reads how contents of subreddits and user agree.
        edge_features: Attention reads what the user did where, and when.
        spectral: Starts as the linear filter of the training graph: learned rows as its singular
            vectors, attention by degree alone, popular subreddits with longer vectors.
    """

    dim: int = 64
    heads: int = 4
    fanouts: tuple[int, int] = (16, 8)
    dropout: float = 0.2
    attention: bool = True
    content_attention: bool = True
    edge_features: bool = True
    spectral: bool = False

    def __post_init__(self) -> None:
        if self.fanouts[0] < 1 or self.fanouts[1] < 0:
            raise ConfigError(f"fanouts={self.fanouts}: expected at least 1 and 0")
        if self.dim % self.heads:
            raise ConfigError(f"dim={self.dim} is not divisible by heads={self.heads}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """graph store, features, targets -> checkpoint, curves, link metrics.

    Args:
        encoder: Shape.
        image_weight: lambda, the weight of the image objective.
        epochs: Passes over the training users.
        batch_users: Users a step, over all workers.
        chunk_users: Users that are each other's negatives; a step is a power of two of such chunks,
            and workers share them, so that their number changes nothing.
        lr: Peak learning rate of Adam.
        uniform_negatives: Subreddits drawn uniformly as negatives beside the batch's.
        max_targets: Edges of a user, at most, that a step predicts from its others.
        validation_share, test_share: Share of edges held out, of users with enough of them.
        inductive_share: Share of users withheld from training altogether.
        log_every: Epochs between rows of the training curves.
        patience: Epochs after which training stops if no row of the curves ranks validation edges
            better; the weights of the best row are kept then. 0: all epochs, the last weights.
        partitions: METIS partitions whose users share chunks, so that a worker's blocks overlap;
            0: none. Needs dgl.
        ablations: Further variants trained and evaluated beside, of `ABLATIONS`.
        seed: Of everything random.
    """

    encoder: EncoderConfig = EncoderConfig()
    image_weight: float = 0.5
    epochs: int = 50
    batch_users: int = 256
    chunk_users: int = 128
    lr: float = 1e-2
    uniform_negatives: int = 512
    max_targets: int = 8
    validation_share: float = 0.05
    test_share: float = 0.1
    inductive_share: float = 0.1
    log_every: int = 5
    patience: int = 0
    partitions: int = 0
    ablations: tuple[str, ...] = ("lambda0",)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.image_weight < 0:
            raise ConfigError(f"image_weight={self.image_weight}: expected 0 or more")
        if min(self.epochs, self.log_every) < 1:
            raise ConfigError(
                f"epochs={self.epochs}, log_every={self.log_every}: expected at least 1"
            )
        if self.patience < 0 or (self.patience and not self.validation_share):
            raise ConfigError(
                f"patience={self.patience}, validation_share={self.validation_share}: expected 0, "
                "or a number of epochs and a share of edges to judge them by"
            )
        if 0 < self.patience < self.log_every:
            raise ConfigError(
                f"patience={self.patience}, log_every={self.log_every}: expected 0, or at least "
                "log_every; before that there is no row of the curves to judge by"
            )
        if self.chunk_users < 2:
            raise ConfigError(f"chunk_users={self.chunk_users}: expected at least 2")
        chunks, rest = divmod(self.batch_users, self.chunk_users)
        if rest or chunks < 1 or chunks & (chunks - 1):
            raise ConfigError(
                f"batch_users={self.batch_users}: expected chunk_users={self.chunk_users} times a "
                "power of two"
            )
        shares = (self.validation_share, self.test_share, self.inductive_share)
        if min(shares) < 0 or self.validation_share + self.test_share >= 1 or shares[2] >= 1:
            raise ConfigError(f"validation, test and inductive shares {shares}: expected below 1")
        for name in self.ablations:
            if name not in (*ABLATIONS, NO_SPECTRUM):
                raise ConfigError(
                    f"ablations={self.ablations}: expected a subset of {(*ABLATIONS, NO_SPECTRUM)}"
                )

    def ablated(self, name: str) -> TrainConfig:
        """This without one part: image objective, second layer, attention, what it reads, or the
        spectral start.

        Raises:
            ConfigError: There is no such ablation.
        """
        encoder = self.encoder
        if name == LAMBDA0:
            return replace(self, image_weight=0.0)
        if name == ONE_LAYER:
            return replace(self, encoder=replace(encoder, fanouts=(encoder.fanouts[0], 0)))
        if name == NO_CONTENT:
            return replace(self, encoder=replace(encoder, content_attention=False))
        if name == NO_EDGES:
            return replace(self, encoder=replace(encoder, edge_features=False))
        if name == NO_ATTENTION:
            return replace(self, encoder=replace(encoder, attention=False))
        if name == NO_SPECTRUM:
            return replace(self, encoder=replace(encoder, spectral=False))
        raise ConfigError(f"ablation {name!r}: expected one of {ABLATIONS}")


@dataclass(frozen=True, kw_only=True)
class InferConfig:
    """graph store, checkpoint -> user_embeddings, salient_subreddits.

    Args:
        max_salient: Subreddits kept for each user.
        seed: Of neighbour sampling where a degree exceeds its cap.
    """

    max_salient: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GraphResources:
    """How stage 3 runs.

    Args:
        workers: Ray workers; the result does not depend on their number. As many of them train as
            can share the chunks of a step equally (`TrainConfig.batch_users`).
        gpus_per_worker: 0 trains on the CPU.
        threads_per_worker: Torch threads on the CPU.
        sampler: `torch` or `dgl`; same distribution, dgl only on Python 3.11 and below.
        checkpoint_epochs: Epochs between checkpoints; Ray Train takes one in two seconds at most,
            and training waits for it.
        max_failures: How often training restarts from its last checkpoint when a worker dies.
    """

    workers: int = 1
    gpus_per_worker: float = 0.0
    threads_per_worker: int = 1
    sampler: str = "torch"
    checkpoint_epochs: int = 10
    max_failures: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: expected at least 1")
        if self.checkpoint_epochs < 1:
            raise ConfigError(f"checkpoint_epochs={self.checkpoint_epochs}: expected at least 1")
        if self.sampler not in ("torch", "dgl"):
            raise ConfigError(f"sampler={self.sampler!r}: expected torch or dgl")
