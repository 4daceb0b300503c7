"""Step evaluate: all tables -> metrics.json, each figure with its baselines, and the user map."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed.clip import clip_identity, load_clip
from embed.config import ClipConfig
from embed.tables import HELDOUT_TARGETS, SUBREDDIT_FEATURES, TAG_EMBEDDINGS, VISUAL_TARGETS
from graph.tables import LINK_METRICS, SALIENT_SUBREDDITS, USER_EMBEDDINGS
from orchestration.config import EvaluateConfig
from orchestration.evaluation.own_versus_other import own_versus_other
from orchestration.evaluation.salience import precision_at, rank_by
from orchestration.evaluation.taste import (
    Tags,
    baseline_weights,
    matrix,
    subreddit_means,
    taste_top1,
    unit,
    weighted_mean,
)
from orchestration.evaluation.truth import Truth, read_truth
from orchestration.evaluation.user_map import user_map
from orchestration.tables import EVALUATION
from persona.config import PersonaResources
from persona.grounded import GroundedVerbalizer, verbalize_user
from persona.items import SUBREDDIT, group_users
from persona.made_with import ENCODER, encoder_of
from persona.population import diversity, heldout_recall
from persona.quality import clip_text, grounded_claim_share, read_personas
from persona.schema import Persona
from persona.tables import EVIDENCE, PERSONAS
from persona.verbalizer import outcome_tables
from pipelines.contract import Counts, Run, Table
from pipelines.tables import INTERACTIONS

Metrics = dict[str, Any]

MAP_FILE = "user_map.parquet"

TFIDF = ("tfidf_items", "tfidf_users")
# Ids are hashes, so the first in their order are a fair sample.
MAX_MEASURED_USERS = 100_000  # parsed personas of millions fit no machine
# Each of these is compared with all others.
MAX_RECALL_USERS = 2000
MAX_TESTED_USERS = 4000


def evaluate(config: EvaluateConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: all tables -> EVALUATION (metrics.json, user_map.parquet)."""
    number = PERSONAS.dataset(run).count_rows()
    personas = first_users(PERSONAS, run, MAX_MEASURED_USERS)
    truth = read_truth(Path(config.truth), Path(config.key_file)) if config.truth else None
    metrics: Metrics = {
        "link": link_metrics(_frame(LINK_METRICS, run)),
        "persona": {"count": number, **persona_metrics(config, personas, run)},
    }
    if truth is not None:
        metrics |= {"taste": taste_metrics(truth, run), "salience": salience_metrics(truth, run)}
        metrics["clip"] = shipped_zero_shot(config.clip, last_zero_shot(run))
    folder = run.staged(EVALUATION)
    (folder / "metrics.json").write_text(json.dumps(_finite(metrics), indent=2, sort_keys=True))
    mapped = first_users(USER_EMBEDDINGS, run, config.map_users)
    encoder = encoder_of(run)
    last = last_map(run, encoder)
    users = user_map(mapped, truth, config.map_users, config.seed, last).to_arrow()
    pq.write_table(users.replace_schema_metadata({ENCODER: encoder}), folder / MAP_FILE)
    return Counts(rows_in=number, rows_out=number)


def link_metrics(table: pl.DataFrame) -> Metrics:
    """MRR of each model on held-out edges; `mrr` is ours, `<model>_mrr` the others'.

    `tfidf_mrr` is the better of the two TF-IDF neighbour models, by items and by users.
    """
    table = table.filter(pl.col("degree") == "all")
    chosen = table.filter((pl.col("split") == "transductive") & (pl.col("metric") == "mrr"))
    by_model = dict(chosen.select("model", "value").iter_rows())
    named = {f"{model}_mrr": value for model, value in by_model.items() if model != "gat"}
    named["mrr_lambda0"] = named.pop("lambda0_mrr", float("nan"))
    neighbours = [named[f"{name}_mrr"] for name in TFIDF if f"{name}_mrr" in named]
    named["tfidf_mrr"] = max(neighbours, default=float("nan"))
    return {"mrr": by_model["gat"], **named, "all": table.to_dicts()}


