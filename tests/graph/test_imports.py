"""Lists of several forms become the same graph; wrong ones say where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from graph.config import EncoderConfig
from graph.evaluate import Held
from graph.features import load_features
from graph.imports import Columns, import_graph, read_list
from graph.prepare import make_splits, new_encoder
from graph.splits import Split
from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from graph.training import Trainer
from pipelines.contract import ConfigError, ContractError, MissingInputError, Run
from tests.graph.conftest import SMALL
from tests.graph.views import reader

TEXT = "0 10 11\n1 10\n2 12 11 10\n3\n"
PAIRS = {("0", "10"), ("0", "11"), ("1", "10"), ("2", "10"), ("2", "11"), ("2", "12")}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def imported(
    tmp_path: Path, path: Path, test: str | None = None, new_users: str | None = None
) -> tuple[GraphStore, dict[str, int]]:
    counts = import_graph(
        tmp_path / "root",
        path,
        Columns(),
        test=None if test is None else written(tmp_path / "test.txt", test),
        new_users=None if new_users is None else written(tmp_path / "new.txt", new_users),
    )
    return GraphStore.open(GRAPH_STORE.path(Run(root=tmp_path / "root"))), counts


def pairs(graph: GraphStore, chosen: torch.Tensor | None = None) -> set[tuple[str, str]]:
    users, items = graph.user_ids(), graph.subreddits()
    edges = zip(
        graph.by_user.rows_of_edges().tolist(), graph.by_user.neighbours.tolist(), strict=True
    )
    named = [(users[u], items[i]) for u, i in edges]
    keep = [True] * len(named) if chosen is None else chosen.tolist()
    return {pair for pair, kept in zip(named, keep, strict=True) if kept}


def test_text_table_and_parquet_give_the_same_graph(tmp_path: Path) -> None:
    frame = pl.DataFrame(sorted(PAIRS), schema=["user", "item"], orient="row")
    frame.write_csv(tmp_path / "list.csv")
    frame.write_csv(tmp_path / "list.tsv", separator="\t")
    frame.cast(pl.Int64).write_parquet(tmp_path / "list.parquet")
    written(tmp_path / "list.txt", TEXT)
    for suffix in ("txt", "csv", "tsv", "parquet"):
        folder = tmp_path / suffix
        folder.mkdir()
        graph, counts = imported(folder, tmp_path / f"list.{suffix}")
        assert pairs(graph) == PAIRS
        assert (counts["rows"], counts["users"], counts["edges"]) == (6, 3, 6)


def test_times_become_months_and_edge_features(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "who,what,at\nann,x,1577836800\nann,x,1580515200\nbob,y,9\n")
    import_graph(
        tmp_path / "r", path, Columns(user="who", item="what", time="at"), test=None, new_users=None
    )
    months = tmp_path / "r" / "tables" / "interactions"
    assert {m.name for m in months.iterdir()} == {"month=2020-01", "month=2020-02", "month=1970-01"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "0 1\n1 x\n", r"a\.txt, line 2: 'x'"),
        ("a.txt", "0\n1\n", "holds no interaction"),
        ("a.csv", "user,thing\n1,2\n", r"line 1: no column 'item'; there are user, thing"),
        ("a.csv", "", "no column 'user'; there are none"),
        ("a.csv", "user,item\n1,2\n1\n", r"a\.csv, line 3: 1 fields, expected 2"),
        ("a.csv", "user,item\n1,2\n,2\n", r"line 3: user '' and item '2': neither may be empty"),
        ("a.csv", 'user,item\n1,"2\n', r"a\.csv, line 2: unexpected end of data"),
    ],
)
def test_wrong_lists_say_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        read_list(written(tmp_path / name, text), Columns())


def test_a_mark_at_the_beginning_and_a_list_in_parts_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.imports.ROWS_AT_ONCE", 2)
    path = written(tmp_path / "a.csv", "\ufeffuser,item\n1,2\n1,3\n2,2\n")
    assert read_list(path, Columns()).rows() == [("1", "2", 0), ("1", "3", 0), ("2", "2", 0)]


def test_wrong_times_files_and_names_are_refused(tmp_path: Path) -> None:
    timed = Columns(time="at")
    path = written(tmp_path / "a.csv", "user,item,at\n1,2,3\n1,3,soon\n")
    with pytest.raises(ContractError, match=r"line 3: time 'soon', expected epoch seconds"):
        read_list(path, timed)
    millis = 1_577_836_800_000
    with pytest.raises(ContractError, match=r"line 2: time '1577836800000', expected epoch sec"):
        read_list(written(tmp_path / "a.csv", f"user,item,at\n1,2,{millis}\n"), timed)
    table = pl.DataFrame({"user": ["1", "1"], "item": ["2", "3"], "at": [5, millis]})
    table.write_parquet(tmp_path / "late.parquet")
    with pytest.raises(ContractError, match=r"row 1: time 1577836800000, expected epoch seconds"):
        read_list(tmp_path / "late.parquet", timed)
    with pytest.raises(ConfigError, match=r"\.csv, \.tsv, \.parquet, \.txt"):
        read_list(written(tmp_path / "a.json", ""), Columns())
    with pytest.raises(MissingInputError, match="not found"):
        read_list(tmp_path / "none.csv", Columns())
    with pytest.raises(ContractError, match="no Parquet file"):
        read_list(written(tmp_path / "a.parquet", "user,item"), Columns())
    (tmp_path / "b.csv").write_bytes(b"user,item\n1,\xff\n")
    with pytest.raises(ContractError, match="not UTF-8"):
        read_list(tmp_path / "b.csv", Columns())
    pl.DataFrame({"user": ["a", None], "item": ["x", "y"]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(ContractError, match="row 1: user, item or time is empty"):
        read_list(tmp_path / "c.parquet", Columns())


def test_a_folder_with_tables_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "list.txt", TEXT)
    imported(tmp_path, path)
    with pytest.raises(ContractError, match="holds tables already"):
        imported(tmp_path, path)


def test_given_test_edges_and_new_users_are_the_split(tmp_path: Path) -> None:
    path = written(tmp_path / "list.txt", TEXT)
    graph, counts = imported(tmp_path, path, test="0 12 10\n1 11\n", new_users="1\n")
    assert (counts["test_rows"], counts["test_also_in_list"]) == (3, 1)
    config = replace(SMALL, validation_share=0.0)
    splits = make_splits(graph, config)
    assert pairs(graph, splits.edge == Split.TEST) == {("0", "12"), ("1", "11")}
    assert pairs(graph, splits.edge == Split.TRAIN) == PAIRS
    assert [u for u, new in zip(graph.user_ids(), splits.inductive, strict=True) if new] == ["1"]
    everybody = make_splits(graph, replace(config, inductive_share=0.0))
    assert not everybody.inductive.any()
    with pytest.raises(ContractError, match="1 users are in no list, such as '7'"):
        (tmp_path / "other").mkdir()
        imported(tmp_path / "other", path, new_users="7\n")


def test_new_users_without_a_test_list_are_tested_on_drawn_edges(tmp_path: Path) -> None:
    lines = [f"{u} " + " ".join(str(i) for i in range(20)) for u in range(5)]
    graph, _ = imported(tmp_path, written(tmp_path / "list.txt", "\n".join(lines)), new_users="1\n")
    splits = make_splits(graph, SMALL)
    owner = graph.by_user.rows_of_edges()
    assert splits.inductive.nonzero()[:, 0].tolist() == [1]
    assert owner[splits.edge == Split.TEST].unique().tolist() == [0, 1, 2, 3, 4]


def test_a_graph_that_begins_with_users_of_one_item_trains(tmp_path: Path) -> None:
    lines = [f"{u} 5" for u in range(8)] + [f"{u} 1 2 3 4 5" for u in range(8, 10)]
    graph, _ = imported(tmp_path, written(tmp_path / "list.txt", "\n".join(lines)))
    config = replace(SMALL, chunk_users=2, batch_users=2, inductive_share=0.0)
    features = load_features(Run(root=tmp_path / "root"), graph)
    held = Held.of(graph, make_splits(graph, config), features)
    training, contents = reader(held, config), held.training.contents
    model = new_encoder(config, training, contents)
    losses = Trainer(config, model, training, contents, image_weight=0.0).run_epoch()
    assert 0 < losses.link < 10


def test_training_and_evaluation_run_on_an_imported_graph(tmp_path: Path) -> None:
    lines = [
        f"{u} " + " ".join(str(10 * (u % 2) + (u + i) % 7) for i in range(5)) for u in range(40)
    ]
    graph, _ = imported(tmp_path, written(tmp_path / "list.txt", "\n".join(lines)))
    config = replace(SMALL, encoder=EncoderConfig(dim=8, heads=2), chunk_users=4, batch_users=8)
    held = Held.of(
        graph, make_splits(graph, config), load_features(Run(root=tmp_path / "root"), graph)
    )
    training, contents = reader(held, config), held.training.contents
    model = new_encoder(config, training, contents)
    trainer = Trainer(config, model, training, contents, image_weight=0.0)
    losses = [trainer.run_epoch().link for _ in range(3)]
    assert losses[-1] < losses[0]
