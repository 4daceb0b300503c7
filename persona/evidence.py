"""Step build_evidence: what may be said about each user -> EVIDENCE. Reads shard by shard."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from embed.tables import IMAGE_EMBEDDINGS, TAG_EMBEDDINGS, USER_IMAGES
from graph.tables import SALIENT_SUBREDDITS, USER_EMBEDDINGS
from persona.anonymity import COMBINATION, MIN_HIDING, RARE, Crowd, attended
from persona.assemble import ShardInputs, assemble
from persona.config import EvidenceConfig, PersonaResources
from persona.demographics import BANDS, stated_bands
from persona.idle import RULES, LastEvidence, data_hashes, evidence_rules
from persona.made_with import encoder_of
from persona.neighbours import MAX_ANCHORS, Anchors
from persona.schema import FACET_PATTERN, TAG_PATTERN
from persona.shard_images import ShardImages
from persona.shards import Shard, UserTable, plan_shards
from persona.tables import EVIDENCE, USER_DATA
from persona.taste import Floats, Populations, TagVocabulary, measure_populations
from pipelines.contract import ContractError, Counts, MissingInputError, Run
from pipelines.tables import INTERACTIONS, MEDIA, SNIPPETS

POPULATIONS = "tag_populations"  # in the metadata of the files of EVIDENCE
KEPT, RENEWED = "kept", "renewed"  # metrics: users by where their evidence comes from
MIN_ANCHOR_SUBREDDITS = 3
_BATCH_USERS = 8192


def build_evidence(config: EvidenceConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: what the graph, the snippets and the images say -> EVIDENCE, USER_DATA, by shards."""
    vocabulary = load_vocabulary(run)
    populations = measure_populations(_clip_batches(run), vocabulary)
    user_ids = USER_EMBEDDINGS.read(run, columns=["user_id"]).column("user_id")
    shards = plan_shards(user_ids, resources.shard_users)
    scratch = run.staged(EVIDENCE).parent / "_spill"
    scratch.mkdir(parents=True, exist_ok=True)
    tables = _UserTables(run, config.demographics)
    if len(shards) > 1:
        tables.spill(shards, scratch)
    anchors = load_anchors(run)
    crowd = _crowd(tables, shards, config.min_users, scratch / "pairs")
    if crowd is not None:
        anchors = anchors.without(crowd.rare)
    maker = _Maker(tables, vocabulary, populations, config, anchors, crowd)
    rules = evidence_rules(run.rules, encoder_of(run))
    last = LastEvidence(run, rules if config.idle_users == "keep" else None)
    # Users who come later are compared with the same population, without reading it again.
    metadata = {POPULATIONS: populations.to_json()}
    if not shards:
        EVIDENCE.write(run.staged(EVIDENCE), EVIDENCE.empty(), metadata=metadata)
    counted = Counter({RARE: 0, COMBINATION: 0, KEPT: 0, RENEWED: 0})
    rows = 0
    for shard in shards:
        data = tables.data(shard)
        evidence, found = maker.make(shard, last.of(data))
        EVIDENCE.write(run.staged(EVIDENCE), evidence, shard.part, metadata)
        hashes = data.to_arrow().cast(USER_DATA.schema)
        USER_DATA.write(run.staged(USER_DATA), hashes, shard.part, {RULES: rules})
        counted.update(found)
        rows += evidence.num_rows
        run.progress(shard.index + 1, len(shards), "shards")
    shutil.rmtree(scratch, ignore_errors=True)
    told = counted[KEPT] + counted[RENEWED]
    return Counts(
        rows_in=len(user_ids),
        rows_out=told,
        dropped={"no_evidence": len(user_ids) - told},
        written={EVIDENCE.name: rows},
        metrics={name: float(count) for name, count in counted.items()},
    ).assert_balanced()