def taste_metrics(truth: Truth, run: Run) -> Metrics:
    """Top-1 over the planted factors, users with and without images: ours and the baselines'."""
    users = _frame(USER_EMBEDDINGS, run).sort("user_id")
    ids = users["user_id"].to_list()
    with_images = set(_frame(VISUAL_TARGETS, run)["user_id"].to_list())
    tags = Tags.from_table(_frame(TAG_EMBEDDINGS, run))
    names, mean_SD = subreddit_means(_frame(SUBREDDIT_FEATURES, run))
    edges = baseline_weights(_frame(INTERACTIONS, run))
    own = pl.DataFrame(
        [(u, s, 1.0) for u, subreddits in truth.own.items() for s in sorted(subreddits)],
        schema={"user_id": pl.String, "subreddit": pl.String, "oracle": pl.Float64},
        orient="row",
    )
    is_cold = np.array([user not in with_images for user in ids])
    cold = [user for user in ids if user not in with_images]
    warm = [user for user in ids if user in with_images]
    p_UD = matrix(users["clip_embedding"])
    metrics = {
        "with_images_top1": taste_top1(p_UD[~is_cold], warm, truth.factors, tags, p_UD.mean(0)),
        "without_images_top1": taste_top1(p_UD[is_cold], cold, truth.factors, tags, p_UD.mean(0)),
    }
    for name in ("activity", "uniform", "idf", "oracle"):
        source = own if name == "oracle" else edges
        x_UD = weighted_mean(source, name, names, mean_SD, ids)
        top1 = taste_top1(x_UD[is_cold], cold, truth.factors, tags, x_UD.mean(0))
        metrics[f"{name}_top1"] = top1
    planted = truth.factors.keys()
    metrics["users_without_images"] = len(planted & set(cold))
    metrics["users_with_images"] = len(planted & set(warm))
    return metrics


def salience_metrics(truth: Truth, run: Run) -> Metrics:
    """Precision@3 against the planted subreddits: attention's ranking and rankings without it."""
    salient = _frame(SALIENT_SUBREDDITS, run)
    edges = baseline_weights(_frame(INTERACTIONS, run))
    return {
        "attention_p3": precision_at(salient, truth.own),
        "activity_p3": precision_at(rank_by(edges, "activity"), truth.own),
        "idf_p3": precision_at(rank_by(edges, "idf"), truth.own),
        "users": sum(len(own) >= 3 for own in truth.own.values()),
    }


def persona_metrics(config: EvaluateConfig, personas: pl.DataFrame, run: Run) -> Metrics:
    """What personas are worth, in all and by verbalizer."""
    sides = side_by_side(config, personas, run)
    alone = sides.get(personas["verbalizer"][0]) if personas["verbalizer"].n_unique() == 1 else None
    told = told_metrics(config, personas, run) if alone is None else alone
    return {**told, "by_verbalizer": sides}


def told_metrics(config: EvaluateConfig, personas: pl.DataFrame, run: Run) -> Metrics:
    """Grounding, diversity and held-out subreddits; with held-out images own versus other, too."""
    return stated_metrics(personas, run, config.seed) | own_metrics(config, personas, run)


def own_metrics(config: EvaluateConfig, personas: pl.DataFrame, run: Run) -> Metrics:
    """Whether a persona fits its user's held-out images better than another user's does."""
    heldout = _frame(HELDOUT_TARGETS, run).sort("user_id")
    both = heldout.join(personas.select("user_id", "persona"), on="user_id", how="inner")
    both = both.head(MAX_TESTED_USERS)
    if both.is_empty():
        return {}
    clip = load_clip(config.clip.model, config.clip.pretrained)
    text_UD = clip.encode_texts(
        [clip_text(Persona.model_validate_json(text)) for text in both["persona"]]
    )
    won, p_value = own_versus_other(
        unit(text_UD), matrix(both["embedding"]), config.permutations, config.seed
    )
    return {"own_vs_other": won, "permutation_p": p_value, "tested_users": len(both)}


