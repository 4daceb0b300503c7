"""The command line, which `orchestration.__main__` starts."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from errno import EACCES, EEXIST, EISDIR, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from orchestration import profiles
from orchestration.approve import QualityError
from orchestration.commands import KEY_FILE, SAMPLE_ROOT, Root, run_at, show_plan, show_status
from orchestration.commands import forget as forget_command
from orchestration.commands import graph as graph_commands
from orchestration.commands import persona as persona_commands
from orchestration.commands import serve as serve_command
from orchestration.flow import FLOW
from orchestration.manifests import published
from orchestration.progress import Reporter
from orchestration.runner import How
from orchestration.sample.config import WorldConfig
from persona.tables import PERSONA_STORE
from pipelines.contract import ConfigError, ContractError, MissingInputError, WorkerLostError
from pipelines.contract import Run as RunAt

DUMPS_ROOT = Path("runs/dumps")
EMBED = "embed_images"
# A path that was given cannot be used as it is.
MENDABLE_ERRNO = (EACCES, EPERM, EROFS, EEXIST, ENOTDIR, EISDIR)
STEPS = ", ".join(step.name for step in FLOW)

app = typer.Typer(
    name="tastegraph",
    help="Reddit dumps in, a searchable store of natural-language personas out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(persona_commands.app, name="persona")
app.command()(serve_command.serve)
app.command()(forget_command.forget)
app.command()(graph_commands.import_graph)
app.command()(graph_commands.evaluate)
app.command()(graph_commands.embed_user)

Only = Annotated[
    list[str] | None, typer.Option("--only", help=f"Run this step alone (repeatable): {STEPS}.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, e.g. `--set train.epochs=10` (repeatable)."),
]
OnCorrupt = Annotated[
    str | None,
    typer.Option(
        help="A cut or damaged dump fails its month, or what is whole is kept and the rest noted.",
        metavar="fail|keep",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Run steps that are done, too.")]
Seed = Annotated[int, typer.Option(help="Seed of the sample world, of training and evaluation.")]
Users = Annotated[int, typer.Option(help="Users of the sample world.", min=60)]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="Dump file, folder, glob or address (repeatable)."),
]
KeyFile = Annotated[
    Path,
    typer.Option(help="Secret of the user pseudonyms; made if absent. Keep it off the data."),
]
Archive = Annotated[
    str,
    typer.Option(
        help="Folder of images that were downloaded before: Parquet shards (url, http_status, "
        "content), or tar shards as img2dataset writes them."
    ),
]
Fetch = Annotated[
    bool,
    typer.Option(
        help="Fetch images over HTTP, each host within its limits "
        "(`--set embedding.host_limits=HOST=AT_ONCE/PER_SECOND`), private addresses refused."
    ),
]
KeepArchive = Annotated[
    str,
    typer.Option(
        help="Folder to keep fetched images in; looked through before a host is asked, so that a "
        "second model downloads nothing."
    ),
]
RetryFailed = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS",
        help="Ask again for images that failed with this class, such as `timeout`, and leave all "
        "others as they are (repeatable).",
    ),
]
ClipModel = Annotated[str, typer.Option(help="`tiny`, an open_clip model, or `local-dir:PATH`.")]
ClipPretrained = Annotated[str, typer.Option(help="open_clip's tag of the weights.")]
Gpus = Annotated[int, typer.Option(help="GPUs to embed and train with.", min=0)]
KeepEncoder = Annotated[
    bool, typer.Option("--keep-encoder", help="Train again for other settings only, not for data.")
]
Months = Annotated[
    list[str] | None,
    typer.Option("--month", help="Ingest this month alone, and no other step (repeatable)."),
]
Parallel = Annotated[int, typer.Option(help="Months ingested at once.", min=1)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another run under the root.")]


@app.command()
def sample(
    root: Root = SAMPLE_ROOT,
    users: Users = 2000,
    seed: Seed = 0,
    only: Only = None,
    settings: Settings = None,
    force: Force = False,
    months: Months = None,
    parallel: Parallel = 1,
    wait: Wait = False,
    keep_encoder: KeepEncoder = False,
) -> None:
    """Make the sample world and run the whole job on it, evaluated against the planted truth.

    The world (dumps, images, truth) lies beside the run, in `ROOT_world`; nothing but the
    evaluation reads its truth. Run again, everything that is done is skipped.
    """
    from orchestration.worlds import ensure_world

    reporter = Reporter(Console())
    world = root.with_name(root.name + "_world")
    profile = profiles.override(profiles.local_sample(root, world, seed), settings or ())
    how = _how(only, force, months, parallel, wait)
    config = WorldConfig(users=users, seed=seed)
    with reporter.step("sample_world") as shown:
        made = ensure_world(config, world, shown.progress)
    reporter.note("sample_world", f"{'made' if made else 'kept'}: {world}")
    _run(profiles.kept(profile, keep_encoder), reporter, how)


@app.command()
def run(
    profile_name: Annotated[
        str, typer.Option("--profile", help="`local_sample` or `dumps`.")
    ] = "dumps",
    inputs: Inputs = None,
    root: Root = DUMPS_ROOT,
    key_file: KeyFile = KEY_FILE,
    archive: Archive = "",
    fetch: Fetch = False,
    keep_archive: KeepArchive = "",
    retry_failed: RetryFailed = None,
    clip_model: ClipModel = "tiny",
    clip_pretrained: ClipPretrained = "",
    gpus: Gpus = 0,
    only: Only = None,
    on_corrupt: OnCorrupt = None,
    settings: Settings = None,
    force: Force = False,
    months: Months = None,
    parallel: Parallel = 1,
    wait: Wait = False,
    keep_encoder: KeepEncoder = False,
) -> None:
    """Run the flow on dumps: ingest, embed, graph, personas, store, report.

    Example: `tastegraph run --input 'dumps/R?_2019-1*.zst' --root runs/2019 --fetch`
    """
    how = _how(only, force, months, parallel, wait)
    if profile_name == "local_sample":
        words = _with(settings, on_corrupt)
        sample(
            root=root,
            only=only,
            settings=words,
            force=force,
            months=months,
            parallel=parallel,
            wait=wait,
            keep_encoder=keep_encoder,
        )
        return
    if profile_name != "dumps":
        raise ConfigError(f"--profile {profile_name!r}: expected local_sample or dumps")
    if not inputs:
        raise ConfigError("--input is missing: name a dump file, a folder or a glob")
    profile = profiles.dumps(root, tuple(inputs), _key(key_file))
    profile = profiles.with_images(
        profile, archive=archive, fetch=fetch, gpus=gpus, keep_archive=keep_archive
    )
    profile = profiles.with_clip(profile, clip_model, clip_pretrained)
    profile = profiles.override(profile, _with(settings, on_corrupt))
    if retry_failed:
        _assert_embeds(how)
        profile, how = profiles.retrying(profile, retry_failed), replace(how, again=(EMBED,))
    _run(profiles.kept(profile, keep_encoder), Reporter(Console()), how)


@app.command()
def status(root: Root = SAMPLE_ROOT) -> None:
    """What is done under a root: steps, rows, rates, rejects; what readers see; the last run."""
    show_status(root, Console())


@app.command()
def plan(
    inputs: Inputs = None,
    root: Annotated[
        Path | None,
        typer.Option(help=f"Folder of the run; {DUMPS_ROOT}, without --input {SAMPLE_ROOT}."),
    ] = None,
    seed: Seed = 0,
    key_file: KeyFile = KEY_FILE,
    archive: Archive = "",
    fetch: Fetch = False,
    keep_archive: KeepArchive = "",
    clip_model: ClipModel = "tiny",
    clip_pretrained: ClipPretrained = "",
    gpus: Gpus = 0,
    on_corrupt: OnCorrupt = None,
    settings: Settings = None,
    keep_encoder: KeepEncoder = False,
) -> None:
    """What a run with the same options would do, and why, without doing it.

    Without `--input`: of the sample run.
    """
    root = root or (DUMPS_ROOT if inputs else SAMPLE_ROOT)
    if inputs:
        profile = profiles.dumps(root, tuple(inputs), key_file.expanduser())
        profile = profiles.with_images(
            profile, archive=archive, fetch=fetch, gpus=gpus, keep_archive=keep_archive
        )
        profile = profiles.with_clip(profile, clip_model, clip_pretrained)
    else:
        world = root.with_name(root.name + "_world")
        if not world.is_dir():
            raise MissingInputError(
                f"no sample world at {world}: make one with `tastegraph sample --root {root}`, "
                "or name dumps with --input"
            )
        profile = profiles.local_sample(root, world, seed)
    profile = profiles.override(profile, _with(settings, on_corrupt))
    show_plan(profiles.kept(profile, keep_encoder), Console())


@app.command()
def rollback(
    root: Root = SAMPLE_ROOT,
    to: Annotated[
        str, typer.Option(help="Version to go back to, as `status` names it; default: the last.")
    ] = "",
    wait: Wait = False,
) -> None:
    """Have readers see the personas of an earlier run again, at once.

    The next run that makes other personas is published as ever.
    """
    from orchestration.publishing import roll_back
    from orchestration.runner import lock

    run_here = run_at(root)
    with lock(root, waiting=Reporter(Console()) if wait else None):
        name = roll_back(PERSONA_STORE, run_here, to)
    Console().print(f"readers see {name}", highlight=False)


def _with(settings: list[str] | None, on_corrupt: str | None) -> list[str]:
    """The settings, and the option that has a name of its own."""
    named = [] if on_corrupt is None else [f"ingest.on_corrupt={on_corrupt}"]
    return [*(settings or ()), *named]


def _run(profile: profiles.Profile, reporter: Reporter, how: How) -> None:
    from orchestration.report import write_report
    from orchestration.runner import run_profile

    if profile.root.exists() and not profile.root.is_dir():
        raise ConfigError(f"--root {str(profile.root)!r}: a file; expected a folder")
    if not how.months and how.takes(EMBED) and not published(RunAt(root=profile.root), EMBED):
        profiles.check_images(profile)  # not only after hours of ingest
    try:
        run_profile(profile, reporter, how)
    except QualityError:
        reporter.note("report", str(write_report(profile)))  # it shows what fell
        raise
    if not how.months:
        reporter.note("report", str(write_report(profile)))


def _how(
    only: list[str] | None, force: bool, months: list[str] | None, parallel: int, wait: bool
) -> How:
    for name in only or ():
        if name not in {step.name for step in FLOW}:
            raise ConfigError(f"--only {name!r}: expected one of {STEPS}")
    return How(
        only=tuple(only or ()),
        months=tuple(months or ()),
        force=force,
        parallel=parallel,
        wait=wait,
    )


def _assert_embeds(how: How) -> None:
    if how.months:
        raise ConfigError(
            "--retry-failed with --month: a month alone is ingested, and no image is asked for; "
            "leave one of them out"
        )
    if not how.takes(EMBED):
        raise ConfigError(
            f"--retry-failed with --only {' --only '.join(how.only)}: it is {EMBED} that asks for "
            f"images; add --only {EMBED}, or leave --retry-failed out"
        )


def _key(path: Path) -> Path:
    """The key file; a fresh random one on the first run, readable by its owner alone."""
    from pipelines.pseudonym import new_key_file

    path = path.expanduser()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new_key_file(path)
    return path


def main() -> None:
    """Run the command line; an error that a user can mend is one line and exit code 2."""
    from orchestration.engines import quiet_engines
    from orchestration.runner import DiskFullError, RunLockedError
    from persona.errors import EndpointError, ErasureError, StoreBusyError
    from pipelines.containers import CorruptDumpError

    # Libraries warn of optional parts that are not installed; what matters here is raised.
    logging.basicConfig(level=logging.ERROR)
    quiet_engines()
    mendable = (
        ConfigError,
        ContractError,
        CorruptDumpError,
        MissingInputError,
        DiskFullError,
        RunLockedError,
        WorkerLostError,
        QualityError,
        EndpointError,
        ErasureError,
        StoreBusyError,
    )
    try:
        app()
    except mendable as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None or error.errno not in MENDABLE_ERRNO:
            raise
        _fail(f"{error.filename}: {error.strerror}")


def _fail(told: str) -> NoReturn:
    Console(stderr=True).print(f"[red]error[/] {escape(told)}", highlight=False, soft_wrap=True)
    sys.exit(2)
