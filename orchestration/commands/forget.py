"""`tastegraph forget`: erase a user, leave a tombstone, prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from orchestration.commands import ID, KEY_FILE, SAMPLE_ROOT, plain_name, pseudonyms_of
from orchestration.progress import Reporter
from orchestration.runner import lock
from pipelines.contract import ConfigError, MissingInputError


def forget(
    user: Annotated[str, typer.Argument(help="A Reddit name, or a user_id.")],
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder of a run (repeatable).")
    ] = None,
    key_file: Annotated[
        Path, typer.Option(help="Secret of the pseudonyms; the tombstone lies beside it.")
    ] = KEY_FILE,
    is_id: Annotated[
        bool, typer.Option("--id", help="USER is a user_id, also where no root knows it.")
    ] = False,
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of downloaded images elsewhere (repeatable): theirs go, too."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for a run under the root.")] = False,
) -> None:
    """Erase a user from every table, archive, index, version and cache, and search for traces.

    A tombstone keeps the user out of every later ingest under the same key. Stop the API, or let it
    open the store anew; take care of backups and of dumps yourself.
    """
    from persona.erasure import erase_user
    from pipelines.forgotten import add_tombstone

    key_file = key_file.expanduser()
    roots = root or [SAMPLE_ROOT]
    missing = next((r for r in roots if not r.is_dir()), None)
    if missing is not None:
        raise MissingInputError(f"no run at {missing}: name the folders of your runs with --root")
    user_id = _user_id(user, is_id, key_file, roots)
    add_tombstone(key_file, user_id)
    console = Console()
    for folder in roots:
        with lock(folder, waiting=Reporter(console) if wait else None):
            erased = erase_user(folder, user_id, archive or ())
        table = Table("erased from", "rows")
        for where, rows in erased.removed.items():
            table.add_row(where, str(rows))
        if erased.removed:
            console.print(table)
        console.print(
            f"{folder}: no trace of {user_id} in {erased.files} files, {erased.bytes:,} bytes",
            highlight=False,
            soft_wrap=True,
        )


def _user_id(user: str, is_id: bool, key_file: Path, roots: list[Path]) -> str:
    """The pseudonym: of a name, unless it is a pseudonym that a root or a tombstone knows."""
    from pipelines.forgotten import forgotten_ids

    pseudonyms = pseudonyms_of(key_file, roots)
    looks = ID.fullmatch(user) is not None
    if is_id and not looks:
        raise ConfigError(f"--id {user!r}: expected 16 characters of a-z and 2-7")
    if is_id or user in forgotten_ids(key_file):  # an erasure that was killed is run again
        return user
    if looks and any(_knows(root, user) for root in roots):
        return user
    return pseudonyms.user_id(plain_name(user))


def _knows(root: Path, user_id: str) -> bool:
    import pyarrow.compute as pc

    from pipelines.contract import Run
    from pipelines.tables import INTERACTIONS

    run = Run(root=root)
    is_theirs = pc.field("user_id") == user_id
    return bool(INTERACTIONS.files(run)) and bool(INTERACTIONS.dataset(run).count_rows(is_theirs))
