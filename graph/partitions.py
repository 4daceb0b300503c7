"""Users in partitions that share subreddits, by METIS. Needs dgl.

METIS over all users would need many times the graph's memory, and hubs tie everything together. So
it cuts the subreddits, of which there are few, by which of them have users in common beyond what
their sizes explain; a user goes where most of its subreddits are.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from graph.csr import Csr

os.environ.setdefault("DGLBACKEND", "pytorch")  # Unset, dgl prints advice and writes a file.
import dgl

SAMPLE_USERS = 200_000
MAX_DEGREE = 64  # A user of hundreds of subreddits says little of any two.
NEIGHBOURS = 16


def user_partitions(by_user: Csr, num_subreddits: int, partitions: int) -> Tensor:
    """int64 [U]: partition of each user, in [0, partitions).

    Args:
        by_user: Edges of training.
        num_subreddits: S.
        partitions: At least 2.
    """
    place_S = subreddit_partitions(by_user, num_subreddits, partitions)
    degree_S = torch.bincount(by_user.neighbours, minlength=num_subreddits).to(torch.float32)
    weight_S = 1 / (degree_S + 1).log1p()  # hubs are everybody's
    parts = []
    for start, stop in by_user.ranges():
        rows = torch.repeat_interleave(torch.arange(stop - start), by_user.degrees()[start:stop])
        there = by_user.neighbours[by_user.offsets[start] : by_user.offsets[stop]].long()
        votes = torch.zeros((stop - start) * partitions)
        votes.index_add_(0, rows * partitions + place_S[there], weight_S[there])
        parts.append(votes.view(-1, partitions).argmax(dim=1))
    return torch.cat(parts)


def subreddit_partitions(by_user: Csr, num_subreddits: int, partitions: int) -> Tensor:
    """int64 [S]: METIS partitions of the subreddits by their common users."""
    near = common_users(by_user, num_subreddits).tocoo()
    graph = dgl.graph((torch.from_numpy(near.row).long(), torch.from_numpy(near.col).long()),
                      num_nodes=num_subreddits)  # fmt: skip
    graph = dgl.to_bidirected(graph)
    found: Tensor = dgl.metis_partition_assignment(graph, partitions)
    return found.long()


def common_users(by_user: Csr, num_subreddits: int) -> csr_array:
    """[S, S]: the `NEIGHBOURS` subreddits nearest to each by cosine of their sampled users."""
    degree = by_user.degrees()
    users = torch.nonzero((degree > 1) & (degree <= MAX_DEGREE))[:, 0]
    users = users[:: max(1, len(users) // SAMPLE_USERS)]
    owner, edge = by_user.expand(users)
    columns = by_user.neighbours[edge].numpy()
    ones = np.ones(len(edge), dtype=np.float32)
    visits = csr_array((ones, (owner.numpy(), columns)), shape=(len(users), num_subreddits))
    size = np.maximum(np.asarray(visits.sum(axis=0)).ravel(), 1.0)
    visits = visits @ diags_array(1 / np.sqrt(size)).tocsr().astype(np.float32)
    common = (visits.T @ visits).tocsr()
    common.setdiag(0)
    common.eliminate_zeros()
    return _largest(common)


def _largest(matrix: csr_array) -> csr_array:
    """Each row with only its `NEIGHBOURS` largest entries."""
    rows: npt.NDArray[np.int64] = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))
    rank = np.arange(len(rows)) - matrix.indptr[rows]
    kept = order[rank < NEIGHBOURS]
    entries = (matrix.data[kept], (rows[kept], matrix.indices[kept]))
    return csr_array(entries, shape=matrix.shape)