def stated_metrics(personas: pl.DataFrame, run: Run, seed: int) -> Metrics:
    """Grounding, diversity, and what the texts lead to: what takes nothing but the personas."""
    last = personas["user_id"].max()
    evidence = EVIDENCE.dataset(run).to_table(
        columns=["user_id", "evidence_id", "kind", "subreddit"], filter=_until(last)
    )
    shown = pl.DataFrame(pl.from_arrow(evidence)).filter(pl.col("kind") == SUBREDDIT)
    told = personas.to_arrow()
    texts: dict[str, str] = {}
    num_claims: list[int] = []

    def noted() -> Iterator[tuple[str, Persona]]:
        # One after the other: to parse one takes .1 ms, and many at once are slow to collect.
        for user_id, persona in read_personas(told):
            texts[user_id] = " ".join(persona.texts())
            num_claims.append(len(list(persona.claims())))
            yield user_id, persona

    grounded = grounded_claim_share(noted(), evidence)
    sampled = dict(sorted(texts.items())[:MAX_RECALL_USERS])
    return {
        "grounded_claim_share": grounded,
        "claims_a_persona": sum(num_claims) / len(texts) if texts else math.nan,
        "diversity": diversity(list(texts.values()), seed),
        "heldout_subreddits": heldout_recall(
            sampled,
            _subreddits(shown, sampled),
            _subreddits(_frame(SALIENT_SUBREDDITS, run, last), sampled),
        ),
    }


def side_by_side(config: EvaluateConfig, personas: pl.DataFrame, run: Run) -> Metrics:
    """The same figures by verbalizer; beside models always the grounded one, on their evidence."""
    found = {}
    for (name,), group in personas.group_by("verbalizer", maintain_order=True):
        found[str(name)] = group
    if found and GroundedVerbalizer.name not in found:
        rule = pl.col("user_id").is_in(personas["user_id"].head(MAX_RECALL_USERS).implode())
        evidence = (
            _frame(EVIDENCE, run, personas["user_id"].max())
            .filter(rule)
            .to_arrow()
            .cast(EVIDENCE.schema)
        )
        users = list(group_users(evidence))
        outcomes = [verbalize_user(user, config.seed) for user in users]
        rows, _ = outcome_tables(users, outcomes, GroundedVerbalizer.name)
        found[GroundedVerbalizer.name] = pl.DataFrame(pl.from_arrow(rows))
    return {name: told_metrics(config, rows, run) for name, rows in found.items()}


def _subreddits(rows: pl.DataFrame, users: Collection[str]) -> dict[str, frozenset[str]]:
    kept = rows.filter(pl.col("user_id").is_in(list(users)))
    lists = kept.group_by("user_id").agg(pl.col("subreddit"))
    return {user: frozenset(names) for user, names in lists.iter_rows()}


def shipped_zero_shot(clip: ClipConfig, last: Metrics) -> Metrics:
    """Zero-shot accuracy of the tiny CLIP on held-out combinations; `last`, if of its weights."""
    if clip.model != "tiny":
        return {}
    weights = clip_identity(clip.model, clip.pretrained).weights_sha256
    if last.get("weights") == weights:
        return last
    from embed.tiny_clip.evaluate import zero_shot_accuracy

    return {**zero_shot_accuracy(copies=1), "weights": weights}


def last_zero_shot(run: Run) -> Metrics:
    """That of the evaluation that is published; empty without one."""
    path = EVALUATION.path(run) / "metrics.json"
    return dict(json.loads(path.read_text()).get("clip", {})) if path.exists() else {}


def last_map(run: Run, encoder: str) -> pl.DataFrame | None:
    """The map that is published, if it is of the embeddings of the same encoder."""
    path = EVALUATION.path(run) / MAP_FILE
    if not encoder or not path.exists():
        return None
    metadata = pq.read_schema(path).metadata or {}
    is_alike = metadata.get(ENCODER.encode()) == encoder.encode()
    return pl.read_parquet(path) if is_alike else None


def first_users(table: Table, run: Run, number: int) -> pl.DataFrame:
    """Rows of the first users of a table by id, at most `number`: no others are held in memory."""
    ids = pl.Series(table.read(run, columns=["user_id"]).column("user_id"))
    last = ids.sort()[number - 1] if len(ids) > number else None
    return _frame(table, run, last)


def _frame(table: Table, run: Run, last: object = None) -> pl.DataFrame:
    """The table; of the users up to `last` if there is one."""
    frame = pl.from_arrow(table.dataset(run).to_table(filter=_until(last)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _until(last: object) -> pc.Expression | None:
    return None if last is None else pc.field("user_id") <= pc.scalar(last)


def _finite(value: Any) -> Any:
    """NaN as null: JSON knows no NaN, and a figure that could not be had must not look like one."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
