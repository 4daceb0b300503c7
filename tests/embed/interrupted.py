"""A run of `embed_images` in a process of its own, for a test that kills it.

`python -m tests.embed.interrupted ROOT HOST` embeds what HOST serves into ROOT/staging.
"""

from __future__ import annotations

import sys
from pathlib import Path

from embed.config import EmbedConfig, EmbedResources
from pipelines.contract import Run

CONFIG = EmbedConfig(fetch=True, shard_images=4)


def resources(host: str, actors: int = 1) -> EmbedResources:
    """One thread an actor, and leave to ask the loopback."""
    return EmbedResources(
        actors=actors,
        batch_images=4,
        per_host=4 * actors,
        per_host_per_s=1_000,
        allow_private_hosts=(host,),
    )


def main() -> None:
    """Embed, as the runner would."""
    import ray

    from embed.images import embed_images

    root, host = Path(sys.argv[1]), sys.argv[2]
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 1024**2)
    embed_images(CONFIG, resources(host), Run(root=root, staging=root / "staging"))


if __name__ == "__main__":
    main()
