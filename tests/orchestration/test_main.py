from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner

from orchestration import command_line
from orchestration.__main__ import main
from orchestration.flow import FLOW
from orchestration.manifests import Manifest
from orchestration.profiles import Profile
from orchestration.runner import How, RunLockedError
from persona.errors import EndpointError
from pipelines.containers import CorruptDumpError
from pipelines.contract import ConfigError, Counts, MissingInputError, Run
from pipelines.pseudonym import new_key_file


def manifest(month: str, **notes: str) -> Manifest:
    return Manifest(
        step="ingest",
        month=month,
        fingerprint="",
        config={},
        counts=Counts(rows_in=56, rows_out=56, notes=notes),
        seconds=0.5,
        peak_rss_bytes=0,
        bytes_written=0,
        code_version="",
    )


def invoke(*words: str) -> str:
    result = CliRunner().invoke(command_line.app, list(words), catch_exceptions=False)
    return result.output


@pytest.mark.parametrize(
    "words",
    [(), ("sample",), ("run",), ("status",), ("plan",), ("rollback",), ("persona", "show")],
)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    assert "Usage" in invoke(*words, "--help")


@pytest.mark.parametrize("command", ["import-graph", "evaluate", "embed-user"])
def test_commands_of_the_graph_teach_by_example(command: str) -> None:
    assert f"Example: tastegraph {command}" in " ".join(invoke(command, "--help").split())


def test_an_unknown_step_is_named_before_any_work(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(ConfigError, match="--only 'inges': expected one of ingest, interactions"):
        invoke("sample", "--root", str(root), "--only", "inges")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--profile", "cloud"), "--profile 'cloud': expected local_sample or dumps"),
        ((), "--input is missing"),
    ],
)
def test_wrong_options_are_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        invoke("run", *words)


def test_the_sample_profile_takes_the_options_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Profile, How]] = []
    monkeypatch.setattr("orchestration.worlds.ensure_world", lambda *_: False)
    monkeypatch.setattr(command_line, "_run", lambda profile, _, how: told.append((profile, how)))
    root = str(tmp_path / "run")
    invoke(
        *("run", "--profile", "local_sample", "--root", root),
        *("--parallel", "3", "--wait", "--force", "--keep-encoder"),
    )
    ((profile, how),) = told
    assert profile.keep == ("train_gat",)
    assert how == How(parallel=3, wait=True, force=True)


def test_the_plan_names_months_whose_dumps_are_gone(tmp_path: Path) -> None:
    dump = tmp_path / "RC_2019-08.ndjson"
    dump.write_text("{}\n")
    manifest("2019-07").write(Run(root=tmp_path / "run"))
    key, root = new_key_file(tmp_path / "key"), str(tmp_path / "run")
    planned = invoke("plan", "--input", str(dump), "--root", root, "--key-file", str(key))
    (line,) = [line for line in planned.splitlines() if "2019-07" in line]
    assert "ingest" in line and "its dumps are no input" in " ".join(planned.split())


def test_a_class_of_failures_that_is_none_is_named_with_those_that_are(tmp_path: Path) -> None:
    key, root = new_key_file(tmp_path / "key"), str(tmp_path / "run")
    words = ("run", "--input", "nowhere/*", "--root", root, "--key-file", str(key))
    with pytest.raises(
        ConfigError, match=r"--retry-failed 'late': expected one of not_archived.*timeout"
    ):
        invoke(*words, "--retry-failed", "timeout", "--retry-failed", "late")
    with pytest.raises(MissingInputError, match="has no dumps"):
        invoke(*words, "--retry-failed", "timeout")


def test_failures_to_retry_in_a_run_without_their_step_are_an_error(tmp_path: Path) -> None:
    key = new_key_file(tmp_path / "key")
    placed = ("--root", str(tmp_path / "run"), "--key-file", str(key))
    words = ("run", "--input", "nowhere/*", *placed, "--retry-failed", "timeout")
    told = r"--retry-failed with --only ingest: .*add --only embed_images, or leave"
    with pytest.raises(ConfigError, match=told):
        invoke(*words, "--only", "ingest")
    with pytest.raises(ConfigError, match=r"--retry-failed with --month: .*leave one of them out"):
        invoke(*words, "--month", "2019-08")
    with pytest.raises(MissingInputError, match="has no dumps"):
        invoke(*words, "--only", "ingest", "--only", "embed_images")


def test_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    key, root = new_key_file(tmp_path / "key"), str(tmp_path / "run")
    with pytest.raises(MissingInputError, match="'nowhere/\\*' has no dumps"):
        invoke("run", "--input", "nowhere/*", "--root", root, "--key-file", str(key))


def test_the_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no run at .*: start one with `tastegraph run`"):
        invoke("status", "--root", str(tmp_path))


