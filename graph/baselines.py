"""Recommenders that need no network, each able to score users it was not fitted on. Scipy.

All but popularity and user neighbours are a matrix over pairs of subreddits: a user's scores are
the user's row times that matrix. It is dense or sparse, whichever is smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import svds

from graph.csr import Csr

Floats = npt.NDArray[np.floating]
Scorer = Callable[[csr_array], Floats]
"""Rows of a user-subreddit matrix -> scores [rows, S]; higher is better."""

Fitter = Callable[[csr_array], Scorer]
"""The graph as a matrix -> a scorer."""

NEIGHBOURS = 100
MF_RANKS = (4, 8, 16, 32, 64, 128)
EASE_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
DENSE_SHARE = 0.2  # A sparse entry takes as much room as three dense ones, and longer to multiply.


@dataclass(frozen=True, kw_only=True)
class Damping:
    """How much degrees weigh in a linear filter: exponents of what each degree divides by.

    Args:
        via: Of the users between two subreddits.
        source: Of the subreddit that the user has.
        target: Of the subreddit that is scored: 0 favours the popular, 0.5 is neutral.
    """

    via: float
    source: float
    target: float


GF_CF = Damping(via=1.0, source=1.0, target=0.0)
DAMPINGS = (
    Damping(via=0.5, source=0.4, target=0.3),
    Damping(via=0.5, source=0.5, target=0.5),
    Damping(via=0.5, source=0.6, target=0.2),
    Damping(via=1.0, source=0.5, target=0.3),
)


def matrix(by_user: Csr, num_subreddits: int) -> csr_array:
    """The graph as a sparse [U, S] matrix of ones."""
    ones = np.ones(by_user.num_edges)
    offsets, neighbours = by_user.offsets.numpy(), by_user.neighbours.numpy()
    return csr_array((ones, neighbours, offsets), shape=(by_user.num_rows, num_subreddits))


def popularity(train: csr_array) -> Scorer:
    """By number of users."""
    counts = np.asarray((train > 0).sum(axis=0), dtype=np.float64)
    return lambda rows: np.broadcast_to(counts, (rows.shape[0], len(counts)))


def item_cosine(train: csr_array) -> Scorer:
    """Sum of the cosines of columns with those of the user's subreddits (item neighbours)."""
    columns = _unit_rows(csr_array(train.T))
    return _by_items(csr_array(columns @ columns.T))


def tfidf_items(train: csr_array) -> Scorer:
    """The same after TF-IDF, the user's subreddits weighed by it, too."""
    weight = _idf(train)
    columns = _unit_rows(csr_array((train @ weight).T))
    score = _by_items(csr_array(columns @ columns.T))
    return lambda rows: score(csr_array(rows @ weight))


def linear_filter(train: csr_array, damping: Damping = GF_CF) -> Scorer:
    """Two steps of a walk from the user's subreddits over the users that share them.

    `GF_CF` is the linear part of the filter of Shen et al. 2021, arXiv:2108.07567; other dampings
    favour the popular less. Chosen by validation this is the strongest model of its cost.
    """
    return _by_items(walk(train, damping))


def walk(train: csr_array, damping: Damping) -> csr_array:
    """float32 [S, S]: weights of the two steps, from the row's subreddit to the column's."""
    users = np.maximum(np.asarray(train.sum(axis=1)), 1.0) ** -damping.via
    degree = np.maximum(np.asarray(train.sum(axis=0)), 1.0)
    first = diags_array((degree**-damping.source).astype(np.float32)) @ train.T.astype(np.float32)
    second = train.astype(np.float32) @ diags_array((degree**-damping.target).astype(np.float32))
    return csr_array(first @ diags_array(users.astype(np.float32)) @ second)


def ease(train: csr_array, penalty: float) -> Scorer:
    """Linear regression of every subreddit on all others, in closed form; dense [S, S] float64.

    Args:
        train: The graph.
        penalty: Of squared weights, in users.

    Source: Steck 2019, arXiv:1905.03375.
    """
    gram = (train.T @ train).toarray().astype(np.float64)
    np.fill_diagonal(gram, gram.diagonal() + penalty)
    inverse = np.linalg.inv(gram)
    weights = (inverse / -inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return lambda rows: np.asarray(rows @ weights)


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
    items = np.maximum(np.asarray(train.sum(axis=0)), 1e-12)
    right = singular_vectors(train, rank, seed)

    def score(rows: csr_array) -> Floats:
        folded = rows @ diags_array(items**-0.5) @ right.T
        return np.asarray(folded @ right * items**0.5)

    return score


def _by_items(weights: csr_array) -> Scorer:
    """Scores by a matrix over pairs; a subreddit is not its own neighbour."""
    weights = weights.astype(np.float32)
    weights.setdiag(0)
    if weights.nnz < DENSE_SHARE * np.prod(weights.shape):
        return lambda rows: np.asarray((rows @ weights).toarray())
    dense = weights.toarray()
    return lambda rows: np.asarray(rows @ dense)


def singular_vectors(train: csr_array, rank: int, seed: int) -> Floats:
    """float [rank, S]: of the matrix divided by the roots of both degrees; fewer if it is small."""
    users = np.maximum(np.asarray(train.sum(axis=1)), 1e-12)
    items = np.maximum(np.asarray(train.sum(axis=0)), 1e-12)
    normalised = diags_array(users**-0.5) @ train @ diags_array(items**-0.5)
    rank = min(rank, min(train.shape) - 1)
    start = np.random.default_rng(seed).normal(size=min(train.shape))
    _, _, right = svds(normalised.astype(np.float64), k=rank, v0=start)
    return np.asarray(right)


def _idf(train: csr_array) -> csr_array:
    frequency = np.asarray((train > 0).sum(axis=0), dtype=np.float64)
    return csr_array(diags_array(np.log((1 + train.shape[0]) / (1 + frequency))))


def _unit_rows(rows: csr_array) -> csr_array:
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)))
    return csr_array(diags_array(1 / np.maximum(norms, 1e-12)) @ rows)