@dataclass(frozen=True)
class _Maker:
    """Makes the evidence of shards, of those whose evidence does not stay.

    Args:
        tables: The step's inputs.
        vocabulary, populations, config, anchors: See `assemble`.
        crowd: What how many users share; None: nothing is hidden.
    """

    tables: _UserTables
    vocabulary: TagVocabulary
    populations: Populations
    config: EvidenceConfig
    anchors: Anchors
    crowd: Crowd | None

    def make(self, shard: Shard, last: pa.Table) -> tuple[pa.Table, Counter[str]]:
        """EVIDENCE of a shard, and counts: users, and by rule rows of those who are renewed.

        Args:
            shard: Of users.
            last: EVIDENCE from before of idle users; it stays unless it states what is rare now.
        """
        if self.crowd is not None:
            exposed = self.crowd.exposed(_frame(last))
            last = _without(last, pa.array(sorted(exposed), pa.string()))
        kept = pc.unique(last.column("user_id"))
        inputs = self.tables.read(shard, self.vocabulary, kept)
        counted = Counter({KEPT: len(kept)})
        if not inputs.user_ids:
            return last, counted
        if self.crowd is not None:
            inputs, rare = self.crowd.hide(inputs)
            counted.update(rare)
        made = assemble(inputs, self.vocabulary, self.populations, self.config, self.anchors)
        counted.update({**made.dropped, RENEWED: made.num_users})
        # A stable sort: the rows of a user stay in their order.
        return pa.concat_tables([made.evidence, last]).sort_by("user_id"), counted


def load_populations(run: Run) -> Populations:
    """The populations that the evidence of a run was calibrated against.

    Raises:
        MissingInputError: EVIDENCE is not there, or was made before they were kept.
    """
    found = (EVIDENCE.dataset(run).schema.metadata or {}).get(POPULATIONS.encode())
    if found is None:
        raise MissingInputError(
            f"{EVIDENCE.path(run)} holds no {POPULATIONS}; run build_evidence again"
        )
    return Populations.from_json(found)


def _crowd(
    tables: _UserTables, shards: Sequence[Shard], min_users: int, scratch: Path
) -> Crowd | None:
    """What how many users share; None of a population too small to hide in."""
    if sum(shard.num_users for shard in shards) < MIN_HIDING:
        return None
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(dict(tables.attended(shard)["subreddit"].value_counts().iter_rows()))
    crowd = Crowd(counts, min_users, scratch)
    for shard in shards:
        crowd.add(tables.attended(shard))
    return crowd


