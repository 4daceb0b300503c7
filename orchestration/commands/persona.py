"""`tastegraph persona`: read the persona store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from orchestration.commands import ID, SAMPLE_ROOT, Root, plain_name, pseudonyms_of, run_at
from persona.schema import Persona
from pipelines.contract import ConfigError, MissingInputError, Run

if TYPE_CHECKING:
    from persona.store import PersonaStore

app = typer.Typer(help="Read personas: show one, or search them all.", no_args_is_help=True)

User = Annotated[str, typer.Argument(help="A user_id; or a name, with --key-file.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="Secret of the pseudonyms: USER is a Reddit name then.")
]


@app.command()
def show(
    user: User,
    root: Root = SAMPLE_ROOT,
    key_file: KeyFile = None,
    as_of: Annotated[
        str | None, typer.Option(help="A run's version, or epoch seconds: the persona as of then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole row as JSON.")] = False,
) -> None:
    """Print one user's persona with the evidence of every claim."""
    store, user = _store(root), _user_id(user, key_file, root)
    if as_of is None:
        row = store.get(user)
    else:
        try:
            row = store.get_at(user, int(as_of) if as_of.isdecimal() and len(as_of) < 16 else as_of)
        except ValueError as error:
            raise ConfigError(f"--as-of {error}, or epoch seconds") from error
    if row is None:
        then = "" if as_of is None else f" at {as_of}"
        hint = "" if key_file or ID.fullmatch(user) else "; a name needs --key-file"
        raise MissingInputError(f"no persona of user {user!r} in {root}{then}{hint}")
    if as_json:
        typer.echo(json.dumps(row, default=str))
    else:
        _print_persona(row, Console())


@app.command()
def search(
    text: Annotated[str, typer.Argument(help='What to look for, e.g. "neon cats".')],
    root: Root = SAMPLE_ROOT,
    by: Annotated[
        str, typer.Option(help="`text` (full text), `vector` (CLIP of the words) or `both`.")
    ] = "both",
    k: Annotated[int, typer.Option("-k", help="Personas to print.", min=1)] = 5,
) -> None:
    """Find personas by words, by what the words look like to CLIP, or by both."""
    if by not in ("text", "vector", "both"):
        raise ConfigError(f"--by {by!r}: expected text, vector or both")
    store = _store(root)
    match by:
        case "text":
            hits = store.search_text(text, k)
        case "vector":
            hits = store.search_vector(_query(text, root), k)
        case _:
            hits = store.search_both(text, _query(text, root), k)
    _print_hits(f"{text} (by {by})", hits, Console())


@app.command()
def history(user: User, root: Root = SAMPLE_ROOT, key_file: KeyFile = None) -> None:
    """Print how one user's persona changed from run to run."""
    rows = _store(root).history(_user_id(user, key_file, root))
    if not rows:
        raise MissingInputError(f"no persona of user {user!r} in {root}, now or before")
    table = Table("run", "made", "verbalizer", "persona", show_lines=True)
    for row in rows:
        made = datetime.fromtimestamp(row["made_utc"], UTC).isoformat(" ", "minutes")
        told = escape(row["summary"] or "(left the data)")
        table.add_row(row["run_version"], made, row["verbalizer"] or "-", told)
    Console().print(table)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File to write: .parquet or .jsonl.")],
    root: Root = SAMPLE_ROOT,
) -> None:
    """Write all current personas to one file."""
    from persona.export import export as export_store

    typer.echo(f"{export_store(_store(root), target)} personas: {target}")


@app.command()
def compact(
    root: Root = SAMPLE_ROOT,
    keep_hours: Annotated[
        float, typer.Option(help="Versions that readers may still hold.", min=0.0)
    ] = 1.0,
) -> None:
    """Merge small files, update the indexes and drop old versions of the store."""
    _store(root).compact(timedelta(hours=keep_hours))


def _store(root: Path) -> PersonaStore:
    from persona.store import PersonaStore
    from persona.tables import PERSONA_STORE

    return PersonaStore.open(PERSONA_STORE.path(run_at(root)).resolve())


def _user_id(user: str, key_file: Path | None, root: Path) -> str:
    return user if key_file is None else pseudonyms_of(key_file, [root]).user_id(plain_name(user))


def _query(text: str, root: Path) -> NDArray[np.float32]:
    """`text` in the space of the personas' images: by the CLIP that embedded them."""
    from embed.clip import load_clip
    from orchestration.manifests import published

    manifest = published(Run(root=root), "embed_images").get("all")
    if manifest is None:
        raise MissingInputError(f"no images were embedded in {root}; search --by text")
    clip = manifest.config["clip"]
    loaded = load_clip(clip["model"], clip["pretrained"])
    return loaded.encode_texts([text])[0]


def _print_hits(title: str, rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not rows:
        console.print(f"nothing found: {title}", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table("user", "persona", title=escape(title), show_lines=True)
    for row in rows:
        table.add_row(row["user_id"], escape(row["summary"]))
    console.print(table)


def _print_persona(row: dict[str, Any], console: Console) -> None:
    persona = Persona.model_validate_json(row["persona"])
    console.print(Panel(escape(persona.summary), title=row["user_id"]), highlight=False)
    table = Table("claim", "evidence", "confidence")
    for claim in persona.claims():
        table.add_row(escape(claim.text), ", ".join(claim.evidence), f"{claim.confidence:.0%}")
    for band in persona.demographics:
        table.add_row(escape(f"{band.kind}: {band.value}"), ", ".join(band.evidence), "as they say")
    console.print(table)
