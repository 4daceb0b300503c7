"""Tables and artifacts of stage 3: the graph, its encoder, and users as vectors."""

from __future__ import annotations

import pyarrow as pa

from pipelines.contract import Artifact, Table, column, vector
from pipelines.tables import SUBREDDIT, USER_ID

GRAPH_STORE = Artifact(
    name="graph_store",
    doc="memory-mapped bipartite graph: user_index, subreddit_index, CSR both ways, edge features",
)

CHECKPOINT = Artifact(
    name="checkpoint",
    doc="encoder weights, config, optimizer and sampler state; lambda0/ holds the run without "
    "the image objective",
)

TRAINING_CURVES = Table(
    name="training_curves",
    doc="one logged epoch of one training run",
    key=("variant", "epoch"),
    schema=pa.schema(
        [
            column("variant", pa.string(), "gat, or an ablation such as lambda0"),
            column("epoch", pa.int32(), "from 1"),
            column("loss_link", pa.float32(), "mean over steps, nats"),
            column("loss_image", pa.float32(), "mean over steps, nats; NaN if not trained"),
            column("validation_mrr", pa.float32(), "on validation edges"),
            column("alignment", pa.float32(), "mean squared distance of positive pairs"),
            column("uniformity", pa.float32(), "log mean Gaussian potential, lower is better"),
            column("effective_rank", pa.float32(), "exp entropy of the singular values"),
            column("seeds_per_s", pa.float32(), "users trained on a second, all workers"),
        ]
    ),
)

LINK_METRICS = Table(
    name="link_metrics",
    doc="link prediction on held-out edges, ours and the baselines'",
    key=("split", "model", "degree", "metric"),
    schema=pa.schema(
        [
            column("split", pa.string(), "transductive or inductive"),
            column("model", pa.string(), "gat, lambda0, popularity, ease, mf, ..."),
            column("degree", pa.string(), "all, or the users with so many input edges: 5-14"),
            column("metric", pa.string(), "mrr, hits_at_10, recall_at_20, ndcg_at_20"),
            column("value", pa.float64(), "mean over users"),
            column("num_users", pa.int64(), "users in the mean"),
        ]
    ),
)

USER_EMBEDDINGS = Table(
    name="user_embeddings",
    doc="every user of the graph, also those that training never saw",
    key=("user_id",),
    schema=pa.schema(
        [
            USER_ID,
            column("embedding", vector(pa.float32()), "z_u, unit"),
            column("clip_embedding", vector(pa.float32()), "p(z_u) in CLIP's space, unit"),
            column("num_subreddits", pa.int32(), "degree"),
            column("has_images", pa.bool_(), "v_u was an input"),
            column("inductive", pa.bool_(), "never a seed nor a neighbour in training"),
        ]
    ),
)

SALIENT_SUBREDDITS = Table(
    name="salient_subreddits",
    doc="subreddits of one user ranked by attention",
    key=("user_id", "subreddit"),
    schema=pa.schema(
        [
            USER_ID,
            SUBREDDIT,
            column("rank", pa.int16(), "from 0, most salient first"),
            column("attention", pa.float32(), "share over the user's subreddits; sums to 1"),
            column("num_actions", pa.int64(), "submissions and comments there"),
        ]
    ),
)
