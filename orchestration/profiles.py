"""Profiles: the settings of every step for one way of running the flow.

A profile is a value; variants come from `dataclasses.replace` or from `--set train.epochs=10`.
Configs say what is computed, resources how.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from embed.config import ClipConfig, EmbedConfig, EmbedResources, ProductsConfig
from graph.config import GraphConfig, GraphResources, InferConfig, TrainConfig
from orchestration.config import ApproveConfig, EvaluateConfig
from orchestration.flow import FLOW
from persona.config import EvidenceConfig, PersonaResources, StoreConfig, VerbalizeConfig
from pipelines.config import BeamResources, IngestConfig, InteractionsConfig
from pipelines.contract import ConfigError

SETTINGS = {
    "ingest": ("ingest", "beam"),
    "interactions": ("interactions", "beam"),
    "embed_images": ("embed", "embedding"),
    "visual_targets": ("products", "embedding"),
    "subreddit_features": ("products", "embedding"),
    "build_graph": ("graph", "training"),
    "train_gat": ("train", "training"),
    "infer_users": ("infer", "training"),
    "build_evidence": ("evidence", "serving"),
    "verbalize": ("verbalize", "serving"),
    "index_personas": ("store", "serving"),
    "evaluate": ("evaluate", "serving"),
    "approve": ("approve", "serving"),
}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All settings of one run.

    Args:
        name: For people.
        root: Folder of the run.
        ray_address: Cluster to join ("auto", "host:port"); empty starts one on this machine.
        object_store_bytes: Of a Ray started here.
        keep: Steps whose result stays while nothing but data changed, by name: with `train_gat` a
            refresh reads the new graph with the encoder that it has.
        usd_per_hour: Price of the machines, for the accounts.
    """

    name: str
    root: Path
    ingest: IngestConfig
    interactions: InteractionsConfig = InteractionsConfig()
    embed: EmbedConfig = EmbedConfig()
    products: ProductsConfig = ProductsConfig()
    graph: GraphConfig = GraphConfig()
    train: TrainConfig = TrainConfig()
    infer: InferConfig = InferConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    verbalize: VerbalizeConfig = VerbalizeConfig()
    store: StoreConfig = StoreConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    approve: ApproveConfig = ApproveConfig()
    beam: BeamResources = BeamResources()
    embedding: EmbedResources = EmbedResources()
    training: GraphResources = GraphResources()
    serving: PersonaResources = PersonaResources()
    ray_address: str = ""
    object_store_bytes: int = 1 << 30
    keep: tuple[str, ...] = ()
    usd_per_hour: float = 0.0

    def __post_init__(self) -> None:
        possible = [step.name for step in FLOW if step.keepable]
        for name in self.keep:
            if name not in possible:
                raise ConfigError(f"keep={name!r}: expected one of {', '.join(possible)}")

    def settings(self, step: str) -> tuple[Any, Any]:
        """Config and resources of a step."""
        config, resources = SETTINGS[step]
        return getattr(self, config), getattr(self, resources)


def local_sample(root: Path, world: Path, seed: int = 0) -> Profile:
    """The sample world on this machine: small, seeded, evaluated against the planted tastes.

    Args:
        root: Folder of the run.
        world: Folder of `write_world`; its dumps, images and key are inputs, its truth is read by
            the evaluation alone.
        seed: Of training and evaluation.
    """
    key_file = str(world / "key")
    return Profile(
        name="local_sample",
        root=root,
        ingest=IngestConfig(inputs=(str(world / "dumps"),), key_file=key_file),
        embed=EmbedConfig(archive=str(world / "images")),
        products=ProductsConfig(heldout_share=0.5, min_images_for_holdout=8),
        train=TrainConfig(seed=seed),
        evaluate=EvaluateConfig(truth=str(world / "truth"), key_file=key_file, seed=seed),
        approve=ApproveConfig(policy="always"),  # here people try what may be worse
        training=GraphResources(threads_per_worker=1),
        embedding=EmbedResources(threads_per_actor=1),
    )


def dumps(root: Path, inputs: tuple[str, ...], key_file: Path) -> Profile:
    """Real dump files; images only from where the caller says, taste unknown.

    Args:
        root: Folder of the run.
        inputs: Dump files, folders or globs.
        key_file: Secret of the pseudonyms.
    """
    return Profile(
        name="dumps",
        root=root,
        ingest=IngestConfig(inputs=inputs, key_file=str(key_file), on_corrupt="keep"),
        embedding=EmbedResources(threads_per_actor=1),
        training=GraphResources(threads_per_worker=1),
    )


