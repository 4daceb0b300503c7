"""Faults for real: something is killed, filled or cut off while a small run is under way.

Each fault has a root of its own. What it lost is counted in tables that differ, in the end, from
those of an undisturbed run; `recovered_s` is the time from the fault to whole tables, the same
command run again included where the run did not survive by itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl
import psutil
from rich.console import Console

from orchestration.flow import FLOW
from pipelines.contract import Run, Table

USERS = 120
WAIT_S = 240.0
SETTINGS = ("train.epochs=8", "train.ablations=", "embed.shard_images=32", "beam.threads=1")
TMPFS_MIB = 2
TIMINGS = {"training_curves": ["seeds_per_s"]}  # the one figure that is no result


@dataclass(frozen=True)
class Fault:
    """What was done to a run and what came of it.

    Args:
        fault: What broke.
        happened: What the run did about it.
        lost: Tables that are not those of an undisturbed run.
        recovered_s: From the fault to whole tables.
    """

    fault: str
    happened: str
    lost: int
    recovered_s: float


class Started:
    """A run under way.

    Args:
        process: Of it.
        errors: File that takes its standard error.
    """

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process, self._errors = process, errors
        self.pid, self.kill = process.pid, process.kill
        self.status = process.poll

    def ended(self) -> int | None:
        """Exit status; None if it stood still and was killed for it."""
        try:
            return self._process.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def errors(self) -> str:
        """What it printed there."""
        self._errors.seek(0)
        return self._errors.read()


class NotHitError(RuntimeError):
    """A run was over before the fault could reach it."""


def all_faults(work: Path, console: Console) -> Iterator[Fault]:
    """Every fault in turn, each against the same undisturbed run."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    calm = work / "calm"
    finish(calm)
    for fault in FAULTS:
        root = work / fault.__name__
        copy_world(calm, root)
        result = fault(root, calm)
        console.print(f"{result.fault}: {result.happened}, lost {result.lost}", highlight=False)
        yield result


def driver(root: Path, calm: Path) -> Fault:
    """kill -9 of the driver while it embeds."""
    with started(root) as process:
        inside(process, root, "embed_images")
        process.kill()
        return recovered("driver killed", "the same command went on", root, calm)


def beam_worker(root: Path, calm: Path) -> Fault:
    """kill -9 of a Beam worker process while it reads a dump."""
    words = ("beam.workers=2",)
    with started(root, *words) as process:
        victim(process, "sdk_worker_main").kill()
        killed = time.monotonic()
        status = process.ended()
    return after_end("Beam worker killed", status, killed, root, calm, *words)


def ray_worker(root: Path, calm: Path) -> Fault:
    """kill -9 of the Ray worker that embeds images."""
    return killed_actor("Ray worker killed in embedding", "EmbedShards", root, calm)


def training_worker(root: Path, calm: Path) -> Fault:
    """kill -9 of the Ray worker that trains."""
    words = ("training.max_failures=2",)
    return killed_actor("Ray worker killed in training", "TrainWorker", root, calm, *words)


def serve_replica(root: Path, calm: Path) -> Fault:
    """kill -9 of the replica that verbalizes."""
    return killed_actor("Serve replica killed", "ServeReplica", root, calm)


def node_in_embedding(root: Path, calm: Path) -> Fault:
    """kill -9 of all of a Ray node, one of two, while it embeds."""
    return lost_node("Ray node lost in embedding", "EmbedShards", root, calm)


def node_in_training(root: Path, calm: Path) -> Fault:
    """kill -9 of all of a Ray node, one of two, when training has a checkpoint."""
    return lost_node("Ray node lost in training", "TrainWorker", root, calm)


def lost_node(name: str, actor: str, root: Path, calm: Path) -> Fault:
    """Lose the node that an actor runs on; another one comes for it, as spot nodes do."""
    from orchestration.bench.nodes import several_nodes

    with several_nodes(2) as nodes:
        words = (f"ray_address={nodes.address}", "training.max_failures=2")
        with started(root, *words) as process:
            if actor == "TrainWorker":
                wait_for(process, lambda: checkpoints(root), "a checkpoint")
            worker = named(process, nodes.workers, actor)
            nodes.lose(worker)
            killed = time.monotonic()
            status = process.ended()
        return after_end(name, status, killed, root, calm, *words)


def checkpoints(root: Path) -> list[Path]:
    """Checkpoints of a training under way."""
    return list((root / ".staging").glob("train_gat-*/train_work/ray/train/checkpoint_*"))


def killed_actor(name: str, actor: str, root: Path, calm: Path, *words: str) -> Fault:
    """Kill the process of an actor, and see how the run ends."""
    with started(root, *words) as process:
        victim(process, actor).kill()
        killed = time.monotonic()
        status = process.ended()
    return after_end(name, status, killed, root, calm, *words)


def full_disk(root: Path, calm: Path) -> Fault:
    """A root on a file system that is too small, which then is given room."""
    root.mkdir()
    try:
        mount(root, TMPFS_MIB)
    except (OSError, subprocess.CalledProcessError) as error:
        return Fault("full disk", f"not tested: no file system can be mounted ({error})", 0, 0.0)
    try:
        with started(root) as process:
            status = process.ended()
            told = process.errors()
        if status != 2 or "no space left" not in told:
            raise NotHitError(f"full disk: the run ended with {status}: {told[-500:]}")
        mount(root, 2048, "remount,")
        return recovered("full disk", "one clear error; room made, run again", root, calm)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=False)


