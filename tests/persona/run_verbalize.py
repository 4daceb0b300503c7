"""The verbalize step as a driver of its own, to be killed: `run_verbalize FOLDER URL RAY`."""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from persona.config import PersonaResources, VerbalizeConfig
from persona.verbalize import verbalize
from tests.persona.synthetic import make_run


def main(folder: str, base_url: str, ray_address: str) -> None:
    """Run the step on the evidence under `folder`, in the Ray that runs at `ray_address`."""
    ray.init(address=ray_address, log_to_driver=False)
    config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
    verbalize(config, PersonaResources(max_in_flight=2), make_run(Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
