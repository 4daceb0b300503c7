"""Step approve: EVALUATION -> APPROVAL, unless quality fell: then readers keep what they have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestration.config import ApproveConfig
from orchestration.publishing import visible
from orchestration.tables import APPROVAL, EVALUATION
from persona.config import PersonaResources
from persona.tables import PERSONA_STORE
from pipelines.contract import Counts, Run

# Of metrics.json; more is better in all of them.
FIGURES = (
    "link.mrr",
    "taste.with_images_top1",
    "taste.without_images_top1",
    "salience.attention_p3",
    "persona.count",
    "persona.grounded_claim_share",
    "persona.own_vs_other",
)
FILE = "quality.json"


class QualityError(RuntimeError):
    """A figure fell by more than the margin, or was not looked at; nothing was published."""


def approve(config: ApproveConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: EVALUATION -> APPROVAL.

    Returns:
        Counts over the figures; metrics: each figure.

    Raises:
        QualityError: A figure fell, and the policy is `checked`.
    """
    now = figures(json.loads((EVALUATION.path(run) / "metrics.json").read_text()))
    last = visible_figures(run)
    worse = fallen(last, now, config.margin)
    if worse and config.policy == "checked":
        told = ", ".join(f"{name} {last[name]:.4g} -> {now.get(name)}" for name in worse)
        raise QualityError(
            f"quality fell by more than {config.margin:.0%}: {told}; the personas were made but "
            "not published, readers keep the last ones. Look at the report, then publish all the "
            "same with --set approve.policy=always, or correct the cause and run again"
        )
    told_to = run.staged(APPROVAL) / FILE
    told_to.write_text(json.dumps({"figures": now, "last": last}, indent=2, sort_keys=True))
    return Counts(rows_in=len(now), rows_out=len(now), metrics=now)


def visible_figures(run: Run) -> dict[str, float]:
    """Figures of the personas that readers see: the last that were approved, or after a rollback
    those that lie in the version that was gone back to. None before the first."""
    newest = [folder.name for folder in PERSONA_STORE.folders(run)[-1:]]
    is_back = visible(PERSONA_STORE, run) not in (None, *newest)
    file = PERSONA_STORE.path(run) / APPROVAL.name / FILE
    if not is_back or not file.is_file():
        file = APPROVAL.path(run) / FILE
    found: dict[str, float] = json.loads(file.read_text())["figures"] if file.is_file() else {}
    return found


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of FIGURES that were measured."""
    found = {}
    for name in FIGURES:
        section, _, key = name.partition(".")
        value = metrics.get(section, {}).get(key)
        if value is not None:
            found[name] = float(value)
    return found


def fallen(last: Mapping[str, float], now: Mapping[str, float], margin: float) -> list[str]:
    """Figures that lost more than `margin` of their last value, or that are no longer there."""
    return [
        name
        for name, value in last.items()
        if name not in now or now[name] < value - margin * abs(value)
    ]
