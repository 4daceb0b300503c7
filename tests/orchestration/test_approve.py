from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from orchestration import profiles
from orchestration.approve import QualityError, approve, fallen, figures
from orchestration.config import ApproveConfig
from orchestration.flow import step_named
from orchestration.manifests import Manifest, inputs
from orchestration.plan import Task
from orchestration.progress import Reporter
from orchestration.publishing import publish, roll_back
from orchestration.runner import How, check_approved, run_profile
from orchestration.tables import APPROVAL, EVALUATION
from persona.config import PersonaResources
from persona.tables import PERSONA_STORE, PERSONAS
from pipelines.contract import Artifact, ConfigError, Counts, Run, Table
from pipelines.pseudonym import new_key_file
from pipelines.tables import INTERACTIONS


def judge(root: Path, mrr: float, config: ApproveConfig) -> float:
    """Evaluate as `mrr`, approve, publish; the figure that the next run is compared with."""
    run = Run(root=root, staging=root / "staged")
    EVALUATION.path(run).mkdir(parents=True, exist_ok=True)
    metrics = {"link": {"mrr": mrr, "other": 1.0}, "persona": {"own_vs_other": None}}
    (EVALUATION.path(run) / "metrics.json").write_text(json.dumps(metrics))
    approve(config, PersonaResources(), run)
    APPROVAL.path(run).mkdir(exist_ok=True)
    (run.staged(APPROVAL) / "quality.json").replace(APPROVAL.path(run) / "quality.json")
    told = json.loads((APPROVAL.path(run) / "quality.json").read_text())
    return float(told["figures"]["link.mrr"])


def test_a_figure_may_lose_the_margin_and_no_more(tmp_path: Path) -> None:
    config = ApproveConfig(margin=0.1)
    assert judge(tmp_path, 0.30, config) == 0.30
    assert judge(tmp_path, 0.28, config) == 0.28
    with pytest.raises(QualityError, match=r"link\.mrr 0\.28 -> 0\.25; .*approve\.policy=always"):
        judge(tmp_path, 0.25, config)
    assert judge(tmp_path, 0.26, config) == 0.26  # compared with what was published
    assert judge(tmp_path, 0.01, ApproveConfig(policy="always")) == 0.01


def published_store(run: Run, mark: str) -> None:
    """A store with what was decided last, as index_personas goes out."""
    (run.staged(PERSONA_STORE) / "made").write_text(mark)
    task = Task(
        step=step_named("index_personas"), config=None, resources=None, month=None, fingerprint=mark
    )
    publish(task, run)


def test_after_a_rollback_a_run_is_compared_with_what_readers_see(tmp_path: Path) -> None:
    config, run = ApproveConfig(margin=0.1), Run(root=tmp_path, staging=tmp_path / "staged")
    judge(tmp_path, 0.30, config)
    published_store(run, "a")
    judge(tmp_path, 0.50, config)  # better, but its personas turn out to be wrong
    published_store(run, "b")
    with pytest.raises(QualityError, match=r"link\.mrr 0\.5 -> 0\.3;"):
        judge(tmp_path, 0.30, config)
    roll_back(PERSONA_STORE, run)
    assert judge(tmp_path, 0.29, config) == 0.29
    published_store(run, "c")
    roll_back(PERSONA_STORE, run)
    with pytest.raises(QualityError, match=r"link\.mrr 0\.5 -> 0\.29;"):
        judge(tmp_path, 0.29, config)


def test_figures_are_those_that_were_measured() -> None:
    assert figures({"link": {"mrr": 0.5}, "persona": {"own_vs_other": None}}) == {"link.mrr": 0.5}


def test_a_figure_that_is_gone_has_fallen() -> None:
    assert fallen({"link.mrr": 0.5, "persona.count": 9.0}, {"link.mrr": 0.5}, 0.1) == [
        "persona.count"
    ]


def made(run: Run, name: str, outputs: Iterable[Table | Artifact] = (), content: str = "") -> None:
    """The manifest of a step that read what is there now."""
    step = step_named(name)
    Manifest(
        step=name,
        month="all",
        fingerprint="",
        config={},
        counts=Counts(rows_in=0, rows_out=0),
        seconds=0.0,
        peak_rss_bytes=0,
        bytes_written=0,
        code_version="",
        depends={"inputs": inputs(step, run)},
        outputs={table.name: content for table in outputs},
    ).write(run)


def test_what_was_not_approved_is_not_published_by_its_step_alone(tmp_path: Path) -> None:
    run, step = Run(root=tmp_path), step_named("index_personas")
    with pytest.raises(QualityError, match=r"approve has not passed .*evaluation"):
        made(run, "verbalize", (PERSONAS,), "first")
        check_approved(step, run)
    made(run, "evaluate", (EVALUATION,), "first")
    made(run, "approve")
    check_approved(step, run)
    made(run, "interactions", (INTERACTIONS,), "more")  # a month that came since
    check_approved(step, run)
    made(run, "verbalize", (PERSONAS,), "second")
    with pytest.raises(QualityError, match=r"passed personas as .*--only evaluate --only approve"):
        check_approved(step, run)
    made(run, "evaluate", (EVALUATION,), "second")
    with pytest.raises(QualityError, match="passed evaluation as"):  # it refused them
        check_approved(step, run)


def test_a_run_of_the_step_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "RC_2019-08.ndjson").write_text("{}\n")
    profile = profiles.dumps(
        tmp_path / "run", (str(tmp_path / "RC_2019-08.ndjson"),), new_key_file(tmp_path / "key")
    )
    how = How(only=("index_personas",))
    with pytest.raises(QualityError, match="so nothing was published"):
        run_profile(profile, Reporter(Console(quiet=True)), how)


def test_wrong_policies_are_named() -> None:
    with pytest.raises(ConfigError, match="policy='never': expected one of checked, always"):
        ApproveConfig(policy="never")
    with pytest.raises(ConfigError, match="margin=1: expected 0 or more, and below 1"):
        ApproveConfig(margin=1)
