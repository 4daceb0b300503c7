"""The whole job on a small sample world: complete, balanced, private, repeatable, unkillable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from orchestration.flow import FLOW
from orchestration.manifests import published
from persona.schema import Persona
from persona.store import PersonaStore
from persona.tables import PERSONA_STORE
from pipelines.contract import Run, Table

pytestmark = [pytest.mark.engine, pytest.mark.slow]

USERS = 80
COLD = 8  # subreddits: everybody in this world has some, so the default would find nobody cold
SETTINGS = (
    *("--users", str(USERS), "--set", "train.epochs=4", "--set", "embed.shard_images=64"),
    *("--set", f"evidence.cold_subreddits={COLD}"),
)
TIMEOUT_S = 400
KILL_IN = (
    "ingest",
    "interactions",
    "embed_images",
    "subreddit_features",
    "train_gat",
    "infer_users",
    "verbalize",
    "index_personas",
)


def command(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "orchestration", "sample", "--root", str(root), *SETTINGS, *words]


def complete(root: Path, *words: str) -> str:
    done = subprocess.run(
        command(root, *words), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("sample") / "run"
    complete(root)
    yield root
    shutil.rmtree(root.parent)


def tables(root: Path) -> dict[str, pl.DataFrame]:
    """Every published table in the order of its key."""
    run = Run(root=root)
    outputs = [table for step in FLOW for table in step.writes if isinstance(table, Table)]
    return {
        table.name: pl.DataFrame(table.read(run)).sort(table.key)
        for table in outputs
        if table.files(run)
    }


def assert_same_tables(left: Path, right: Path) -> None:
    ours, theirs = tables(left), tables(right)
    assert ours.keys() == theirs.keys()
    timings = {"training_curves": ["seeds_per_s"]}  # the one figure that is no result
    for name, table in ours.items():
        hidden = timings.get(name, [])
        assert table.drop(hidden).equals(theirs[name].drop(hidden)), name


def test_every_step_has_a_manifest_and_every_table_rows(sample_root: Path) -> None:
    run = Run(root=sample_root)
    assert [step.name for step in FLOW if not published(run, step.name)] == []
    empty = [name for name, table in tables(sample_root).items() if table.is_empty()]
    assert set(empty) <= {"quarantine"}


def test_every_line_is_accounted_for_as_planted(sample_root: Path) -> None:
    metrics = json.loads((sample_root / "metrics.json").read_text())
    ingest = metrics["ingest"]
    accounted = ingest["rows_out"] + ingest["rows_rejected"] + ingest["rows_dropped"]
    assert ingest["rows_in"] == accounted > 0


def test_metrics_have_every_promised_key(sample_root: Path) -> None:
    metrics = json.loads((sample_root / "metrics.json").read_text())
    promised = {
        "ingest": "rows_in rows_out rows_rejected rows_dropped",
        "clip": "palette subject treatment composition",
        "taste": "with_images_top1 without_images_top1 activity_top1 uniform_top1 idf_top1 "
        "oracle_top1",
        "salience": "attention_p3 activity_p3",
        "link": "mrr popularity_mrr tfidf_mrr mf_mrr mrr_lambda0",
        "persona": "count grounded_claim_share own_vs_other permutation_p",
        "store": "rows",
        "seconds": " ".join(step.name for step in FLOW),
        "peak_rss_bytes": " ".join(step.name for step in FLOW),
    }
    for section, keys in promised.items():
        assert set(keys.split()) <= metrics[section].keys(), section
    assert metrics["persona"]["grounded_claim_share"] == 1.0


def test_verbalizers_stand_side_by_side_in_the_report(sample_root: Path) -> None:
    """Every figure that the issue of personas asks for is there, finite, and on the page."""
    persona = json.loads((sample_root / "metrics.json").read_text())["persona"]
    (grounded,) = persona["by_verbalizer"].values()
    assert {name: persona[name] for name in grounded} == grounded
    assert set(grounded["diversity"]) >= {"vendi", "self_bleu", "nearest"}
    assert 1 < grounded["diversity"]["vendi"] <= persona["count"]
    assert 0 < grounded["diversity"]["nearest"] < 1 > grounded["diversity"]["self_bleu"] > 0
    assert 0 < grounded["permutation_p"] <= 1
    assert grounded["heldout_subreddits"]["users"] > 0
    page = (sample_root / "report.html").read_text()
    for figure in ("vendi", "self_bleu", "nearest"):
        form = "%.1f" if figure == "vendi" else "%.3f"
        assert f'<td class="n">{form % grounded["diversity"][figure]}</td>' in page
    assert f'<td class="n">{100 * grounded["own_vs_other"]:.1f} %</td>' in page


def test_cold_users_get_inferred_interests_that_say_so(sample_root: Path) -> None:
    """From the dumps to the store: whom, what, how it is marked, and how sure it is."""
    found = tables(sample_root)
    inferred = found["evidence"].filter(pl.col("kind") == "neighbour")
    assert not inferred.is_empty() and inferred["inferred"].all()
    own = found["evidence"].filter(pl.col("kind") == "subreddit")
    for (user,), rows in inferred.group_by("user_id"):
        theirs = set(own.filter(pl.col("user_id") == user)["text"])
        assert len(theirs) < COLD
        assert not theirs & set(rows["text"])
    store = PersonaStore.open(PERSONA_STORE.path(Run(root=sample_root)))
    user = inferred["user_id"][0]
    row = store.get(str(user))
    assert row is not None
    items = {item["evidence_id"]: item for item in json.loads(row["evidence"])}
    claims = Persona.model_validate_json(row["persona"]).interests
    guesses = [c for c in claims if any(items[id_]["kind"] == "neighbour" for id_ in c.evidence)]
    assert guesses
    for claim in guesses:
        assert all(items[id_]["inferred"] for id_ in claim.evidence)
        assert "people of like interests" in claim.text and claim.confidence < 0.4


def test_every_persona_is_in_the_store(sample_root: Path) -> None:
    personas = tables(sample_root)["personas"]
    store = PersonaStore.open(PERSONA_STORE.path(Run(root=sample_root)))
    assert store.count() == len(personas)
    row = store.get(personas["user_id"][0])
    assert row is not None and row["summary"] == personas["summary"][0]


def test_no_raw_user_name_lies_under_the_root(sample_root: Path) -> None:
    truth = sample_root.with_name("run_world") / "truth" / "users.parquet"
    names = [name.encode().lower() for name in pl.read_parquet(truth)["author"]]
    assert len(names) >= USERS
    files = [path for path in sample_root.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes().lower()
        assert [name for name in names if name in content] == [], path
    for table in tables(sample_root).values():  # compressed pages hide their text from the above
        text = table.select(pl.col(pl.String)).write_csv().encode().lower()
        assert [name for name in names if name in text] == []


def test_a_second_run_skips_everything(sample_root: Path) -> None:
    before = tables(sample_root)
    output = complete(sample_root)
    assert "done" not in output
    assert output.count("kept") >= len(FLOW)
    after = tables(sample_root)
    assert all(table.equals(after[name]) for name, table in before.items())


def test_killed_anywhere_and_without_the_truth_the_tables_are_the_same(
    sample_root: Path, tmp_path: Path
) -> None:
    """One run that is killed inside eight steps, over a world whose truth is not there.

    The evaluation is told of none, so the same tables also prove that nothing else reads it.
    """
    root = tmp_path / "run"
    world = sample_root.with_name("run_world")
    shutil.copytree(world, tmp_path / "run_world", ignore=shutil.ignore_patterns("truth"))
    shutil.copystat(world, tmp_path / "run_world")
    untold = ["--set", "evaluate.truth="]
    killed = [name for name in KILL_IN if kill_inside(root, name, untold)]
    assert len(killed) >= 5, killed
    complete(root, *untold)
    assert_same_tables(sample_root, root)


def kill_inside(root: Path, step: str, words: list[str]) -> bool:
    """Run until `step` has started, kill -9 the driver; False if the step was over before."""
    with subprocess.Popen(
        command(root, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            if any((root / ".staging").glob(f"{step}-*")):
                time.sleep(0.3)  # into the step, not only at its door
                process.kill()
                break
            time.sleep(0.02)
    return process.returncode == -9 and not (root / "manifests" / step / "all.json").exists()