def with_images(
    profile: Profile, *, archive: str, fetch: bool, gpus: int, keep_archive: str = ""
) -> Profile:
    """The profile with a source of images, embedded and trained on `gpus` GPUs (0: the CPU).

    Raises:
        ConfigError: The folder to keep images in is the archive.
    """
    if keep_archive and archive and Path(keep_archive).resolve() == Path(archive).resolve():
        raise ConfigError(
            f"--keep-archive {keep_archive!r} is --archive, too: what is kept is looked through "
            "anyway, so leave --archive out"
        )
    profile = replace(
        profile,
        embed=replace(profile.embed, archive=archive, fetch=fetch),
        embedding=replace(profile.embedding, keep_archive=keep_archive),
        verbalize=replace(profile.verbalize, archive=archive),
    )
    if not gpus:
        return profile
    return replace(
        profile,
        embedding=replace(
            profile.embedding, actors=gpus, gpus_per_actor=1, threads_per_actor=0, precision="bf16"
        ),
        training=replace(profile.training, workers=gpus, gpus_per_worker=1),
    )


def check_images(profile: Profile) -> None:
    """That there are images where the profile says, its CLIP can be had, and GPUs are there.

    Raises:
        MissingInputError: No archive, or no folder with the weights.
        ConfigError: open_clip knows no such model or weights; or more GPUs are asked of this
            machine than it has, for which Ray would wait for ever.
    """
    asked = max(
        profile.embedding.actors * profile.embedding.gpus_per_actor,
        profile.training.workers * profile.training.gpus_per_worker,
    )
    # torch is loaded where it is asked for alone: ingest comes first, and it takes half a GB.
    if asked and not profile.ray_address:
        import torch

        there = torch.cuda.device_count()
        if asked > there:
            raise ConfigError(
                f"{asked:g} GPUs are asked for, and this machine has {there}; name fewer with "
                "--gpus, or a cluster with --set ray_address=HOST:PORT"
            )
    if profile.embed.archive:
        from embed.archive import archive_files

        archive_files(Path(profile.embed.archive))
    if profile.embed.clip != ClipConfig():
        from embed.clip import clip_identity

        clip_identity(profile.embed.clip.model, profile.embed.clip.pretrained)


def retrying(profile: Profile, statuses: Iterable[str]) -> Profile:
    """The profile that asks again for images of these statuses, and for no others.

    Raises:
        ConfigError: No such status.
    """
    return replace(profile, embed=replace(profile.embed, retry_failed=tuple(statuses)))


def with_clip(profile: Profile, model: str, pretrained: str) -> Profile:
    """The profile with one CLIP for images, texts and tags alike, and the vocabulary it reads."""
    clip = ClipConfig(model=model, pretrained=pretrained)
    vocabulary = "tiny" if model == "tiny" else "default"
    return replace(
        profile,
        embed=replace(profile.embed, clip=clip),
        products=replace(profile.products, clip=clip, vocabulary=vocabulary),
        evaluate=replace(profile.evaluate, clip=clip),
    )


def kept(profile: Profile, keep_encoder: bool) -> Profile:
    """The profile, with the encoder kept while nothing but data changed if so wanted."""
    return replace(profile, keep=("train_gat",)) if keep_encoder else profile


def override(profile: Profile, assignments: Iterable[str]) -> Profile:
    """The profile with `section.field=value` words applied, such as `train.epochs=10`.

    Raises:
        ConfigError: No such section or field, or a value of the wrong type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment!r}: expected section.field=value")
        profile = _assign(profile, path.split("."), text, assignment)
    return profile


def _assign(value: Any, path: list[str], text: str, assignment: str) -> Any:
    names = [entry.name for entry in fields(value)]
    if path[0] not in names:
        raise ConfigError(
            f"--set {assignment!r}: no {path[0]!r} here; there are {', '.join(names)}"
        )
    current = getattr(value, path[0])
    if len(path) > 1:
        if not is_dataclass(current):
            raise ConfigError(f"--set {assignment!r}: {path[0]!r} has no fields")
        return replace(value, **{path[0]: _assign(current, path[1:], text, assignment)})
    hint = get_type_hints(type(value))[path[0]]
    return replace(value, **{path[0]: _parse(hint, text, assignment)})


def _parse(hint: Any, text: str, assignment: str) -> Any:
    """`text` as a value of type `hint`: a number, a truth value, a word, or a tuple of those."""
    if get_origin(hint) is tuple:
        items = [item for item in text.split(",") if item]
        return tuple(_parse(get_args(hint)[0], item, assignment) for item in items)
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"--set {assignment!r}: expected true or false")
        return text.lower() == "true"
    try:
        return hint(text) if hint in (int, float, Path) else text
    except ValueError as error:
        raise ConfigError(
            f"--set {assignment!r}: expected a value of type {hint.__name__}"
        ) from error
