"""Sample worlds on disk: made once, kept while their config is the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from orchestration.progress import OnProgress
from orchestration.sample.config import WorldConfig
from orchestration.sample.world import write_world

RECORD = "world.json"


def ensure_world(config: WorldConfig, folder: Path, progress: OnProgress | None = None) -> bool:
    """Have the world of `config` in `folder`; True if it had to be made, False if it was there.

    The record is written last: a world without one was not finished and is made again.
    """
    wanted = json.dumps(asdict(config), sort_keys=True)
    record = folder / RECORD
    if record.exists() and record.read_text() == wanted:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_world(config, folder, progress)
    record.write_text(wanted)
    return True
