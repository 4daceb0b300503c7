"""How good personas are, by measures that need no judge: grounding, and what taste they state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from persona.items import slug
from persona.schema import Persona

CAPTION_SHARE = 0.4  # of the surest claim; less sure ones add more noise than taste


def grounded_claim_share(personas: Iterable[tuple[str, Persona]], evidence: pa.Table) -> float:
    """Share of claims whose every cited id is evidence of the same user.

    Args:
        personas: (user_id, persona).
        evidence: Rows of EVIDENCE.

    Returns:
        In [0, 1]; NaN without claims.
    """
    known: dict[str, set[str]] = {}
    pairs = zip(*(evidence.column(n).to_pylist() for n in ("user_id", "evidence_id")), strict=True)
    for user_id, evidence_id in pairs:
        known.setdefault(user_id, set()).add(evidence_id)
    claims, grounded = 0, 0
    for user_id, persona in personas:
        ids = known.get(user_id, set())
        for claim in persona.claims():
            claims += 1
            grounded += ids.issuperset(claim.evidence)
    return grounded / claims if claims else float("nan")


def read_personas(personas: pa.Table) -> Iterable[tuple[str, Persona]]:
    """(user_id, persona) of PERSONAS rows."""
    rows = zip(*(personas.column(n).to_pylist() for n in ("user_id", "persona")), strict=True)
    return ((user_id, Persona.model_validate_json(text)) for user_id, text in rows)


def stated_tags(persona: Persona) -> list[tuple[str, str]]:
    """(facet, tag) pairs that the aesthetic claims state in words, the surest claim first.

    A claim states a tag if it cites the tag's evidence (`g:facet:tag`) and says the tag, singular
    or plural. Tags are slugs: "golden-hour".
    """
    ordered = sorted(persona.aesthetic, key=lambda taste: -taste.confidence)
    return [
        (facet, tag)
        for taste in ordered
        for facet, tag in (_parts(id_) for id_ in taste.evidence if id_.startswith("g:"))
        if _says(taste.text, tag)
    ]


def vendi_score(x_ND: NDArray[np.floating[Any]]) -> float:
    """Effective number of different rows among unit vectors: 1 if all are alike, at most N.

    The exponential of the entropy of the eigenvalues of the cosine matrix over N; the same
    eigenvalues come from the smaller of [N, N] and [D, D].

    Raises:
        ValueError: There are no rows.

    Source: Friedman and Dieng 2023, "The Vendi Score", eq. 1, arXiv:2210.02410.
    """
    if not len(x_ND):
        raise ValueError("x_ND has no rows; expected at least one vector")
    x_ND = np.asarray(x_ND, np.float64)
    gram = x_ND @ x_ND.T if len(x_ND) < x_ND.shape[1] else x_ND.T @ x_ND
    share = np.linalg.eigvalsh(gram / len(x_ND))
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def sure_tags(persona: Persona) -> list[tuple[str, str, tuple[str, ...]]]:
    """(facet, first tag, its cited ids) of every facet that is nearly as sure as the surest."""
    sure = max((taste.confidence for taste in persona.aesthetic), default=0.0)
    found: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for taste in sorted(persona.aesthetic, key=lambda taste: -taste.confidence):
        stated = stated_tags(persona.model_copy(update={"aesthetic": (taste,)}))
        if taste.confidence >= CAPTION_SHARE * sure and stated:
            facet, tag = stated[0]
            ids = tuple(id_ for id_ in taste.evidence if id_.endswith(f":{facet}:{tag}"))
            found.setdefault(facet, (facet, tag, ids))
    return list(found.values())


def clip_text(persona: Persona) -> str:
    """A persona's visual taste as a caption, short enough for any CLIP; the summary if it has none.

    "neon, cat": the first tag of every sure facet, without the sentences around them, which would
    pull all personas to one place of CLIP's space.
    """
    tags = [tag.replace("-", " ") for _, tag, _ in sure_tags(persona)]
    if tags:
        return ", ".join(tags)
    return " ".join(taste.text for taste in persona.aesthetic) or persona.summary


def _parts(evidence_id: str) -> tuple[str, str]:
    _, facet, tag = evidence_id.split(":", 2)
    return facet, tag


def _says(text: str, tag: str) -> bool:
    said = f"-{slug(text)}-"
    stem = tag.removesuffix("y")
    forms = (tag, f"{tag}s", f"{tag}es", f"{stem}ies")
    return any(f"-{form}-" in said for form in forms)
