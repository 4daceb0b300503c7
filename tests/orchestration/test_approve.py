from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestration.approve import QualityError, approve, fallen, figures
from orchestration.config import ApproveConfig
from orchestration.tables import APPROVAL, EVALUATION
from persona.config import PersonaResources
from pipelines.contract import ConfigError, Run


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


def test_figures_are_those_that_were_measured() -> None:
    assert figures({"link": {"mrr": 0.5}, "persona": {"own_vs_other": None}}) == {"link.mrr": 0.5}


def test_a_figure_that_is_gone_has_fallen() -> None:
    assert fallen({"link.mrr": 0.5, "persona.count": 9.0}, {"link.mrr": 0.5}, 0.1) == [
        "persona.count"
    ]


def test_wrong_policies_are_named() -> None:
    with pytest.raises(ConfigError, match="policy='never': expected one of checked, always"):
        ApproveConfig(policy="never")
    with pytest.raises(ConfigError, match="margin=1: expected 0 or more, and below 1"):
        ApproveConfig(margin=1)
