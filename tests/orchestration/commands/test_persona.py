"""The commands that read a store of personas, and what they say where there is nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration import command_line
from orchestration.manifests import identity
from persona.tables import PERSONA_STORE
from pipelines.contract import ConfigError, MissingInputError, Run
from pipelines.pseudonym import new_key_file
from tests.orchestration.test_main import manifest
from tests.persona.synthetic import publish_staged, user_id
from tests.persona.test_store import filled_run, indexed

pytestmark = pytest.mark.engine


def invoke(*words: str) -> str:
    result = CliRunner().invoke(
        command_line.app, ["persona", *words], catch_exceptions=False, env={"COLUMNS": "100"}
    )
    return result.output


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a store of six personas."""
    run = filled_run(tmp_path_factory.mktemp("persona"))
    indexed(run)
    publish_staged(run, PERSONA_STORE)
    return run.root


def test_a_persona_is_shown_with_the_evidence_of_each_claim(root: Path) -> None:
    shown = invoke("show", user_id(0), "--root", str(root))
    row = json.loads(invoke("show", user_id(0), "--root", str(root), "--json"))
    assert row["summary"].split()[0] in shown
    assert "s:neonnights" in shown and "g:palette:neon" in shown
    assert row["user_id"] == user_id(0)


def test_a_time_that_is_none_is_named_with_the_runs_there_are(root: Path) -> None:
    words = ("show", user_id(0), "--root", str(root), "--as-of")
    (run,) = {
        line.split()[1]
        for line in invoke("history", *words[1:4]).splitlines()
        if "│" in line and "grounded" in line
    }
    with pytest.raises(ConfigError, match=f"--as-of run 'june': expected one of {run}, or epoch"):
        invoke(*words, "june")
    with pytest.raises(MissingInputError, match=r"no persona of user .* at 100$"):
        invoke(*words, "100")
    assert user_id(0) in invoke(*words, run)


def test_a_name_without_its_key_is_told_so(root: Path) -> None:
    with pytest.raises(MissingInputError, match=r"'somebody' in .*; a name needs --key-file"):
        invoke("show", "somebody", "--root", str(root))


def test_a_key_that_the_run_was_not_made_with_is_told_so(root: Path, tmp_path: Path) -> None:
    right, wrong = new_key_file(tmp_path / "right"), new_key_file(tmp_path / "wrong")
    made = replace(manifest("2020-01"), depends={"config": {"key_file": identity(right)}})
    made.write(Run(root=root))
    path = Run(root=root).manifest("ingest", "2020-01")
    try:
        for command in ("show", "history"):
            words = (command, "u/somebody", "--root", str(root), "--key-file")
            with pytest.raises(ConfigError, match="was made with another key"):
                invoke(*words, str(wrong))
            with pytest.raises(MissingInputError, match="no persona of user"):
                invoke(*words, str(right))
    finally:
        path.unlink()


def test_a_search_without_a_hit_says_so(root: Path) -> None:
    words = ("search", "--root", str(root), "--by", "text")
    assert invoke(*words, "submarine") == "nothing found: submarine (by text)\n"
    assert "neon" in invoke(*words, "neon")
