"""How personas differ as a population, and what they let a reader tell of their users. Pure.

Personas one by one may be faithful and still be all alike; these figures see that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from persona.privacy import words_of
from persona.quality import vendi_score

MAX_TEXTS = 2000
BLEU_TEXTS, BLEU_OTHERS, BLEU_ORDER = 200, 50, 4


def diversity(texts: Sequence[str], seed: int) -> dict[str, float]:
    """Vendi score, distance to the nearest other, and self-BLEU of at most 2,000 texts.

    Args:
        texts: One a user.
        seed: Of the sample.

    Returns:
        `vendi` (effective number of different texts), `vendi_share` (of their number),
        `nearest` (mean cosine distance to the most alike other text, 0 for copies), `self_bleu`
        (0: nothing in common, 1: copies), `distinct_share`; NaN of fewer than two texts.
    """
    names = ("vendi", "vendi_share", "nearest", "self_bleu", "distinct_share")
    if len(texts) < 2:
        return dict.fromkeys(names, math.nan)
    chosen = np.random.default_rng(seed).permutation(len(texts))[:MAX_TEXTS]
    sample = [texts[index] for index in chosen]
    x_NT = tfidf(sample).toarray()
    cosine_NN = x_NT @ x_NT.T
    np.fill_diagonal(cosine_NN, -1.0)
    vendi = vendi_score(x_NT)
    nearest = float(1.0 - np.clip(cosine_NN.max(axis=1), 0.0, 1.0).mean())
    distinct = len(set(sample)) / len(sample)
    figures = (vendi, vendi / len(sample), nearest, self_bleu(sample), distinct)
    return dict(zip(names, figures, strict=True))


def tfidf(texts: Sequence[str]) -> csr_array:
    """Unit rows of words weighted by rarity, [N, words]."""
    vectorizer = TfidfVectorizer(tokenizer=words_of, token_pattern=None, sublinear_tf=True)
    return csr_array(vectorizer.fit_transform(texts))


def self_bleu(texts: Sequence[str]) -> float:
    """Mean BLEU-4 of texts against others: how much of one is phrases of the rest.

    Each of the first 200 texts is held against the 50 after it.

    Source: Zhu et al. 2018, "Texygen", arXiv:1802.01886; Papineni et al. 2002, BLEU.
    """
    told = [Phrases.of(words_of(text)) for text in texts[: BLEU_TEXTS + BLEU_OTHERS]]
    scores = []
    for place in range(min(len(told), BLEU_TEXTS)):
        others = [told[(place + step) % len(told)] for step in range(1, BLEU_OTHERS + 1)]
        scores.append(bleu(told[place], others[: len(told) - 1]))
    return float(np.mean(scores)) if scores else math.nan


@dataclass(frozen=True)
class Phrases:
    """How often a text holds each run of 1, 2, 3 and 4 words.

    Args:
        num_words: Length of the text.
        counts: By order, the shortest runs first.
    """

    num_words: int
    counts: tuple[Counter[tuple[str, ...]], ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> Phrases:
        """Those of a text."""
        orders = range(1, BLEU_ORDER + 1)
        return cls(len(words), tuple(Counter(_runs(words, order)) for order in orders))


def _runs(words: Sequence[str], order: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu(text: Phrases, references: Sequence[Phrases]) -> float:
    """BLEU with up to 4 words, without smoothing: 0 where no phrase of some length is shared."""
    logs = []
    for order, own in enumerate(text.counts):
        others = [reference.counts[order] for reference in references]
        # Of each phrase as many as the reference that holds most of them.
        shared = sum(
            min(n, max(other.get(phrase, 0) for other in others)) for phrase, n in own.items()
        )
        if not shared:
            return 0.0
        logs.append(math.log(shared / own.total()))
    sizes = (reference.num_words for reference in references)
    closest = min(sizes, key=lambda n: (abs(n - text.num_words), n))
    brevity = min(0.0, 1.0 - closest / text.num_words)
    return math.exp(brevity + sum(logs) / BLEU_ORDER)


def heldout_recall(
    texts: Mapping[str, str],
    shown: Mapping[str, frozenset[str]],
    attended: Mapping[str, frozenset[str]],
    k: int = 20,
) -> dict[str, float]:
    """How many subreddits that a persona was not made of its text still leads to.

    A subreddit is described by the personas of the other users who attend to it; a user's text is
    held against every subreddit that was no evidence of theirs.

    Args:
        texts: user_id -> persona.
        shown: user_id -> subreddits that were evidence.
        attended: user_id -> all subreddits; those beyond `shown` are held out.
        k: Depth.

    Returns:
        `recall` at k, beside that of a ranking by `popularity`, and the number of `users` with
        anything held out; NaN without any.
    """
    users = sorted(texts)
    names = sorted(set().union(*(attended.get(user, frozenset()) for user in users)))
    column = {name: index for index, name in enumerate(names)}
    pairs = [(row, column[n]) for row, user in enumerate(users) for n in attended.get(user, ())]
    figures: list[tuple[float, float]] = []
    if len(users) > 1 and pairs:
        rows, columns = zip(*pairs, strict=True)
        attends_US = csr_array((np.ones(len(pairs)), (rows, columns)), (len(users), len(names)))
        x_UT = tfidf([texts[user] for user in users])
        profile_ST = csr_array(attends_US.T @ x_UT)
        square_S, count_S = profile_ST.power(2).sum(axis=1), attends_US.sum(axis=0)
        for row, user in enumerate(users):
            shown_here = shown.get(user, frozenset())
            held = {column[name] for name in attended.get(user, frozenset()) - shown_here}
            if not held:
                continue
            hidden = [column[name] for name in shown_here if name in column]
            # The user's own text is taken out of the profiles again: x of unit length.
            own_S = attends_US[[row]].toarray()[0]
            product_S = (profile_ST @ x_UT[[row]].T).toarray()[:, 0]
            norm_S = np.sqrt(np.maximum(square_S - own_S * (2 * product_S - 1), 1e-9))
            score_S = (product_S - own_S) / norm_S
            popular_S = count_S - own_S
            figures.append((_recall(score_S, held, hidden, k), _recall(popular_S, held, hidden, k)))
    if not figures:
        return {"recall": math.nan, "popularity": math.nan, "users": 0}
    recall, popularity = np.mean(figures, axis=0)
    return {"recall": float(recall), "popularity": float(popularity), "users": len(figures)}


def _recall(score_S: NDArray[np.float64], held: set[int], hidden: Sequence[int], k: int) -> float:
    ranked = score_S.copy()
    ranked[list(hidden)] = -np.inf
    top = np.argsort(-ranked, kind="stable")[:k]
    return len(held.intersection(top.tolist())) / min(len(held), k)