def test_the_status_tells_how_the_first_run_failed(tmp_path: Path) -> None:
    dump = tmp_path / "RC_2019-08.zst"
    dump.write_bytes(zstandard.compress(b"{}\n" * 9)[:-1])
    root, key = str(tmp_path / "run"), new_key_file(tmp_path / "key")
    with pytest.raises(CorruptDumpError):
        invoke(
            *("run", "--input", str(dump), "--root", root, "--key-file", str(key)),
            *("--on-corrupt", "fail", "--only", "ingest"),
        )
    assert "failed in ingest 2019-08: CorruptDumpError: " in invoke("status", "--root", root)


def test_the_status_tells_what_of_a_dump_is_missing(tmp_path: Path) -> None:
    manifest("2020-01", **{"RC_2020-01.zst": "cut at byte 9"}).write(Run(root=tmp_path))
    assert "note: ingest 2020-01: RC_2020-01.zst: cut at byte 9" in invoke(
        "status", "--root", str(tmp_path)
    )


@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_becomes_of_corrupt_dumps_is_an_option(command: str, tmp_path: Path) -> None:
    dump = tmp_path / "RC_2019-08.zst"
    dump.write_bytes(zstandard.compress(b"{}\n" * 9)[:-1])
    key = new_key_file(tmp_path / "key")
    words = ["--input", str(dump), "--root", str(tmp_path / "run"), "--key-file", str(key)]
    with pytest.raises(ConfigError, match="on_corrupt='drop': expected one of"):
        invoke(command, *words, "--on-corrupt", "drop")
    if command == "run":
        with pytest.raises(CorruptDumpError, match="in the middle of a frame at byte"):
            invoke(command, *words, "--on-corrupt", "fail", "--only", "ingest")
    else:
        assert "2019-08" in invoke(command, *words, "--on-corrupt", "fail")


def test_the_plan_of_a_new_root_would_run_every_step(tmp_path: Path) -> None:
    dump = tmp_path / "RC_2019-08.ndjson"
    dump.write_text("{}\n")
    key, root = new_key_file(tmp_path / "key"), str(tmp_path / "run")
    planned = invoke("plan", "--input", str(dump), "--root", root, "--key-file", str(key))
    assert planned.count("not made yet") == len(FLOW)
    assert not Path(root).exists()


def test_the_plan_is_of_the_root_that_a_run_would_have_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, key = tmp_path / "RC_2019-08.ndjson", tmp_path / "key"
    dump.write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    roots: list[Path] = []
    monkeypatch.setattr("orchestration.worlds.ensure_world", lambda *_: False)
    monkeypatch.setattr(command_line, "_run", lambda profile, *_: roots.append(profile.root))
    monkeypatch.setattr(command_line, "show_plan", lambda profile, _: roots.append(profile.root))
    words = ("--input", str(dump), "--keep-archive", str(tmp_path / "kept"), "--key-file", str(key))
    invoke("plan", *words)
    assert not key.exists()
    invoke("run", *words)
    invoke("sample", "--users", "60")
    Path("runs/local_sample_world").mkdir(parents=True)
    invoke("plan")
    assert roots[0] == roots[1] != roots[2] == roots[3]


