"""`tastegraph persona`: read the persona store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from persona.schema import Persona
from pipelines.contract import ConfigError, MissingInputError, Run

app = typer.Typer(help="Read personas: show one, or search them all.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", help="Folder of the run.")]


@app.command()
def show(
    user: Annotated[str, typer.Argument(help="A user_id; or a name, with --key-file.")],
    root: Root = Path("runs/local_sample"),
    key_file: Annotated[
        Path | None, typer.Option(help="Secret of the pseudonyms: USER is a Reddit name then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole row as JSON.")] = False,
) -> None:
    """Print one user's persona with the evidence of every claim."""
    from persona.store import PersonaStore
    from persona.tables import PERSONA_STORE

    if key_file is not None:
        from pipelines.pseudonym import Pseudonyms

        user = Pseudonyms.from_file(key_file).user_id(user)
    row = PersonaStore.open(PERSONA_STORE.path(Run(root=root))).get(user)
    if row is None:
        raise MissingInputError(f"no persona of user {user!r} in {root}")
    if as_json:
        typer.echo(json.dumps(row, default=str))
    else:
        _print_persona(row, Console())


@app.command()
def search(
    text: Annotated[str, typer.Argument(help='What to look for, e.g. "neon cats".')],
    root: Root = Path("runs/local_sample"),
    by: Annotated[
        str, typer.Option(help="`text` (full text), `vector` (CLIP of the words) or `both`.")
    ] = "both",
    k: Annotated[int, typer.Option("-k", help="Personas to print.", min=1)] = 5,
) -> None:
    """Find personas by words, by what the words look like to CLIP, or by both."""
    from persona.store import PersonaStore
    from persona.tables import PERSONA_STORE

    if by not in ("text", "vector", "both"):
        raise ConfigError(f"--by {by!r}: expected text, vector or both")
    store = PersonaStore.open(PERSONA_STORE.path(Run(root=root)))
    match by:
        case "text":
            hits = store.search_text(text, k)
        case "vector":
            hits = store.search_vector(_query(text, root), k)
        case _:
            hits = store.search_both(text, _query(text, root), k)
    _print_hits(f"{text} (by {by})", hits, Console())


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
    table = Table("user", "persona", title=title, show_lines=True)
    for row in rows:
        table.add_row(row["user_id"], row["summary"])
    console.print(table)


def _print_persona(row: dict[str, Any], console: Console) -> None:
    persona = Persona.model_validate_json(row["persona"])
    console.print(Panel(persona.summary, title=row["user_id"]), highlight=False)
    table = Table("claim", "evidence", "confidence")
    for claim in persona.claims():
        table.add_row(claim.text, ", ".join(claim.evidence), f"{claim.confidence:.0%}")
    console.print(table)
