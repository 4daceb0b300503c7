from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pytest

from graph.build import build_graph
from graph.config import GraphConfig, GraphResources
from graph.tables import GRAPH_STORE, TRAINING_CURVES
from orchestration.report.plots import all_plots, plain_ticks
from pipelines.contract import Run
from pipelines.tables import INTERACTIONS
from tests.persona.synthetic import make_run, publish_staged

pytestmark = pytest.mark.engine


def test_degrees_are_those_of_the_graph_and_interactions_are_not_read(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    pairs = [(f"user{i}", f"s{j}") for i in range(6) for j in range(1 + i % 3)]
    columns = {
        "user_id": [user for user, _ in pairs],
        "subreddit": [subreddit for _, subreddit in pairs],
        "active_month": ["2019-10"] * len(pairs),
        "num_submissions": pa.array([1] * len(pairs), pa.int32()),
        "num_comments": pa.array([2] * len(pairs), pa.int32()),
        "score": [3] * len(pairs),
        "first_utc": [1_570_000_000] * len(pairs),
        "last_utc": [1_570_000_000] * len(pairs),
    }
    INTERACTIONS.path(run).mkdir(parents=True)
    file = INTERACTIONS.write(INTERACTIONS.path(run), pa.table(columns))
    build_graph(GraphConfig(), GraphResources(), run)
    publish_staged(run, GRAPH_STORE)
    file.unlink()  # 700 million rows of text fit no driver
    drawn = all_plots(Run(root=run.root), {})
    assert list(drawn) == ["Degrees"]
    assert drawn["Degrees"].startswith("<svg")


@pytest.mark.parametrize(
    ("values", "first"), [((6, 46), "10"), ((4, 110), "5"), ((1, 22_000_000), "1")]
)
def test_ticks_of_degrees_are_numbers_that_do_not_touch(
    values: tuple[int, int], first: str
) -> None:
    figure, axis = plt.subplots(figsize=(4.0, 2.8))
    axis.loglog(values, (1, 100))
    plain_ticks(axis.xaxis, np.array(values))
    figure.canvas.draw()
    low, high = axis.get_xlim()
    shown = [
        (label.get_text(), label.get_window_extent())
        for ticks in (axis.xaxis.get_major_ticks(), axis.xaxis.get_minor_ticks())
        for tick in ticks
        if low <= tick.get_loc() <= high and (label := tick.label1).get_text()
    ]
    plt.close(figure)
    assert len(shown) >= 2 and shown[0][0] == first
    assert not any(box.overlaps(other) for (_, box), (_, other) in pairwise(shown))


@pytest.mark.parametrize(("mrr", "panels"), [(0.2, 4), (float("nan"), 3)])
def test_what_was_not_measured_has_no_panel(mrr: float, panels: int, tmp_path: Path) -> None:
    run, nan = make_run(tmp_path), float("nan")
    epochs = [
        {"variant": variant, "epoch": epoch, "loss_link": 1.0, "loss_image": image}
        | {"validation_mrr": mrr, "alignment": 1.0, "uniformity": 1.0, "effective_rank": 3.0}
        | {"seeds_per_s": 1.0}
        for variant, image in (("gat", 2.0), ("lambda0", nan))
        for epoch in (1, 2)
    ]
    TRAINING_CURVES.path(run).mkdir(parents=True)
    TRAINING_CURVES.write(
        TRAINING_CURVES.path(run), pa.Table.from_pylist(epochs, schema=TRAINING_CURVES.schema)
    )
    drawn = all_plots(Run(root=run.root), {})["Training"]
    assert drawn.count("<!-- epoch -->") == panels
    assert ("<!-- validation MRR -->" in drawn) == (panels == 4)
