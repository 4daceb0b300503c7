"""What stage 2 is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from embed.outcomes import Outcome
from pipelines.contract import ConfigError

TINY = "tiny"
TINY_FOLDER = Path(__file__).parent / "tiny_clip" / "weights"
LOCAL = "local-dir:"


def weights_folder(model: str) -> Path | None:
    """Where the files of a model lie that is not known to all by its name: `tiny`, `local-dir:`."""
    if model == TINY:
        return TINY_FOLDER
    return Path(model.removeprefix(LOCAL)) if model.startswith(LOCAL) else None


def weights_file(pretrained: str) -> Path | None:
    """The file of weights that `pretrained` names, if it names one and no tag."""
    return Path(pretrained) if pretrained and Path(pretrained).is_file() else None


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Which CLIP, for images, texts and tags alike.

    Args:
        model: A name that open_clip knows, `local-dir:PATH`, or `tiny` (the one shipped here).
        pretrained: A tag that open_clip knows for the model; empty for local directories.
    """

    model: str = field(default=TINY, metadata={"names_files": weights_folder})
    pretrained: str = field(default="", metadata={"names_files": weights_file})


MAX_NEAR_DUPLICATE_BITS = 7


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """media -> image_embeddings.

    Args:
        clip: The model.
        archive: Folder of shards of images, Parquet (`IMAGE_ARCHIVE`) or tar (`embed.tars`);
            empty: none.
        fetch: Fetch over HTTP what the archive lacks; else such images count as not_archived.
        max_pixels: Larger images are refused before they are decoded.
        max_bytes: Larger bodies are refused while they arrive.
        timeout_s: For one request, from connecting to the last byte.
        connect_s: For finding a host's address, and for connecting.
        read_s: Of silence while an answer is awaited or arrives.
        shard_images: Images a shard; a shard is the unit of resume.
        near_duplicate_bits: Pictures whose perceptual hashes differ in no more bits, and whose
            colours are the same, share one vector (`embed.once`); -1: none do.
        revalidate: Ask hosts whether what `keep_archive` holds has changed; costs no download
            where it has not, and embeds everything anew.
        retry_failed: Statuses of images to ask for again, and no others; empty: all that may have
            passed. Changes no setting that later runs must repeat.
    """

    clip: ClipConfig = ClipConfig()
    archive: str = field(default="", metadata={"location": True})
    fetch: bool = False
    max_pixels: int = 100_000_000
    max_bytes: int = 30_000_000
    timeout_s: float = 20.0
    connect_s: float = 5.0
    read_s: float = 10.0
    shard_images: int = 4096
    near_duplicate_bits: int = 2
    revalidate: bool = False
    retry_failed: tuple[str, ...] = field(default=(), metadata={"location": "external"})

    def __post_init__(self) -> None:
        if self.shard_images < 1:
            raise ConfigError(f"shard_images={self.shard_images}: expected at least 1")
        if not -1 <= self.near_duplicate_bits <= MAX_NEAR_DUPLICATE_BITS:
            raise ConfigError(
                f"near_duplicate_bits={self.near_duplicate_bits}: expected -1 (none) to "
                f"{MAX_NEAR_DUPLICATE_BITS}; beyond, pictures that look different are found"
            )
        failures = [str(outcome) for outcome in Outcome if outcome is not Outcome.OK]
        for status in self.retry_failed:
            if status not in failures:
                raise ConfigError(
                    f"--retry-failed {status!r}: expected one of {', '.join(failures)}"
                )


@dataclass(frozen=True, kw_only=True)
class ProductsConfig:
    """image_embeddings, media, submissions -> targets, features, tags.

    Args:
        clip: The same model as the images'.
        vocabulary: Name of a shipped vocabulary (`tiny`, `default`) or path of a JSON file.
        heldout_share: Share of a user's images kept for evaluation.
        min_images_for_holdout: Users with fewer images keep them all for training.
        titles_per_subreddit: Titles that describe a subreddit beside its name.
        seed: Chooses the held-out images and the titles.
    """

    clip: ClipConfig = ClipConfig()
    vocabulary: str = "tiny"
    heldout_share: float = 0.25
    min_images_for_holdout: int = 4
    titles_per_subreddit: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.heldout_share < 1:
            raise ConfigError(f"heldout_share={self.heldout_share}: expected in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class EmbedResources:
    """How stage 2 runs.

    Args:
        actors: Ray actors that encode; each loads the model once.
        gpus_per_actor: 0 encodes on the CPU.
        batch_images: Images encoded at once.
        threads_per_actor: Pictures decoded at once, and Torch threads on the CPU, of an actor; 0:
            its share of the processors of a machine with GPUs.
        precision: fp32, bf16 or fp16.
        compile: Compile the encoder of images; worth its minute from a few ten thousand images on.
        per_host: Requests under way to one host at once, over all actors.
        per_host_per_s: Requests a second to one host, over all actors.
        host_limits: Hosts with limits of their own, `HOST=AT_ONCE/PER_SECOND`, beside
            `embed.hosts.MAIN_HOSTS`, which they override.
        host_patience: A host that gives no answer so often in a row is not tried for a while.
        host_cool_down_s: That while; its images count as unreachable, and a later run asks again.
        host_outage_s: Silence of a host with limits of its own that is waited out first; whoever
            waits is told.
        keep_archive: Folder where the answers of hosts are kept, in shards, and looked for before a
            host is asked; one run at a time. A second model then downloads nothing.
        allow_private_hosts: Hosts exempt from the refusal of private addresses, `host:port`.
    """

    actors: int = 1
    gpus_per_actor: float = 0.0
    batch_images: int = 256
    threads_per_actor: int = 1
    precision: str = "fp32"
    compile: bool = False
    per_host: int = 4
    per_host_per_s: float = 10.0
    host_limits: tuple[str, ...] = ()
    host_patience: int = 5
    host_cool_down_s: float = 60.0
    host_outage_s: float = 600.0
    keep_archive: str = ""
    allow_private_hosts: tuple[str, ...] = ()
