"""The command line: `tastegraph`, or `python -m orchestration`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestration import profiles
from orchestration.commands import forget as forget_command
from orchestration.commands import persona as persona_commands
from orchestration.commands import serve as serve_command
from orchestration.commands import show_plan, show_status
from orchestration.flow import FLOW
from orchestration.progress import Reporter
from pipelines.contract import ConfigError, ContractError, MissingInputError

SAMPLE_ROOT = Path("runs/local_sample")
KEY_FILE = Path("~/.config/tastegraph/key")
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

Root = Annotated[Path, typer.Option("--root", help="Folder of the run: tables, store, report.")]
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


@app.command()
def sample(
    root: Root = SAMPLE_ROOT,
    users: Users = 2000,
    seed: Seed = 0,
    only: Only = None,
    settings: Settings = None,
    force: Force = False,
) -> None:
    """Make the sample world and run the whole job on it, evaluated against the planted truth.

    The world (dumps, images, truth) lies beside the run, in `ROOT_world`; nothing but the
    evaluation reads its truth. Run again, everything that is done is skipped.
    """
    from orchestration.worlds import ensure_world

    reporter = Reporter(Console())
    world = root.with_name(root.name + "_world")
    profile = profiles.override(profiles.local_sample(root, world, seed), settings or ())
    steps = _steps(only)
    config = profiles.sample_world(users, seed)
    with reporter.step("sample_world") as shown:
        made = ensure_world(config, world, shown.progress)
    reporter.note("sample_world", f"{'made' if made else 'kept'}: {world}")
    _run(profile, reporter, steps, force)


@app.command()
def run(
    profile_name: Annotated[
        str, typer.Option("--profile", help="`local_sample` or `dumps`.")
    ] = "dumps",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="Dump file, folder, glob or address (repeatable)."),
    ] = None,
    root: Root = Path("runs/dumps"),
    key_file: Annotated[
        Path,
        typer.Option(help="Secret of the user pseudonyms; made if absent. Keep it off the data."),
    ] = KEY_FILE,
    archive: Annotated[
        str, typer.Option(help="Folder of images that were downloaded before.")
    ] = "",
    fetch: Annotated[bool, typer.Option(help="Fetch images over HTTP.")] = False,
    clip_model: Annotated[
        str, typer.Option(help="`tiny`, an open_clip model name, or `local-dir:PATH`.")
    ] = "tiny",
    clip_pretrained: Annotated[str, typer.Option(help="open_clip's tag of the weights.")] = "",
    gpus: Annotated[int, typer.Option(help="GPUs to embed and train with.", min=0)] = 0,
    only: Only = None,
    on_corrupt: OnCorrupt = None,
    settings: Settings = None,
    force: Force = False,
) -> None:
    """Run the flow on dumps: ingest, embed, graph, personas, store, report.

    Example: `tastegraph run --input 'dumps/R?_2019-1*.zst' --root runs/2019 --fetch`
    """
    if profile_name == "local_sample":
        sample(root=root, only=only, settings=_with(settings, on_corrupt), force=force)
        return
    if profile_name != "dumps":
        raise ConfigError(f"--profile {profile_name!r}: expected local_sample or dumps")
    if not inputs:
        raise ConfigError("--input is missing: name a dump file, a folder or a glob")
    profile = profiles.dumps(root, tuple(inputs), _key(key_file))
    profile = profiles.with_images(profile, archive=archive, fetch=fetch, gpus=gpus)
    profile = profiles.with_clip(profile, clip_model, clip_pretrained)
    profile = profiles.override(profile, _with(settings, on_corrupt))
    _run(profile, Reporter(Console()), _steps(only), force)


@app.command()
def status(root: Root = SAMPLE_ROOT) -> None:
    """What is done under a root: steps, rows, seconds, memory."""
    show_status(root, Console())


@app.command()
def plan(
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Dump file, folder or glob (repeatable).")
    ] = None,
    root: Root = SAMPLE_ROOT,
    seed: Seed = 0,
    key_file: Annotated[Path, typer.Option(help="Secret of the user pseudonyms.")] = KEY_FILE,
    on_corrupt: OnCorrupt = None,
    settings: Settings = None,
) -> None:
    """What a run would do, and why, without doing it (of the sample, or of `--input`)."""
    if inputs:
        profile = profiles.dumps(root, tuple(inputs), _key(key_file))
    else:
        profile = profiles.local_sample(root, root.with_name(root.name + "_world"), seed)
    show_plan(profiles.override(profile, _with(settings, on_corrupt)), Console())


def _with(settings: list[str] | None, on_corrupt: str | None) -> list[str]:
    """The settings, and the option that has a name of its own."""
    named = [] if on_corrupt is None else [f"ingest.on_corrupt={on_corrupt}"]
    return [*(settings or ()), *named]


def _run(
    profile: profiles.Profile, reporter: Reporter, steps: tuple[str, ...], force: bool
) -> None:
    from orchestration.report import write_report
    from orchestration.runner import run_profile

    run_profile(profile, reporter, only=steps, force=force)
    reporter.note("report", str(write_report(profile)))


def _steps(only: list[str] | None) -> tuple[str, ...]:
    for name in only or ():
        if name not in {step.name for step in FLOW}:
            raise ConfigError(f"--only {name!r}: expected one of {STEPS}")
    return tuple(only or ())


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
    from persona.errors import ErasureError, StoreBusyError
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
        ErasureError,
        StoreBusyError,
    )
    try:
        app()
    except mendable as error:
        Console(stderr=True).print(f"[red]error[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
