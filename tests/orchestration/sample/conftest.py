"""One small world, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.sample.config import WorldConfig
from orchestration.sample.plan import World, plan_world
from orchestration.sample.world import write_world
from tests.orchestration.sample.worlds import SMALL


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the world of `SMALL`."""
    folder = tmp_path_factory.mktemp("sample") / "world"
    write_world(SMALL, folder, workers=1)
    return folder


@pytest.fixture(scope="session")
def full_plan() -> World:
    """The plan of the default world: nothing of it is written."""
    return plan_world(WorldConfig())