@pytest.mark.parametrize("command", ["rollback", "forget"])
def test_whoever_is_told_to_wait_for_a_run_may(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a root that is held names `--wait`."""
    waited: list[bool] = []

    @contextmanager
    def held(_: Path, **how: object) -> Iterator[None]:
        waited.append(how["waiting"] is not None)
        raise RunLockedError("wait for it with --wait")
        yield

    monkeypatch.setattr("orchestration.runner.lock", held)
    monkeypatch.setattr("orchestration.commands.forget.lock", held)
    words = [command, "--root", str(tmp_path)]
    if command == "forget":
        words += ["somebody", "--key-file", str(new_key_file(tmp_path / "key"))]
    for more in ((), ("--wait",)):
        with pytest.raises(RunLockedError):
            invoke(*words, *more)
    assert waited == [False, True]


@pytest.mark.parametrize("name", ["cloud", "[cloud]", "[/cloud]"])
def test_a_user_can_mend_it_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tastegraph", "run", "--profile", name])
    with pytest.raises(SystemExit) as exit_info:
        command_line.main()
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error --profile {name!r}: expected local_sample or dumps\n"


def test_a_dead_endpoint_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verbalizes() -> None:
        raise EndpointError("base_url='http://127.0.0.1:9/v1': no reply; run again")

    monkeypatch.setattr(command_line, "app", verbalizes)
    with pytest.raises(SystemExit) as exit_info:
        command_line.main()
    assert exit_info.value.code == 2
    told = capsys.readouterr().err
    assert told == "error base_url='http://127.0.0.1:9/v1': no reply; run again\n"


def test_who_stops_a_run_is_told_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "show_status", stopped)
    monkeypatch.setattr("sys.argv", ["tastegraph", "status"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == "stopped: what is done stays; run again to go on\n"


@pytest.mark.parametrize(
    "module", ["typer", "orchestration.flow", "polars", "orchestration.runner"]
)
def test_who_stops_a_command_while_it_is_loaded_sees_no_traceback(module: str) -> None:
    """Ctrl-C at a known place: where the module is looked for."""
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["tastegraph", "run", "--input", "nowhere"]
from orchestration.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "stopped: what is done stays; run again to go on\n"


def test_a_path_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    words = ("--input", "nowhere", "--key-file", str(new_key_file(tmp_path / "key")))
    for root, told in (
        (file, f"--root '{file}': a file; expected a folder"),
        (file / "run", f"{file}/run: Not a directory"),
    ):
        monkeypatch.setattr("sys.argv", ["tastegraph", "run", *words, "--root", str(root)])
        with pytest.raises(SystemExit) as exit_info:
            command_line.main()
        assert exit_info.value.code == 2
        assert capsys.readouterr().err == f"error {told}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--archive", "nowhere"), "archive='nowhere': no shard there"),
        (("--clip-model", "nowhere"), "open_clip knows no such model; see open_clip.list_models"),
        (("--clip-model", "ViT-B-33"), "no such model; nearest: ViT-B-32"),
        (("--clip-model", "local-dir:nowhere"), "no folder nowhere"),
    ],
)
def test_images_that_cannot_be_had_are_named_before_any_ingest(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    dump, root = tmp_path / "RC_2019-08.ndjson", tmp_path / "run"
    dump.write_text("{}\n")
    given = ("run", "--input", str(dump), "--root", str(root))
    key = ("--key-file", str(new_key_file(tmp_path / "key")))
    with pytest.raises((ConfigError, MissingInputError), match=message):
        invoke(*given, *key, *words)
    assert not root.exists()


def test_more_gpus_than_there_are_are_told_before_any_ingest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would wait for them for ever."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    ran: list[Profile] = []
    monkeypatch.setattr("orchestration.runner.run_profile", lambda profile, *_: ran.append(profile))
    monkeypatch.setattr("orchestration.report.write_report", lambda _: tmp_path)
    dump, root = tmp_path / "RC_2019-08.ndjson", tmp_path / "run"
    dump.write_text("{}\n")
    key = new_key_file(tmp_path / "key")
    words = ("run", "--input", str(dump), "--root", str(root), "--key-file", str(key), "--gpus")
    with pytest.raises(ConfigError, match="2 GPUs are asked for, and this machine has 1"):
        invoke(*words, "2")
    assert not root.exists()
    invoke(*words, "1")
    invoke(*words, "2", "--set", "ray_address=auto")
    assert [profile.embedding.actors for profile in ran] == [1, 2]


def test_a_plan_of_no_sample_names_what_makes_one(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(MissingInputError, match=f"`tastegraph sample --root {root}`, or name"):
        invoke("plan", "--root", str(root))


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("rollback",),
        ("evaluate",),
        ("embed-user", "--subreddits", "aww"),
        ("persona", "show", "somebody"),
        ("persona", "search", "cats"),
    ],
)
def test_a_root_that_is_not_there_is_told_as_such(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no run at .*/nowhere: start one with"):
        invoke(*words, "--root", str(tmp_path / "nowhere"))


def test_the_status_of_an_imported_graph_says_what_it_is(tmp_path: Path) -> None:
    rows = [f"u{u},i{i}" for u in range(9) for i in range(u % 4, 9)]
    listed, root = tmp_path / "list.csv", tmp_path / "run"
    listed.write_text("\n".join(["user,item", *rows]))
    invoke("import-graph", str(listed), "--root", str(root))
    with pytest.raises(MissingInputError, match="a graph and no run; see `tastegraph evaluate"):
        invoke("status", "--root", str(root))


def test_a_narrow_terminal_cuts_no_figure_of_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest("2020-01").write(Run(root=tmp_path))
    monkeypatch.setenv("COLUMNS", "30")
    told = invoke("status", "--root", str(tmp_path))
    (line,) = [line for line in told.splitlines() if line.startswith(" ingest")]
    assert line.split() == ["ingest", "2020-01", "56", "56", "0", "0", "0.5", "112", "0.0"]


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"port={port}: Address already in use"):
            invoke("serve", "--plain", "--port", port, "--root", str(tmp_path))
    with pytest.raises(ConfigError, match=r"port=99999: .* must be 0-65535"):
        invoke("serve", "--plain", "--port", "99999", "--root", str(tmp_path))


def test_an_archive_to_serve_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="archive='nowhere': no shard there"):
        invoke("serve", "--plain", "--archive", "nowhere", "--root", str(tmp_path))