def unreachable_store(root: Path, calm: Path) -> Fault:
    """The S3 server that holds the dumps is away, then comes back."""
    name = "object store unreachable"
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError as error:
        return Fault(name, f"not tested: no S3 server is installed ({error})", 0, 0.0)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    access = {"access_key_id": "key", "secret_access_key": "key", "region_name": "us-east-1"}
    options = [f"--s3_endpoint_url=http://{host}:{port}"]
    options += [f"--s3_{key}={value}" for key, value in access.items()]
    words = ("ingest.inputs=s3://dumps/", f"beam.options={','.join(options)}")
    server.stop()
    with started(root, *words) as process:
        status = process.ended()
        told = process.errors()
    if status != 2 or "cannot be looked up" not in told:
        raise NotHitError(f"{name}: the run ended with {status}: {told[-500:]}")
    back = ThreadedMotoServer(ip_address="127.0.0.1", port=port)
    back.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="key",
            aws_secret_access_key="key",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="dumps")
        for dump in sorted((world_of(root) / "dumps").iterdir()):
            client.put_object(Bucket="dumps", Key=dump.name, Body=dump.read_bytes())
        return recovered(name, "one clear error; back, run again", root, calm, *words)
    finally:
        back.stop()


def mount(folder: Path, size_mib: int, how: str = "") -> None:
    """A file system in memory at `folder`."""
    option = f"{how}size={size_mib}m"
    words = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)]
    subprocess.run(words, check=True, capture_output=True)


def after_end(
    name: str, status: int | None, killed: float, root: Path, calm: Path, *words: str
) -> Fault:
    """The fault's row: the run either survived, or is run again."""
    if status == 0:
        taken = time.monotonic() - killed
        return Fault(name, "the run went on by itself", differing(root, calm), round(taken, 1))
    ended = "stood still and was stopped" if status is None else f"ended with status {status}"
    happened = f"the run {ended}; the same command went on"
    return recovered(name, happened, root, calm, *words, since=killed)


def recovered(
    name: str, happened: str, root: Path, calm: Path, *words: str, since: float | None = None
) -> Fault:
    """Run the same command again, and compare."""
    begin = time.monotonic() if since is None else since
    finish(root, *words)
    return Fault(name, happened, differing(root, calm), round(time.monotonic() - begin, 1))


def command(root: Path, *words: str) -> list[str]:
    """The sample run in a root, with further settings."""
    found = [sys.executable, "-m", "orchestration", "sample", "--root", str(root)]
    found += ["--users", str(USERS)]
    for word in (*SETTINGS, *words):
        found += ["--set", word]
    return found


def finish(root: Path, *words: str) -> None:
    """Run to the end."""
    done = subprocess.run(command(root, *words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{root} was not finished: {done.stderr[-2000:]}")


@contextlib.contextmanager
def started(root: Path, *words: str) -> Iterator[Started]:
    """The command under way; whatever is left of it and below it is killed in the end."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command(root, *words),
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            yield Started(process, errors)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def inside(run: Started, root: Path, step: str) -> None:
    """Wait until a step is under way."""
    wait_for(run, lambda: any((root / ".staging").glob(f"{step}-*/*/*")), step)


def victim(run: Started, name: str) -> psutil.Process:
    """The first process below the run whose command line holds `name`."""
    return named(run, lambda: psutil.Process(run.pid).children(recursive=True), name)


def named(run: Started, processes: Callable[[], list[psutil.Process]], name: str) -> psutil.Process:
    """The first of the processes whose command line holds `name`, once there is one."""

    def found() -> psutil.Process | None:
        for process in processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in " ".join(process.cmdline()):
                    return process
        return None

    hit = wait_for(run, found, name)
    assert isinstance(hit, psutil.Process)
    return hit


def wait_for(run: Started, look: Callable[[], object], what: str) -> object:
    """What `look` finds, once it finds something.

    Raises:
        NotHitError: The run was over before.
    """
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and run.status() is None:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            found = look()
            if found:
                return found
        time.sleep(0.02)
    raise NotHitError(f"the run was over, or stood still, before {what} was seen")


def differing(root: Path, calm: Path) -> int:
    """Tables that are not those of the undisturbed run."""
    tables = [t for step in FLOW for t in step.writes if isinstance(t, Table)]
    return sum(not same(table, root, calm) for table in tables)


def same(table: Table, left: Path, right: Path) -> bool:
    """Whether a table holds the same rows under two roots."""
    if bool(table.files(Run(root=left))) != bool(table.files(Run(root=right))):
        return False
    if not table.files(Run(root=left)):
        return True
    ours, theirs = (
        pl.DataFrame(table.read(Run(root=root))).sort(table.key).drop(TIMINGS.get(table.name, []))
        for root in (left, right)
    )
    return bool(ours.equals(theirs))


def world_of(root: Path) -> Path:
    """Where the sample run of a root has its world."""
    return root.with_name(root.name + "_world")


def copy_world(calm: Path, root: Path) -> None:
    """The same world for another root."""
    shutil.copytree(world_of(calm), world_of(root))


FAULTS = (
    driver,
    beam_worker,
    ray_worker,
    training_worker,
    node_in_embedding,
    node_in_training,
    serve_replica,
    full_disk,
    unreachable_store,
)
