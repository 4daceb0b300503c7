"""The order of the steps: what each reads and writes. Importing this starts no engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from embed.tables import (
    HELDOUT_TARGETS,
    IMAGE_EMBEDDINGS,
    SUBREDDIT_FEATURES,
    TAG_EMBEDDINGS,
    USER_IMAGES,
    VISUAL_TARGETS,
)
from graph.tables import (
    CHECKPOINT,
    GRAPH_STORE,
    LINK_METRICS,
    SALIENT_SUBREDDITS,
    TRAINING_CURVES,
    USER_EMBEDDINGS,
)
from orchestration.tables import APPROVAL, EVALUATION
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS, QUARANTINE, USER_DATA
from pipelines.contract import Artifact, Counts, Run, Table
from pipelines.tables import COMMENTS, INTERACTIONS, MEDIA, REJECTS, SNIPPETS, SUBMISSIONS

StepFunction = Callable[[Any, Any, Run], Counts]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the flow.

    Args:
        name: Name on the command line, in manifests and in profiles.
        function: `module:function`; imported only when the step runs, for engines are slow to load.
        reads, writes: Its tables and artifacts.
        monthly: Runs once for each dump month.
        ray: Needs a Ray cluster.
        resumable: Keeps its staging folder after a kill and finds its finished shards there.
        version: Of the code. Raise it with a change that makes other rows of the same inputs: what
            was made by another version is made again.
        after: Steps that a run has done before, though it reads nothing of theirs.
        keepable: A refresh may keep its result where nothing but data changed (`Profile.keep`).
    """

    name: str
    function: str
    reads: tuple[Table | Artifact, ...]
    writes: tuple[Table | Artifact, ...]
    monthly: bool = False
    ray: bool = False
    resumable: bool = False
    version: int = 1
    after: tuple[str, ...] = ()
    keepable: bool = False

    def load(self) -> StepFunction:
        """The step's function."""
        module, _, name = self.function.partition(":")
        function: StepFunction = getattr(import_module(module), name)
        return function


FLOW = (
    Step(
        name="ingest",
        function="pipelines.ingest:ingest",
        reads=(),
        writes=(SUBMISSIONS, COMMENTS, MEDIA, REJECTS),
        monthly=True,
        version=5,
    ),
    Step(
        name="interactions",
        function="pipelines.interactions:interactions",
        reads=(SUBMISSIONS, COMMENTS),
        writes=(INTERACTIONS, SNIPPETS),
        monthly=True,
    ),
    Step(
        name="embed_images",
        function="embed.images:embed_images",
        reads=(MEDIA,),
        writes=(IMAGE_EMBEDDINGS,),
        ray=True,
        resumable=True,
        version=3,
    ),
    Step(
        name="visual_targets",
        function="embed.products:visual_targets",
        reads=(MEDIA, IMAGE_EMBEDDINGS),
        writes=(USER_IMAGES, VISUAL_TARGETS, HELDOUT_TARGETS),
    ),
    Step(
        name="subreddit_features",
        function="embed.products:subreddit_features",
        reads=(SUBMISSIONS, USER_IMAGES, IMAGE_EMBEDDINGS),
        writes=(SUBREDDIT_FEATURES, TAG_EMBEDDINGS),
        ray=True,
    ),
    Step(
        name="build_graph",
        function="graph.build:build_graph",
        reads=(INTERACTIONS,),
        writes=(GRAPH_STORE,),
        version=2,
    ),
    Step(
        name="train_gat",
        function="graph.train:train_gat",
        reads=(GRAPH_STORE, SUBREDDIT_FEATURES, VISUAL_TARGETS, USER_IMAGES, IMAGE_EMBEDDINGS),
        writes=(CHECKPOINT, TRAINING_CURVES, LINK_METRICS),
        ray=True,
        resumable=True,
        version=2,
        keepable=True,
    ),
    Step(
        name="infer_users",
        function="graph.infer:infer_users",
        reads=(GRAPH_STORE, CHECKPOINT, SUBREDDIT_FEATURES, VISUAL_TARGETS),
        writes=(USER_EMBEDDINGS, SALIENT_SUBREDDITS),
        ray=True,
        resumable=True,
        version=3,
    ),
    Step(
        name="build_evidence",
        function="persona.evidence:build_evidence",
        reads=(
            SALIENT_SUBREDDITS,
            USER_EMBEDDINGS,
            SNIPPETS,
            MEDIA,
            USER_IMAGES,
            IMAGE_EMBEDDINGS,
            TAG_EMBEDDINGS,
            INTERACTIONS,
        ),
        writes=(EVIDENCE, USER_DATA),  # in this order, see `persona.idle`
        version=2,
    ),
    Step(
        name="verbalize",
        function="persona.verbalize:verbalize",
        reads=(EVIDENCE,),
        writes=(PERSONAS, QUARANTINE),
        ray=True,
        resumable=True,
        version=2,
    ),
    Step(
        name="evaluate",
        function="orchestration.evaluate:evaluate",
        reads=(
            INTERACTIONS,
            SUBREDDIT_FEATURES,
            TAG_EMBEDDINGS,
            VISUAL_TARGETS,
            HELDOUT_TARGETS,
            USER_EMBEDDINGS,
            SALIENT_SUBREDDITS,
            LINK_METRICS,
            EVIDENCE,
            PERSONAS,
        ),
        writes=(EVALUATION,),
    ),
    Step(
        name="approve",
        function="orchestration.approve:approve",
        reads=(EVALUATION,),
        writes=(APPROVAL,),
    ),
    Step(
        name="index_personas",
        function="persona.indexing:index_personas",
        reads=(PERSONAS, EVIDENCE, USER_EMBEDDINGS, IMAGE_EMBEDDINGS),
        writes=(PERSONA_STORE,),
        after=("approve",),
        version=2,
    ),
)


def step_named(name: str) -> Step:
    """The step of that name."""
    return next(step for step in FLOW if step.name == name)


def producer(output: Table | Artifact) -> Step:
    """The step that writes `output`."""
    return next(step for step in FLOW if output.name in {w.name for w in step.writes})
