"""`tastegraph import-graph`, `evaluate`, `embed-user`: the graph and its encoder by themselves."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from orchestration.commands import SAMPLE_ROOT, Root, run_at
from pipelines import contract
from pipelines.contract import ConfigError, Run

if TYPE_CHECKING:
    from graph.config import TrainConfig
    from graph.evaluate import Result
    from graph.experiment import Compared, Watch
    from graph.new_user import NewUser, NewUserEncoder

SPLITS = ("transductive", "inductive", "time")
NEAREST = 10
TAGS_A_FACET = 2
REMOVED = 2
MAX_IMAGE_USERS = 20_000  # Each is compared with all others; ids are hashes, so a fair sample.
WORK = ".evaluate-"


def import_graph(
    file: Annotated[
        Path,
        typer.Argument(help="A list: .csv or .tsv with a header, .parquet, or .txt as below."),
    ],
    root: Annotated[Path, typer.Option("--root", help="Folder to make; must hold no tables.")],
    test: Annotated[
        Path | None, typer.Option(help="Edges to predict, of the same form as FILE.")
    ] = None,
    new_users: Annotated[
        Path | None,
        typer.Option(help="Users that the inductive split withholds, one a line."),
    ] = None,
    user_column: Annotated[str, typer.Option(help="Column of the user's name.")] = "user",
    item_column: Annotated[str, typer.Option(help="Column of the item's name.")] = "item",
    time_column: Annotated[str, typer.Option(help="Column of the time, epoch seconds.")] = "",
) -> None:
    """Bring any list of interactions between users and items into the form of the graph.

    A `.txt` file has one line a user, `user item item ...`, in whole numbers. User names are taken
    as they are: give pseudonyms. With a time column the months are known, so `tastegraph evaluate`
    can split by time; with `--test` it ranks the edges of that file.

    Example: `tastegraph import-graph ml-1m/train.txt --test ml-1m/test.txt --root runs/ml-1m`,
    then `tastegraph evaluate --root runs/ml-1m`
    """
    from graph.imports import Columns
    from graph.imports import import_graph as import_list

    columns = Columns(user=user_column, item=item_column, time=time_column)
    counts = import_list(root, file, columns, test=test, new_users=new_users)
    table = Table("imported", "number")
    for name, number in counts.items():
        table.add_row(name.replace("_", " "), f"{number:,}")
    Console().print(table)


def evaluate(
    root: Root = SAMPLE_ROOT,
    splits: Annotated[
        str, typer.Option(help=f"Which, separated by commas: {', '.join(SPLITS)}; empty: all.")
    ] = "",
    cutoff: Annotated[
        str, typer.Option(help="First month of the time split's test; empty: the last month.")
    ] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override, e.g. `--set train.epochs=10`.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of splits and training.")] = 0,
    seeds: Annotated[
        str,
        typer.Option(
            help="Of training, separated by commas, e.g. 0,1,2: the encoder and each ablation are "
            "trained with all of them; means and spreads are told. Empty: --seed alone."
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Write all figures to this JSON file.")] = None,
) -> None:
    """Rank the encoder, its ablations and all baselines on held-out edges of a graph.

    Everything is trained here and now: the published encoder knows what a split must hide. Ranks,
    penalties, dampings and the weight of the filter are chosen on validation edges. `time` trains
    on the months before the cutoff, without images and texts, whose months are not recorded.

    Example: `tastegraph evaluate --root runs/2019 --splits time --cutoff 2019-11`
    """
    names = tuple(name for name in splits.split(",") if name) or SPLITS
    if set(names) - set(SPLITS):
        raise ConfigError(f"--splits {splits!r}: expected some of {', '.join(SPLITS)}")
    numbers = _numbers(seeds)
    config, run, console = _train_config(root, seed, settings), run_at(root), Console()
    figures: dict[str, Any] = {}
    results: list[Result] = []
    if set(names) - {"time"}:
        compared, figures["deletion"] = _by_user(run, config, numbers, console)
        results += [result for result in compared.results if result.split in names]
        figures["choices"] = asdict(compared.choices)
    if "time" in names:
        found, figures["time"] = _by_time(
            run, config, numbers, cutoff, console, required=bool(splits)
        )
        results += found
    figures["links"] = [asdict(result) for result in results]
    figures["images"] = _image_figures(run)
    _print_links(results, console)
    _print_diagnostics(figures, console)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


def _train_config(root: Path, seed: int, settings: Sequence[str] | None) -> TrainConfig:
    from graph.config import ABLATIONS
    from orchestration import profiles

    profile = profiles.local_sample(root, root, seed)
    profile = replace(profile, train=replace(profile.train, ablations=ABLATIONS))
    return profiles.override(profile, settings or ()).train


def _watch(console: Console, split: str) -> Any:
    def of(variant: str) -> Watch:
        def say(epoch: int, loss: float) -> None:
            if epoch == 1 or epoch % 10 == 0:
                console.print(f"{split}, {variant}: epoch {epoch}, link loss {loss:.4f}")

        return say

    return of


def _numbers(seeds: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in seeds.split(",") if word.strip().isdecimal())
    if len(numbers) != len([word for word in seeds.split(",") if word]):
        raise ConfigError(f"--seeds {seeds!r}: expected whole numbers, separated by commas")
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"--seeds {seeds!r}: expected each once")
    return numbers


def _by_user(
    run: Run, config: TrainConfig, seeds: Sequence[int], console: Console
) -> tuple[Compared, dict[str, Any]]:
    from graph.deletion import deletion_shift
    from graph.evaluate import Held
    from graph.experiment import compare
    from graph.features import load_features
    from graph.prepare import make_splits
    from graph.store import GraphStore
    from graph.tables import GRAPH_STORE
    from graph.tuning import left_out

    graph = GraphStore.open(GRAPH_STORE.path(run))
    with tempfile.TemporaryDirectory(dir=run.root, prefix=WORK) as folder:
        features = load_features(run, graph, Path(folder, "features"))
        held = Held.of(graph, make_splits(graph, config), features, Path(folder, "views"))
        for model, reason in left_out(held.training.graph).items():
            console.print(f"{model} is left out: {reason}")
        compared = compare(held, config, _watch(console, "by user"), seeds)
        shifts = deletion_shift(compared.main.model, held.inputs, removed=REMOVED, seed=config.seed)
    return compared, shifts


def _by_time(
    run: Run,
    config: TrainConfig,
    seeds: Sequence[int],
    cutoff: str,
    console: Console,
    *,
    required: bool,
) -> tuple[list[Result], dict[str, Any]]:
    import polars as pl

    from graph.config import LAMBDA0, GraphConfig
    from graph.evaluate import Held
    from graph.experiment import compare
    from graph.features import no_features
    from graph.prepare import make_splits
    from graph.time_split import last_month, split_by_time
    from pipelines.contract import ContractError, MissingInputError
    from pipelines.tables import INTERACTIONS

    files = INTERACTIONS.files(run)
    if not files:
        raise MissingInputError(f"table 'interactions' not found at {INTERACTIONS.path(run)}")
    rows = pl.scan_parquet(files, hive_partitioning=False)
    try:
        month = cutoff or last_month(rows)
    except ContractError as error:
        if required:
            raise
        console.print(f"time is left out: {error}")
        return [], {}
    ablations = tuple(name for name in config.ablations if name != LAMBDA0)
    config = replace(config, image_weight=0.0, inductive_share=0.0, ablations=ablations)
    with tempfile.TemporaryDirectory(dir=run.root, prefix=WORK) as folder:
        store, counts = split_by_time(rows, month, GraphConfig().half_life_days, Path(folder))
        views = Path(folder, "views")
        held = Held.of(store, make_splits(store, config), no_features(store), views)
        compared = compare(held, config, _watch(console, f"before {month}"), seeds)
    found = [replace(r, split="time") for r in compared.results if r.split == "transductive"]
    return found, {"cutoff": month, **counts, "choices": asdict(compared.choices)}


def _image_figures(run: Run) -> dict[str, Any]:
    """Recall@1/10 of the right held-out images; nothing where none were published."""
    import polars as pl

    from embed.tables import HELDOUT_TARGETS, SUBREDDIT_FEATURES
    from graph.tables import USER_EMBEDDINGS
    from orchestration.evaluate import first_users
    from orchestration.evaluation.images import image_recall
    from orchestration.evaluation.taste import (
        baseline_weights,
        matrix,
        subreddit_means,
        unit,
        weighted_mean,
    )
    from pipelines.tables import INTERACTIONS

    if not HELDOUT_TARGETS.files(run) or not USER_EMBEDDINGS.files(run):
        return {}
    targets = first_users(HELDOUT_TARGETS, run, MAX_IMAGE_USERS)

    def of_these(table: contract.Table, *columns: str) -> pl.DataFrame:
        rows = pl.scan_parquet(table.files(run), hive_partitioning=False).select(columns)
        wanted = targets.lazy().select("user_id")
        return rows.join(wanted, on="user_id", how="semi").collect(engine="streaming")

    users = of_these(USER_EMBEDDINGS, "user_id", "clip_embedding")
    targets = targets.join(users, on="user_id").sort("user_id")
    if targets.is_empty():
        return {}
    ids, target = targets["user_id"].to_list(), unit(matrix(targets["embedding"]))
    ours = matrix(targets["clip_embedding"])
    names, means = subreddit_means(pl.DataFrame(SUBREDDIT_FEATURES.read(run)))
    edges = baseline_weights(of_these(INTERACTIONS, *INTERACTIONS.schema.names))
    mean = weighted_mean(edges, "uniform", names, means, ids)
    centre = target.mean(axis=0)
    figures: dict[str, Any] = {"users": len(ids)}
    for name, query in (("ours", ours - ours.mean(axis=0)), ("subreddit_mean", mean)):
        recall = image_recall(query, unit(target - centre), (1, 10))
        figures[name] = {f"recall_at_{depth}": value for depth, value in recall.items()}
    return figures


def _print_links(results: Sequence[Result], console: Console) -> None:
    for split in dict.fromkeys(result.split for result in results):
        chosen = [result for result in results if result.split == split]
        overall = [result for result in chosen if result.degree == "all"]
        degrees = [d for d in dict.fromkeys(r.degree for r in chosen) if d != "all"]
        metrics = list(overall[0].metrics)
        table = Table("model", title=f"{split}, {overall[0].num_users:,} users")
        for name in [*metrics, *(f"ndcg {degree}" for degree in degrees)]:
            table.add_column(name, justify="right")
        by_degree = {(r.model, r.degree): r.metrics["ndcg_at_20"] for r in chosen}
        for result in overall:
            cells = [_cell(value, result.spread.get(n)) for n, value in result.metrics.items()]
            cells += [f"{by_degree[result.model, degree]:.4f}" for degree in degrees]
            table.add_row(result.model, *cells)
        console.print(table)


def _cell(mean: float, spread: float | None) -> str:
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"


def _print_diagnostics(figures: dict[str, Any], console: Console) -> None:
    for name, figure in figures["images"].items():
        if isinstance(figure, dict):
            values = ", ".join(f"{key} {value:.4f}" for key, value in figure.items())
            console.print(f"held-out images, {name}: {values}", highlight=False)
    if "deletion" in figures:
        shifts = figures["deletion"]
        table = Table(f"{REMOVED} subreddits removed by", "shift of z", "shift of p(z)")
        for ranking, shift in shifts.items():
            table.add_row(ranking, f"{shift['z']:.4f}", f"{shift['taste']:.4f}")
        console.print(table)


def embed_user(
    subreddits: Annotated[str, typer.Option(help="Names separated by commas, with or without r/.")],
    root: Root = SAMPLE_ROOT,
) -> None:
    """Embed a user that is in no graph, from the names of subreddits alone.

    Prints the nearest other subreddits, what the user should like to look at (where the run has
    tags), how attention weighs the subreddits, and how long the forward pass took. The user counts
    as one who commented once in each, now.

    Example: `tastegraph embed-user --subreddits aww,trains,analog --root runs/2019`
    """
    from graph.new_user import NewUserEncoder, embed_new_user
    from graph.tables import CHECKPOINT

    names = list(dict.fromkeys(_plain(name) for name in subreddits.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"--subreddits {subreddits!r}: expected names separated by commas")
    run, console = run_at(root), Console()
    encoder = NewUserEncoder.load(CHECKPOINT.path(run))
    activity = _activity(names, encoder.trained.clock.now_utc)
    _warn_unknown(names, encoder, console)
    embed_new_user(encoder, activity)  # The first pass through a model pays for what it loads.
    started = time.perf_counter()
    user = embed_new_user(encoder, activity)
    latency_ms = 1000 * (time.perf_counter() - started)
    weights = ", ".join(f"{name} {share:.2f}" for name, share in user.attention.items())
    console.print(f"attention: {weights}", highlight=False, soft_wrap=True)
    nearest = ", ".join(f"{n} {c:.2f}" for n, c in nearest_subreddits(encoder, user, NEAREST))
    console.print(f"nearest subreddits: {nearest}", highlight=False, soft_wrap=True)
    for facet, tags in _visual_tags(run, encoder, user).items():
        console.print(f"{facet}: {', '.join(tags)}", highlight=False, soft_wrap=True)
    console.print(f"latency: {latency_ms:.1f} ms", highlight=False)


def _plain(name: str) -> str:
    return name.strip().lower().removeprefix("/").removeprefix("r/")


def _activity(names: Sequence[str], now_utc: int) -> list[Any]:
    from graph.new_user import Activity

    month = time.strftime("%Y-%m", time.gmtime(now_utc))
    return [
        Activity(
            subreddit=name,
            active_month=month,
            num_submissions=0,
            num_comments=1,
            score=1,
            first_utc=now_utc,
            last_utc=now_utc,
        )
        for name in names
    ]


def _warn_unknown(names: Sequence[str], encoder: NewUserEncoder, console: Console) -> None:
    """Say which names the encoder does not know; they count for nothing."""
    rows = encoder.trained.rows_of(list(names)).tolist()
    unknown = [name for name, row in zip(names, rows, strict=True) if not row]
    if unknown:
        console.print(f"unknown, not used: {', '.join(unknown)}", highlight=False, soft_wrap=True)


def nearest_subreddits(
    encoder: NewUserEncoder, user: NewUser, count: int
) -> list[tuple[str, float]]:
    """Subreddits that the user does not have yet, by cosine with z_u, nearest first."""
    import torch

    from graph.model import unit

    cosine = unit(encoder.states.item_Sd) @ torch.from_numpy(user.embedding)
    names = encoder.trained.subreddits
    order = cosine.argsort(descending=True, stable=True).tolist()
    found = [(names[place], float(cosine[place])) for place in order]
    return [pair for pair in found if pair[0] not in user.attention][:count]


def _visual_tags(run: Run, encoder: NewUserEncoder, user: NewUser) -> dict[str, list[str]]:
    """Tags of each facet that agree best with p(z_u); none where the run has no tags."""
    import polars as pl

    from embed.tables import TAG_EMBEDDINGS
    from orchestration.evaluation.taste import Tags

    if not TAG_EMBEDDINGS.files(run):
        return {}
    tags = Tags.from_table(pl.DataFrame(TAG_EMBEDDINGS.read(run)))
    looks = user.clip_embedding - encoder.trained.centres.image_D.numpy()
    best = {facet: (-(vectors @ looks)).argsort() for facet, vectors in tags.vectors.items()}
    return {
        facet: [tags.names[facet][place] for place in order[:TAGS_A_FACET]]
        for facet, order in best.items()
    }