def load_anchors(run: Run) -> Anchors:
    """Users of several subreddits, at even distances in the order of their ids."""
    is_active = ds.field("num_subreddits") >= MIN_ANCHOR_SUBREDDITS
    users = USER_EMBEDDINGS.dataset(run)
    ids = users.to_table(columns=["user_id"], filter=is_active).column("user_id").unique()
    names = np.sort(ids.to_numpy(zero_copy_only=False).astype(str))
    chosen = pa.array(names[:: -(-len(names) // MAX_ANCHORS) or 1], pa.string())
    is_chosen = ds.field("user_id").isin(chosen)
    rows = users.to_table(columns=["user_id", "embedding"], filter=is_chosen).sort_by("user_id")
    salient = SALIENT_SUBREDDITS.dataset(run).to_table(
        columns=["user_id", "subreddit"], filter=is_chosen
    )
    return Anchors.of(
        rows.column("user_id").to_pylist(), vectors(rows.column("embedding")), _frame(salient)
    )


def load_vocabulary(run: Run) -> TagVocabulary:
    """Tags of TAG_EMBEDDINGS, in file order.

    Raises:
        ContractError: A facet or tag is too long or too odd for the sentences of a persona.
    """
    table = TAG_EMBEDDINGS.read(run)
    facets, tags = (tuple(table.column(name).to_pylist()) for name in ("facet", "tag"))
    for name, values, pattern in (("facet", facets, FACET_PATTERN), ("tag", tags, TAG_PATTERN)):
        odd = next((value for value in values if not re.match(pattern, value)), None)
        if odd is not None:
            raise ContractError(f"tag_embeddings: {name} {odd!r} does not match {pattern}; rename")
    return TagVocabulary(facets, tags, vectors(table.column("embedding")))


def vectors(column: pa.ChunkedArray) -> Floats:
    """A fixed-size list column as float32 [N, D].

    Raises:
        ContractError: A vector is null.
    """
    if column.null_count:
        raise ContractError(f"{column.null_count} vectors are null; filter them out first")
    flat = column.combine_chunks()
    values = pc.list_flatten(flat).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float32).reshape(len(column), flat.type.list_size)


def _clip_batches(run: Run) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    columns = ["clip_embedding", "has_images"]
    for batch in USER_EMBEDDINGS.dataset(run).to_batches(columns=columns, batch_size=_BATCH_USERS):
        clip_ND = vectors(pa.chunked_array([batch.column("clip_embedding")]))
        yield clip_ND, batch.column("has_images").to_numpy(zero_copy_only=False)


class _UserTables:
    """The step's inputs, by shard."""

    def __init__(self, run: Run, demographics: bool) -> None:
        self._demographics, self._images_of = demographics, ShardImages(run)
        self._by_user = {
            "users": UserTable(
                USER_EMBEDDINGS, run, ["user_id", "embedding", "clip_embedding", "has_images"]
            ),
            "salient": UserTable(
                SALIENT_SUBREDDITS, run, ["user_id", "subreddit", "rank", "attention"]
            ),
            "snippets": UserTable(SNIPPETS, run, SNIPPETS.schema.names),
            "images": UserTable(USER_IMAGES, run, USER_IMAGES.schema.names),
            "interactions": UserTable(INTERACTIONS, run, INTERACTIONS.schema.names),
        }

    def spill(self, shards: list[Shard], folder: Path) -> None:
        """Sort every table into shards, once."""
        for name, table in self._by_user.items():
            table.spill(shards, folder / name)
        self._images_of.spill(
            shards, lambda shard: self._shown(shard).column("image_id"), folder / "embedded"
        )

    def attended(self, shard: Shard) -> pl.DataFrame:
        """What each user of one shard attends to and states: see `anonymity.attended`."""
        salient = _frame(self._by_user["salient"].read(shard))
        if not self._demographics:
            return attended(salient, pl.DataFrame(schema=BANDS))
        snippets = _frame(self._by_user["snippets"].read(shard))
        return attended(salient, stated_bands(snippets, salient))

    def data(self, shard: Shard) -> pl.DataFrame:
        """What each user of one shard did, wrote and posted: user_id, data_hash."""
        names = ("interactions", "snippets", "images")
        hashes = data_hashes({name: _frame(self._by_user[name].read(shard)) for name in names})
        users = _frame(self._by_user["users"].read(shard).select(["user_id"]))
        return hashes.join(users, on="user_id", how="semi", maintain_order="left")

    def read(self, shard: Shard, vocabulary: TagVocabulary, but: pa.Array) -> ShardInputs:
        """The inputs of one shard, without those of some users."""
        users = _without(self._by_user["users"].read(shard), but).sort_by("user_id")
        images, image_ID = self._images(shard, vocabulary, but)
        salient = _frame(_without(self._by_user["salient"].read(shard), but))
        snippets = _frame(_without(self._by_user["snippets"].read(shard), but))
        bands = pl.DataFrame(schema=BANDS)
        if self._demographics:
            bands = stated_bands(snippets, salient)
        return ShardInputs(
            user_ids=users.column("user_id").to_pylist(),
            clip=vectors(users.column("clip_embedding")),
            z=vectors(users.column("embedding")),
            has_images=users.column("has_images").to_numpy(),
            salient=salient,
            snippets=snippets,
            images=images,
            image_vectors=image_ID,
            bands=bands,
        )

    def _shown(self, shard: Shard) -> pa.Table:
        """Images that may be evidence: not those held out for evaluation."""
        return self._by_user["images"].read(shard).filter(~pc.field("heldout")).drop("heldout")

    def _images(
        self, shard: Shard, vocabulary: TagVocabulary, but: pa.Array
    ) -> tuple[pl.DataFrame, Floats]:
        """A shard's embedded images with their urls; one join each, in memory."""
        user_images = _without(self._shown(shard), but)
        ids = user_images.column("image_id")
        embedded = self._images_of.read(shard, IMAGE_EMBEDDINGS, ids)
        media = self._images_of.read(shard, MEDIA, ids)
        urls = _frame(media).group_by("image_id").agg(pl.col("url").min())
        rows = _frame(embedded.select(["image_id", "phash"])).with_row_index("vector")
        images = (
            _frame(user_images)
            .join(rows, on="image_id")
            .join(urls, on="image_id")
            .sort("user_id", "image_id", "subreddit")
            .unique(["user_id", "image_id"], keep="first", maintain_order=True)
        )
        if not len(images):
            return images.drop("vector"), np.zeros((0, vocabulary.embeddings.shape[1]), np.float32)
        image_ID = vectors(embedded.column("embedding"))[images["vector"].to_numpy()]
        return images.drop("vector"), image_ID


def _without(rows: pa.Table, users: pa.Array) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows.column("user_id"), value_set=users)))


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
