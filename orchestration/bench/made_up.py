"""Made-up users for benchmarks of stage 4: evidence to verbalize, and rows of the persona store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from persona.grounded import verbalize_user
from persona.indexing import evidence_json
from persona.items import Item, UserEvidence, evidence_table, tag_id
from persona.quality import stated_tags
from persona.schema import Persona
from persona.store_tables import store_schema

SUBREDDITS = (
    *("analogcats", "neonnights", "pastelpeaks", "foggyforests", "campfirecooks", "breadbakers"),
    *("trainwatchers", "homenetworkers", "weekendprojects", "puzzletable", "knittingcircle"),
    *("movietalk", "bikecommuters", "jazz", "boardgames", "woodturning", "birdwatching"),
    *("urbanhiking", "synthbuilders", "typewriters"),
)
SENTENCES = (
    "Thanks, I love what the lens did to that photo!!",
    "Lovely tones. Which camera and lens was it?",
    "I wonder whether a longer exposure would have kept the glow.",
    "Maybe try a slower rise, the crust comes out better for me.",
    "Has anyone fixed a loose chain on the way to work?",
    "I remember my grandfather building one of these by hand.",
    "No, this is plainly wrong and the manual says so.",
    "Haha, the cat planned all of this.",
    "Here is how I did it: sand first, then two thin coats.",
    "The second album is the better one, hands down.",
)
TAGS = {
    "palette": ("neon", "pastel", "sepia", "jewel", "sunset"),
    "subject": ("cat", "mountain", "cottage", "bird", "bicycle"),
    "treatment": ("watercolor", "grain", "bokeh", "flat"),
    "composition": ("closeup", "centered", "tilted", "wide"),
}
NUM_TEMPLATES = 500


def user_id(index: int) -> str:
    """16 characters of base 32, as pseudonyms are."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    mixed = (index * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)  # spread, and one to one
    return "".join(letters[(mixed >> (5 * place)) & 31] for place in range(13)) + "bnc"


def made_up_user(index: int) -> UserEvidence:
    """Six subreddits with four remarks each, and seven tags; about what real users have."""
    rng = np.random.default_rng(index)
    items = []
    share = np.sort(rng.dirichlet(np.ones(6)))[::-1]
    for place, name in enumerate(rng.permutation(SUBREDDITS)[:6].tolist()):
        weight = round(float(share[place]), 3)
        items.append(Item(f"s:{name}", "subreddit", name, None, name, weight, 11, False))
        for number, sentence in enumerate(rng.choice(len(SENTENCES), 4).tolist()):
            id_ = f"t1_{index:x}{place}{number}"
            text = f"{SENTENCES[sentence]} ({index}.{number})"
            items.append(Item(id_, "snippet", name, None, text, weight, 22, False))
    tags = [(facet, tag) for facet, values in TAGS.items() for tag in values]
    z_T = np.round(rng.normal(1.0, 0.8, len(tags)), 3)
    for place in np.argsort(-z_T)[:7].tolist():
        facet, tag = tags[place]
        z = max(0.75, float(z_T[place]))
        items.append(Item(tag_id(facet, tag), "tag", None, facet, tag, z, 9, False))
    return UserEvidence(user_id(index), tuple(items))


class StoreRows:
    """Rows of the persona store, as many as are asked for, made quickly from a few hundred.

    Every user has texts and ids of their own, for equal texts would be stored but once.

    Args:
        dim, clip_dim: Lengths of the vectors.
    """

    def __init__(self, dim: int, clip_dim: int) -> None:
        self._schema = store_schema(dim, clip_dim)
        self._dims = (dim, clip_dim)
        users = [made_up_user(index) for index in range(NUM_TEMPLATES)]
        made = [verbalize_user(user, 0) for user in users]
        personas = [persona for persona in made if isinstance(persona, Persona)]
        items = list(evidence_json(evidence_table(users)).values())
        self._columns: dict[str, list[Any]] = {
            "summary": [p.summary for p in personas],
            "text": ["\n".join(p.texts()) for p in personas],
            "facets": [[f"{facet}={tag}" for facet, tag in stated_tags(p)] for p in personas],
            "interests": [[claim.text for claim in p.interests] for p in personas],
            "persona": [p.model_dump_json() for p in personas],
            "evidence": items[: len(personas)],
        }
        self._size = len(personas)

    def vectors(self, start: int, stop: int, column: int) -> np.ndarray:
        """Unit rows around 256 centres, [stop - start, dim]; the same whenever asked."""
        dim = self._dims[column]
        centres_CD = np.random.default_rng(column).normal(size=(256, dim)).astype(np.float32)
        rng = np.random.default_rng((column, start))
        x_ND = 0.8 * rng.normal(size=(stop - start, dim)).astype(np.float32)
        x_ND += centres_CD[rng.integers(256, size=stop - start)]
        scaled: np.ndarray = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
        return scaled

    def batches(self, count: int, size: int, run: str, made_utc: int) -> Iterator[pa.Table]:
        """`count` users in batches of `size`."""
        for start in range(0, count, size):
            stop = min(count, start + size)
            yield self._batch(start, stop, run, made_utc)

    def _batch(self, start: int, stop: int, run: str, made_utc: int) -> pa.Table:
        number = stop - start
        places = [(index + made_utc) % self._size for index in range(start, stop)]
        ids = [user_id(index) for index in range(start, stop)]
        columns: dict[str, Any] = {
            name: [values[place] for place in places] for name, values in self._columns.items()
        }
        for name in ("summary", "text"):
            columns[name] = [f"{t} {id_}" for t, id_ in zip(columns[name], ids, strict=True)]
        for name in ("persona", "evidence"):
            pairs = zip(columns[name], range(start, stop), strict=True)
            columns[name] = [t.replace('"t1_', f'"t1_{index:07x}') for t, index in pairs]
        columns |= {
            "user_id": ids,
            "confidence": np.random.default_rng(start).random(number, np.float32),
            "evidence_hash": [f"{run}{place:028x}" for place in places],
            "verbalizer": ["grounded"] * number,
            "clip_version": ["made-up"] * number,
            "run_version": [run] * number,
            "made_utc": [made_utc] * number,
        }
        for column, name in enumerate(("embedding", "clip_embedding")):
            flat = pa.array(self.vectors(start, stop, column).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, self._dims[column])
        return pa.table(columns, schema=self._schema)
