"""Plots of the report, each an SVG text."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
import polars as pl

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from graph.store import GraphStore, read_summary
from graph.tables import GRAPH_STORE, TRAINING_CURVES
from orchestration.progress import quantity
from orchestration.tables import EVALUATION
from pipelines.contract import Run

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888",
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "svg.hashsalt": "tastegraph",  # the same plot gives the same bytes
}
OURS, BASELINE, ORACLE = "#2a6fbb", "#b8bec7", "#7a9e5f"


def all_plots(run: Run, metrics: dict[str, Any]) -> dict[str, str]:
    """Title -> SVG, of everything that is there to be drawn."""
    found = {}
    with plt.rc_context(STYLE):
        if "taste" in metrics:
            found["Quality beside its baselines"] = quality(metrics)
        if TRAINING_CURVES.files(run):
            found["Training"] = curves(run)
        if (GRAPH_STORE.path(run) / "summary.json").exists():
            found["Degrees"] = degrees(run)
        if (EVALUATION.path(run) / "user_map.parquet").exists():
            found["Map of users"] = users(run)
    return found


def quality(metrics: dict[str, Any]) -> str:
    """Taste, salience and link prediction: ours against every baseline of the same run."""
    taste, salience, link = metrics["taste"], metrics["salience"], metrics["link"]
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.0), constrained_layout=True)
    _bars(
        axes[0],
        "taste, users without images (top-1)",
        {
            "ours": taste["without_images_top1"],
            "idf": taste["idf_top1"],
            "uniform": taste["uniform_top1"],
            "activity": taste["activity_top1"],
            "oracle": taste["oracle_top1"],
        },
    )
    _bars(
        axes[1],
        "salient subreddits (precision@3)",
        {
            "ours": salience["attention_p3"],
            "idf": salience["idf_p3"],
            "activity": salience["activity_p3"],
        },
    )
    _bars(
        axes[2],
        "link prediction (MRR)",
        {
            "ours": link["mrr"],
            "ours, lambda 0": link["mrr_lambda0"],
            **{
                name.removesuffix("_mrr"): value
                for name, value in link.items()
                if name.endswith("_mrr")
            },
        },
    )
    return _svg(figure)


def curves(run: Run) -> str:
    """Losses and validation MRR by epoch, every variant."""
    table = pl.from_arrow(TRAINING_CURVES.read(run))
    assert isinstance(table, pl.DataFrame)
    shown = {
        "loss_link": "link loss (nats)",
        "loss_image": "image loss (nats)",
        "validation_mrr": "validation MRR",
        "effective_rank": "effective rank of z",
    }
    drawn = [name for name in shown if table[name].is_finite().any()]  # little data has no MRR
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(2.7 * len(drawn), 2.6), constrained_layout=True, squeeze=False
    )
    for axis, name in zip(axes[0], drawn, strict=True):
        for (variant,), part in table.sort("epoch").group_by("variant", maintain_order=True):
            known = part.filter(pl.col(name).is_finite())
            axis.plot(known["epoch"], known[name], label=str(variant), linewidth=1.4)
        axis.set_title(shown[name])
        axis.set_xlabel("epoch")
    axes[0, 0].legend(frameon=False)
    return _svg(figure)


def degrees(run: Run) -> str:
    """Degree distributions of both sides of the graph, log-log."""
    graph = GraphStore.open(GRAPH_STORE.path(run))
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 2.8), constrained_layout=True)
    for axis, side, rows, other in (
        (axes[0], "user", graph.by_user, "subreddits"),
        (axes[1], "subreddit", graph.by_subreddit, "users"),
    ):
        value, number = np.unique(rows.degrees().numpy(), return_counts=True)
        at_least = number[::-1].cumsum()[::-1]
        axis.loglog(value, at_least, marker=".", linestyle="none", color=OURS)
        axis.set_xlabel(f"{other} of a {side}")
        axis.set_ylabel("with at least as many")
        plain_ticks(axis.xaxis, value)
        plain_ticks(axis.yaxis, at_least)
    facts = read_summary(graph.folder)
    named = [f"{facts[k]:,} {k.removeprefix('num_')}" for k in facts if k.startswith("num_")]
    figure.suptitle(", ".join(named), fontsize=9)
    return _svg(figure)


def plain_ticks(axis: Axis, values: NDArray[np.integer[Any]]) -> None:
    """Ticks of a logarithmic axis as plain numbers: 1, 2, 5 of each decade where decades are few.

    matplotlib's own write 3 x 10^1 and 4 x 10^1 over each other on less than a decade.
    """
    is_wide = values.max() > 100 * values.min()
    axis.set_major_locator(LogLocator(subs=(1.0,) if is_wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value)))
    axis.set_minor_formatter(NullFormatter())


def users(run: Run) -> str:
    """The map of users, coloured by planted taste where it is known."""
    table = pl.read_parquet(EVALUATION.path(run) / "user_map.parquet")
    tastes = sorted(t for t in table["taste"].unique() if t)
    figure, axis = plt.subplots(figsize=(9.5, 5.4), constrained_layout=True)
    rest = table.filter(pl.col("taste") == "")
    axis.scatter(rest["x"], rest["y"], s=4, color="#cccccc", linewidths=0)
    colours = plt.get_cmap("tab20")
    for index, taste in enumerate(tastes):
        part = table.filter(pl.col("taste") == taste)
        axis.scatter(
            part["x"], part["y"], s=7, color=colours(index % 20), label=taste, linewidths=0
        )
    axis.set_axis_off()
    if tastes:
        axis.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, markerscale=2.5
        )
    return _svg(figure)


def _bars(axis: Axes, title: str, values: dict[str, float | None]) -> None:
    known = {name: value for name, value in values.items() if value is not None}
    colour = [
        OURS if name.startswith("ours") else ORACLE if name == "oracle" else BASELINE
        for name in known
    ]
    drawn = axis.barh(list(known), list(known.values()), color=colour)
    axis.bar_label(drawn, fmt="%.2f", padding=3)
    axis.invert_yaxis()
    axis.set_xlim(0, max([*known.values(), 0.1]) * 1.2)
    axis.set_title(title)
    axis.grid(visible=False)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
