"""What the orchestration itself publishes."""

from __future__ import annotations

from pipelines.contract import Artifact

EVALUATION = Artifact(
    name="evaluation",
    doc="metrics.json (quality beside its baselines), user_map.parquet (users in 2-D)",
)

APPROVAL = Artifact(
    name="approval",
    doc="quality.json: the figures of the newest run whose personas may be seen, and the last's",
)
