"""Recommenders that need no network, each able to score users it was not fitted on. Scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds

from graph.csr import Csr

Floats = npt.NDArray[np.float64]
Scorer = Callable[[csr_array], Floats]
"""Rows of a user-subreddit matrix -> scores [rows, S]; higher is better."""

NEIGHBOURS = 100
MF_RANKS = (4, 8, 16, 32, 64)


def matrix(by_user: Csr, num_subreddits: int) -> csr_array:
    """The graph as a sparse [U, S] matrix of ones."""
    ones = np.ones(by_user.num_edges)
    offsets, neighbours = by_user.offsets.numpy(), by_user.neighbours.numpy()
    return csr_array((ones, neighbours, offsets), shape=(by_user.num_rows, num_subreddits))


def popularity(train: csr_array) -> Scorer:
    """By number of users."""
    counts = np.asarray((train > 0).sum(axis=0), dtype=np.float64)
    return lambda rows: np.broadcast_to(counts, (rows.shape[0], len(counts)))


def tfidf_items(train: csr_array) -> Scorer:
    """Cosine of TF-IDF columns with the user's subreddits (item neighbours)."""
    weight = _idf(train)
    columns = _unit_rows(csr_array((train @ weight).T))
    similarity = (columns @ columns.T).toarray()
    np.fill_diagonal(similarity, 0)
    return lambda rows: np.asarray(rows @ weight @ similarity)


def tfidf_users(train: csr_array) -> Scorer:
    """Votes of the `NEIGHBOURS` users of nearest TF-IDF rows (user neighbours)."""
    weight = _idf(train)
    known = _unit_rows(csr_array(train @ weight))

    def score(rows: csr_array) -> Floats:
        cosine = (_unit_rows(csr_array(rows @ weight)) @ known.T).toarray()
        keep = min(NEIGHBOURS, cosine.shape[1])
        floor = np.partition(cosine, -keep, axis=1)[:, -keep, None]
        return np.asarray(np.where(cosine >= floor, cosine, 0.0) @ train)

    return score


def matrix_factorisation(train: csr_array, rank: int, seed: int) -> Scorer:
    """Truncated SVD of the degree-normalised matrix; new users are folded in by their rows."""
    users = np.maximum(np.asarray(train.sum(axis=1)), 1e-12)
    items = np.maximum(np.asarray(train.sum(axis=0)), 1e-12)
    normalised = diags_array(users**-0.5) @ train @ diags_array(items**-0.5)
    rank = min(rank, min(train.shape) - 1)
    start = np.random.default_rng(seed).normal(size=min(train.shape))
    _, _, right = svds(normalised.astype(np.float64), k=rank, v0=start)

    def score(rows: csr_array) -> Floats:
        folded = rows @ diags_array(items**-0.5) @ right.T
        return np.asarray(folded @ right * items**0.5)

    return score


def _idf(train: csr_array) -> csr_array:
    frequency = np.asarray((train > 0).sum(axis=0), dtype=np.float64)
    return csr_array(diags_array(np.log((1 + train.shape[0]) / (1 + frequency))))


def _unit_rows(rows: csr_array) -> csr_array:
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)))
    return csr_array(diags_array(1 / np.maximum(norms, 1e-12)) @ rows)
