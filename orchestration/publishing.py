"""How what a step staged becomes what readers see, all at once, and how to go back.

Order of a publication: the old manifest goes, tables are renamed into place, the new manifest is
written. Whenever the process dies, a table either has a manifest and is whole, or the step runs
again and replaces it. Artifacts with several versions lie side by side and a link says which one
readers see: it is replaced in one system call, so a reader always finds one whole publication.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from orchestration.flow import Step, step_named
from orchestration.manifests import content, is_read
from orchestration.plan import Task
from pipelines.contract import Artifact, MissingInputError, Run

VERSION_TIME = "%Y%m%dT%H%M%S%f"


def publish(task: Task, run: Run) -> tuple[int, dict[str, str]]:
    """Move what the step staged into place; return the bytes, and content hashes by output."""
    run.manifest(task.step.name, task.key).unlink(missing_ok=True)
    total, hashes = 0, {}
    for output in task.step.writes:
        source = run.staged(output)
        total += sum(f.stat().st_size for f in source.rglob("*") if f.is_file())
        if is_read(output):
            hashes[output.name] = content(source)
        if isinstance(output, Artifact) and output.versions > 1:
            put_verdict(task.step, source, run)
            publish_version(source, output, run, task.fingerprint)
        else:
            replace_folder(source, output.path(run), run.root / ".staging", task.key)
    return total, hashes


def put_verdict(step: Step, version: Path, run: Run) -> None:
    """Copy what the steps before decided into a version, so that it comes back with a rollback."""
    for output in (output for name in step.after for output in step_named(name).writes):
        target = version / output.name
        # Not written over: what a version took over from the last one may be links to its files.
        shutil.rmtree(target, ignore_errors=True)
        if output.path(run).is_dir():
            shutil.copytree(output.path(run), target)


def put_back(task: Task, run: Run) -> None:
    """Put back what a publication had moved aside when it was killed; a step may go on from it."""
    for output in task.step.writes:
        target = output.path(run)
        retired = _retired(target, run.root / ".staging", task.key)
        if retired.is_dir() and not target.exists():
            retired.rename(target)


def _retired(target: Path, staging: Path, key: str) -> Path:
    return staging / f"retired-{target.parent.name}-{target.name}-{key}"


def replace_folder(source: Path, target: Path, staging: Path, key: str) -> None:
    """Rename `source` to `target`; what was there is removed."""
    retired = _retired(target, staging, key)
    shutil.rmtree(retired, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(retired)
    source.rename(target)
    shutil.rmtree(retired, ignore_errors=True)


def publish_version(source: Path, artifact: Artifact, run: Run, mark: str) -> str:
    """Put `source` beside the versions before it and have readers see it; return its name.

    What they saw until now stays, also where it is older than the versions that are kept.
    """
    link = artifact.path(run)
    folder = link.with_name(f"{artifact.name}.versions")
    folder.mkdir(parents=True, exist_ok=True)
    if link.is_dir() and not link.is_symlink():  # of a root that knew no versions
        made = datetime.fromtimestamp(link.stat().st_mtime, UTC)
        earlier = folder / f"{made:{VERSION_TIME}}-earlier"
        link.rename(earlier)
        point(link, earlier)
    target = folder / f"{datetime.now(UTC):{VERSION_TIME}}-{mark[:8]}"
    source.rename(target)
    before = visible(artifact, run)
    point(link, target)
    for old in artifact.folders(run)[: -artifact.versions]:
        if old.name not in (target.name, before):
            shutil.rmtree(old)
    return target.name


def point(link: Path, target: Path) -> None:
    """Have `link` lead to `target`, at once."""
    temporary = link.with_name(f".{link.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)


def visible(artifact: Artifact, run: Run) -> str | None:
    """Name of the version that readers see; None if there is none, or no versions are kept."""
    link = artifact.path(run)
    return link.readlink().name if link.is_symlink() else None


def roll_back(artifact: Artifact, run: Run, to: str = "") -> str:
    """Have readers see an earlier version, by default the one before; return its name.

    Raises:
        MissingInputError: There is no such version.
    """
    names = [folder.name for folder in artifact.folders(run)]
    now = visible(artifact, run)
    before = [name for name in names if now is not None and name < now]
    wanted = to or (before[-1] if before else "")
    if now is None or wanted not in names:
        told = ", ".join(f"{n} (visible)" if n == now else n for n in names) or "none"
        raise MissingInputError(
            f"no version {to or 'before the visible one'} of {artifact.name} under {run.root}; "
            f"there are: {told}"
        )
    link = artifact.path(run)
    point(link, link.with_name(f"{artifact.name}.versions") / wanted)
    return wanted
