"""Step verbalize: EVIDENCE -> PERSONAS and QUARANTINE, through Ray Serve.

The driver streams batches of users through the deployment's handle, a bounded number at once, and
keeps every batch that comes back. A part of EVIDENCE is a shard: when its last batch is in, its
batches become one part of PERSONAS and one of QUARANTINE. So a killed step, or one whose endpoint
died, goes on with the users that are missing. Users whose evidence is as it was in the last run
are not sent at all (`persona.earlier`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from embed.archive import archive_files
from embed.archive_index import ArchiveIndex
from persona.config import PersonaResources, VerbalizeConfig
from persona.earlier import MADE_BY, Earlier, Split, made_by
from persona.errors import EndpointError
from persona.pictures import Pictures, extract_pictures, pictures_of
from persona.serve import Answer, serving
from persona.tables import EVIDENCE, PERSONAS, QUARANTINE
from persona.verbalizer import Failure
from pipelines.contract import ContractError, Counts, MissingInputError, Run, Table

ENDPOINT_USERS = 4  # in one call: a call costs as much as a request, and its users are one file
ROWS_A_REPLICA = 300_000  # of EVIDENCE, some 10 s of work; a replica takes a few to start
RESCUE_S = 5.0  # for answers that are on their way when the endpoint has died
MAX_SENDS = 3  # of one batch; a batch that kills every replica is at fault itself

_OUTPUTS = (PERSONAS, QUARANTINE)

Spent = Mapping[str, int]  # requests, retries, repairs, input_tokens, output_tokens


@dataclass(frozen=True)
class _Batch:
    """Whole users of one evidence part; `index` counts within the part."""

    part: str
    index: int
    evidence: pa.Table
    pictures: Pictures


def verbalize(config: VerbalizeConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: EVIDENCE -> PERSONAS, QUARANTINE.

    Raises:
        EndpointError: The endpoint does not serve; what was finished is kept for the next run.
    """
    files = EVIDENCE.files(run)
    if not files:
        raise MissingInputError(f"no evidence at {EVIDENCE.path(run)}; run build_evidence first")
    work, earlier = _Work(run, made_by(config)), Earlier(run, config)
    first = earlier.split(pq.read_table(files[0]))
    share = first.fresh.num_rows / max(1, pq.read_metadata(files[0]).num_rows)
    replicas = num_replicas(config, resources, files, share)
    resources = replace(resources, replicas=replicas)
    per_call = resources.batch_users
    if config.verbalizer != "grounded":
        per_call = min(ENDPOINT_USERS, -(-resources.max_in_flight // ENDPOINT_USERS))
    # Two more than the requests take, for a call is as slow as the slowest of its users.
    calls = max(2 * resources.replicas, resources.max_in_flight // per_call + 2)
    with serving(config, resources, max_ongoing=calls) as handle:
        for done, path in enumerate(files, start=1):
            if not work.finished(path.stem):
                split = first if done == 1 else earlier.split(pq.read_table(path))
                _stream(handle, _pending(path.stem, split, per_call, config, work), calls, work)
                work.finish(path.stem, split)
            run.progress(done, len(files), "shards")
    work.remove()
    return _counts(run, resources)


def num_replicas(
    config: VerbalizeConfig, resources: PersonaResources, files: Sequence[Path], share: float = 1.0
) -> int:
    """As configured, or as many as pay; one of a verbalizer that waits for a server or holds a
    model.

    Args:
        config, resources: Of the step.
        files: Of EVIDENCE.
        share: Of their rows, of users who are to be verbalized; ids are hashes, so that of the
            first part is a fair sample.
    """
    if resources.replicas or config.verbalizer != "grounded":
        return max(1, resources.replicas)
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(1, min(cpus, int(share * rows) // ROWS_A_REPLICA))


def user_batches(evidence: pa.Table, batch_users: int) -> Iterator[pa.Table]:
    """Slices of whole users, `batch_users` each; rows of a user must be together."""
    if evidence.num_rows == 0:
        return
    ids = evidence.column("user_id").combine_chunks()
    is_new = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    starts = [0, *((is_new.nonzero()[0] + 1).tolist()), len(ids)]
    edges = [*starts[:-1:batch_users], starts[-1]]
    for start, stop in pairwise(edges):
        yield evidence.slice(start, stop - start).combine_chunks()


def _pending(
    part: str, split: Split, per_call: int, config: VerbalizeConfig, work: _Work
) -> Iterator[_Batch]:
    """Batches of one evidence part that did not come back yet, with the pictures they show."""
    ids = split.fresh.column("user_id")
    kept = work.users(part)
    evidence = split.fresh.filter(pc.invert(pc.is_in(ids, value_set=kept)))
    folder = work.pictures(part)
    if config.archive and config.verbalizer == "openai" and evidence.num_rows:
        extract_pictures(evidence, work.archived(Path(config.archive)), folder)
    batches = user_batches(evidence, per_call)
    for index, rows in enumerate(batches, start=work.next_index(part)):
        yield _Batch(part, index, rows, pictures_of(rows, folder))


class _Work:
    """Batches that came back, until their part is whole; survives a kill in the staging folder."""

    def __init__(self, run: Run, mark: str) -> None:
        self._mark = {MADE_BY: mark}
        self._outputs = {table.name: run.staged(table) for table in _OUTPUTS}
        self._folder = run.staged(PERSONAS).parent / "_batches"
        self._refused: list[Path] = []  # batches that came back, until the endpoint served anybody
        self._serves = False
        self._archived: ArchiveIndex | None = None

    def finished(self, part: str) -> bool:
        """Whether all outputs of a part are staged."""
        return all((folder / f"{part}.parquet").exists() for folder in self._outputs.values())

    def users(self, part: str) -> pa.Array:
        """Users of a part who came back before."""
        found = [pq.read_table(path, columns=["user_id"]) for path in self._files(part)]
        ids = [column for table in found for column in table.column("user_id").chunks]
        return pa.concat_arrays([pa.array([], pa.string()), *ids])

    def next_index(self, part: str) -> int:
        """Of a batch: above all that came back before."""
        return 1 + max(
            (int(path.stem.rpartition("-")[2]) for path in self._files(part)), default=-1
        )

    def keep(self, batch: _Batch, personas: pa.Table, quarantine: pa.Table, spent: Spent) -> None:
        """Write what came back for a batch; first what it cost, for that is spent in any case."""
        for table, rows in ((QUARANTINE, quarantine), (PERSONAS, personas)):
            path = self._path(batch.part, table, batch.index)
            path.parent.mkdir(parents=True, exist_ok=True)
            table.write(path.parent, rows, path.stem, _as_metadata(spent))
        if personas.num_rows or set(quarantine.column("reason").to_pylist()) - {Failure.REFUSED}:
            self._serves = True
        if not self._serves:
            self._refused.append(self._path(batch.part, QUARANTINE, batch.index))

    def take_back(self) -> None:
        """Have users asked again whom an endpoint refused that has served nobody."""
        for path in [] if self._serves else self._refused:
            path.unlink(missing_ok=True)

    def archived(self, archive: Path) -> ArchiveIndex:
        """Where the archive's pictures lie; it is read once for all parts."""
        if self._archived is None:
            folder = self._folder / "_archive"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._archived = ArchiveIndex(archive_files(archive), folder)
        return self._archived

    def pictures(self, part: str) -> Path:
        """Folder of the small pictures of a part."""
        return self._folder / part / "pictures"

    def finish(self, part: str, split: Split) -> None:
        """Join the batches of a part with what needed none, by user."""
        fresh = len(pc.unique(split.fresh.column("user_id")))
        kept, shared = split.kept.num_rows, len(split.twins)
        spent = Counter({"kept": kept, "shared": shared, "verbalized": fresh})
        for table in _OUTPUTS:
            paths = sorted((self._folder / part / table.name).glob("*.parquet"))
            found = [pq.read_table(path) for path in paths]
            rows = pa.concat_tables([table.empty(), *(table.check(batch) for batch in found)])
            rows = _with_twins(rows, split.twins)
            if table is PERSONAS:
                rows = pa.concat_tables([rows, split.kept])
            else:
                for batch in found:
                    spent.update(_spent(batch.schema))
            metadata = self._mark | _as_metadata(spent)
            table.write(self._outputs[table.name], rows.sort_by("user_id"), part, metadata)
        shutil.rmtree(self._folder / part, ignore_errors=True)

    def remove(self) -> None:
        """Remove the working folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self, part: str) -> list[Path]:
        return sorted((self._folder / part).glob("*/batch-*.parquet"))

    def _path(self, part: str, table: Table, index: int) -> Path:
        return self._folder / part / table.name / f"batch-{index:06d}.parquet"


def _stream(handle: DeploymentHandle, batches: Iterator[_Batch], calls: int, work: _Work) -> None:
    """Send batches, at most `calls` at once, and keep each as it comes back, oldest first."""
    under_way: deque[tuple[_Batch, DeploymentResponse]] = deque()
    try:
        for batch in batches:
            if len(under_way) >= calls:
                _collect(handle, *under_way.popleft(), work)
            under_way.append((batch, _send(handle, batch)))
        while under_way:
            _collect(handle, *under_way.popleft(), work)
    except EndpointError:
        _rescue(under_way, work)
        work.take_back()
        raise


def _rescue(under_way: Iterable[tuple[_Batch, DeploymentResponse]], work: _Work) -> None:
    """Keep what was answered before the endpoint died: it has been paid for."""
    end = time.monotonic() + RESCUE_S
    for batch, response in under_way:
        with suppress(TimeoutError, RayError):
            answer: Answer = response.result(timeout_s=max(0.0, end - time.monotonic()))
            work.keep(batch, *answer[:3])


def _send(handle: DeploymentHandle, batch: _Batch) -> DeploymentResponse:
    return handle.remote(batch.evidence, batch.pictures)


def _collect(
    handle: DeploymentHandle, batch: _Batch, response: DeploymentResponse, work: _Work
) -> None:
    personas, quarantine, spent, problem = _answer(handle, batch, response)
    if problem:
        work.keep(batch, personas, quarantine, spent)
        raise EndpointError(problem)
    num_users = len(pc.unique(batch.evidence.column("user_id")))
    if personas.num_rows + quarantine.num_rows != num_users:
        raise ContractError(
            f"{batch.part}, batch {batch.index}: {num_users} users sent, {personas.num_rows} "
            f"personas and {quarantine.num_rows} quarantined came back"
        )
    work.keep(batch, personas, quarantine, spent)


def _answer(handle: DeploymentHandle, batch: _Batch, response: DeploymentResponse) -> Answer:
    """The answer to a batch, sent again where the replica died under it (Serve replaces it)."""
    for send in range(1, MAX_SENDS + 1):
        try:
            answer: Answer = response.result()
        except (ActorDiedError, ActorUnavailableError):
            if send == MAX_SENDS:
                raise
            response = _send(handle, batch)
        else:
            return answer
    raise AssertionError("unreachable: the last send returns or raises")


def _with_twins(rows: pa.Table, twins: dict[str, str]) -> pa.Table:
    """The rows, and again for every user whose evidence is that of one of them."""
    ids = rows.column("user_id").to_pylist()
    place = {user: index for index, user in enumerate(ids)}
    pairs = [(twin, place[one]) for twin, one in twins.items() if one in place]
    if not pairs:
        return rows
    again = rows.take([index for _, index in pairs])
    named = again.set_column(0, rows.schema.field(0), pa.array([twin for twin, _ in pairs]))
    return pa.concat_tables([rows, named])


def _as_metadata(spent: Spent) -> dict[str, str]:
    return {"spent": json.dumps(dict(sorted(spent.items())))}


def _spent(schema: pa.Schema) -> Spent:
    return dict(json.loads((schema.metadata or {}).get(b"spent", b"{}")))


def _counts(run: Run, resources: PersonaResources) -> Counts:
    """Users by outcome; as metrics the accounts, also of batches that an earlier try had sent."""
    personas = sum(pq.read_metadata(f).num_rows for f in run.staged(PERSONAS).glob("*.parquet"))
    reasons: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for path in sorted(run.staged(QUARANTINE).glob("*.parquet")):
        table = pq.read_table(path, columns=["reason"])
        reasons.update(table.column("reason").to_pylist())
        spent.update(_spent(table.schema))
    cost = spent["input_tokens"] * resources.usd_per_m_input
    cost += spent["output_tokens"] * resources.usd_per_m_output
    metrics = {name: float(count) for name, count in sorted(spent.items()) if count}
    if cost:
        metrics["usd"] = cost / 1e6
    return Counts(
        rows_in=personas + sum(reasons.values()),
        rows_out=personas,
        rejected=dict(sorted(reasons.items())),
        metrics=metrics,
    )
