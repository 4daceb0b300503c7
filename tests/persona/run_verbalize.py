"""The verbalize step as a process of its own, to be killed: `run_verbalize FOLDER BASE_URL`."""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from persona.config import PersonaResources, VerbalizeConfig
from persona.verbalize import verbalize
from tests.persona.synthetic import make_run


def main(folder: str, base_url: str) -> None:
    """Run the step on the evidence under `folder`."""
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=256 * 1024**2,
    )
    config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
    verbalize(config, PersonaResources(max_in_flight=2), make_run(Path(folder)))
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
