"""Stage 1 on every runner: the same files, whatever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from orchestration.sample.config import WorldConfig
from orchestration.sample.world import write_world
from pipelines.config import BeamResources, IngestConfig, InteractionsConfig
from pipelines.contract import ConfigError, Counts, Run, Table
from pipelines.engine import pipeline
from pipelines.ingest import TABLES, ingest
from pipelines.interactions import interactions
from pipelines.quiet_beam import beam
from pipelines.tables import INTERACTIONS, SNIPPETS

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "infra" / "flink" / "local.py"
HOME = REPOSITORY / "build" / "flink"
PRISM = REPOSITORY / "build" / "prism" / "prism"
MONTH = "2019-09"
UNAVAILABLE = 69

pytestmark = pytest.mark.engine


def flink_script(*words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="session")
def flink() -> Iterator[tuple[str, ...]]:
    """Beam's options for a real Flink on this machine; one that runs already is used and stays."""
    was_up = (HOME / "options").is_file()
    done = flink_script("up", "--slots", "2")
    if done.returncode == UNAVAILABLE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    yield tuple((HOME / "options").read_text().split())
    if not was_up:
        assert flink_script("down").returncode == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runners") / "world"
    size = WorldConfig(users=60, subreddits=30, months=(MONTH,), image_size=32)
    write_world(size, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def stage_one(world: Path) -> Callable[[BeamResources, Path], list[Counts]]:
    """Runs ingest and interactions, and publishes their tables, as the flow does."""

    def run_both(resources: BeamResources, root: Path) -> list[Counts]:
        run = Run(root=root, month=MONTH, staging=root / ".staging")
        config = IngestConfig(inputs=(str(world / "dumps"),), key_file=str(world / "key"))
        counts = [ingest(config, resources, run)]
        publish(TABLES, run)
        counts.append(interactions(InteractionsConfig(), resources, run))
        publish((INTERACTIONS, SNIPPETS), run)
        return counts

    return run_both


def publish(tables: tuple[Table, ...], run: Run) -> None:
    for table in tables:
        target = table.path(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        run.staged(table).rename(target)


@pytest.fixture(scope="module")
def expected(
    stage_one: Callable[[BeamResources, Path], list[Counts]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Counts]]:
    """What one process makes."""
    root = tmp_path_factory.mktemp("in_process")
    return root, stage_one(BeamResources(), root)


def resources_of(runner: str, request: pytest.FixtureRequest) -> BeamResources:
    if runner == "FlinkRunner":
        return BeamResources(runner=runner, options=request.getfixturevalue("flink"))
    if runner == "PrismRunner":
        prism = shutil.which("prism") or str(PRISM)
        if not Path(prism).is_file():
            pytest.skip(f"no Prism at {PRISM}, nor on the PATH; `make prism` builds it")
        return BeamResources(runner=runner, options=(f"--prism_location={prism}",))
    return BeamResources(runner=runner, workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["DirectRunner", "PrismRunner", "FlinkRunner"])
def test_every_runner_makes_the_same_tables(
    runner: str,
    request: pytest.FixtureRequest,
    expected: tuple[Path, list[Counts]],
    stage_one: Callable[[BeamResources, Path], list[Counts]],
    tmp_path: Path,
) -> None:
    alone, counts = expected
    assert stage_one(resources_of(runner, request), tmp_path) == counts
    for table in (*TABLES, INTERACTIONS, SNIPPETS):
        ours, theirs = (table.path(Run(root=root, month=MONTH)) for root in (tmp_path, alone))
        rows, wanted = (
            pl.read_parquet(folder / "*.parquet").sort(list(table.key)) for folder in (ours, theirs)
        )
        assert rows.height > 0 and rows.equals(wanted), table.name
        assert contents(ours) == contents(theirs), table.name


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def fail(_: int) -> None:
    raise ValueError("not this one")


@pytest.mark.slow
def test_errors_of_flink_workers_are_told_in_one_line(
    flink: tuple[str, ...], tmp_path: Path
) -> None:
    resources = BeamResources(runner="FlinkRunner", options=flink)
    with (
        pytest.raises(RuntimeError, match=r"FlinkRunner job failed: .*ValueError: not") as caught,
        pipeline(resources, tmp_path / "log") as root,
    ):
        _ = root | beam.Create([1]) | "Fail" >> beam.Map(fail)
    assert "\n" not in str(caught.value) and "Fail" in str(caught.value)


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        ("FlinkRunner", ["--job_endpoint=127.0.0.1:1"], "no job server .*make flink-up"),
        ("FlinkRunner", ["--job_endpoint=here"], "--job_endpoint=here: .*expected the host:port"),
        ("FlinkRunner", ["--job_server_java_launcher=no-java"], "'no-java', which is not on"),
        ("SparkRunner", ["--job_server_java_launcher=no-java"], "'no-java', which is not on"),
        ("PrismRunner", ["--prism_location=/no/prism"], "/no/prism: no such file; `make prism`"),
        ("DataflowRunner", [], "runner='DataflowRunner': .*project"),
    ],
)
def test_what_a_runner_misses_is_told_at_once(
    runner: str, options: list[str], message: str, tmp_path: Path
) -> None:
    started = time.monotonic()
    with (
        pytest.raises(ConfigError, match=rf"(?s){message}"),
        pipeline(BeamResources(runner=runner, options=tuple(options)), tmp_path / "log"),
    ):
        pass
    assert time.monotonic() - started < 10


def test_a_runner_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="runner='Flink': expected one of DirectRunner, Prism"):
        BeamResources(runner="Flink")


@pytest.mark.parametrize(("missing", "remedy"), [("java", "Java runtime"), ("mvn", "Apache Maven")])
def test_flink_says_what_to_install(missing: str, remedy: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    if missing == "mvn":
        (tools / "java").symlink_to(sys.executable)
    done = flink_script("up", "--home", str(tmp_path / "flink"), path=str(tools))
    assert done.returncode == UNAVAILABLE
    assert f"{missing} is not on the PATH: install" in done.stderr and remedy in done.stderr
    assert flink_script("down", "--home", str(tmp_path / "flink")).returncode == 0
