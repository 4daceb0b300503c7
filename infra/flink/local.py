"""A real Flink on this machine: JobManager, TaskManager, Beam's job server, Python worker pool.

    python infra/flink/local.py up      starts what is not running; prints Beam's options
    python infra/flink/local.py down    stops it; the jars stay

Everything it makes lies in `--home` (build/flink): jars, logs, temporary files, `state.json`, and
`options`, the pipeline options that lead to it, one a line. All that can be told where to listen
listens on 127.0.0.1; the gRPC servers of Beam's Java side take a port alone, on all addresses.

Exit status: 0 done, 69 (unavailable) if Java, Maven or a jar cannot be had, 1 for other errors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.request import urlopen

import psutil

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
HOST = "127.0.0.1"
UNAVAILABLE = 69
START_S = 90
STOP_S = 10
# Flink 1.19 reaches into these packages of java.base, which Java 9 and later closed.
OPENED = (
    *("lang", "lang.reflect", "net", "io", "nio", "text", "time", "util"),
    *("util.concurrent", "util.concurrent.atomic", "util.concurrent.locks"),
)
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"


def up(home: Path, slots: int) -> None:
    """Start all four processes unless they run already; leave nothing behind on failure."""
    if (home / "options").is_file() and len(_running(home)) == len(_started(home)):
        print(f"Flink runs already; options in {home / 'options'}")
        return
    down(home)
    java = _tool("java", "a Java runtime 11 or 17, e.g. the package openjdk-17-jre-headless")
    _get_jars(home / "jars")
    shutil.rmtree(home / "tmp", ignore_errors=True)
    for name in ("tmp", "logs"):
        (home / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as on_failure:
        on_failure.callback(down, home)
        _start_all(home, java, slots)
        on_failure.pop_all()
    print(f"Flink is up with {slots} slots; logs in {home / 'logs'}. To run stage 1 on it:")
    words = (home / "options").read_text().replace("\n", ",").rstrip(",")
    print(f"  tastegraph ... --set beam.runner=FlinkRunner --set beam.options={words}")


def down(home: Path) -> None:
    """Stop what `up` started, and the workers that the pool started."""
    running = _running(home)
    for process in running:
        for member in [*process.children(recursive=True), process]:
            _send(member, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(running, timeout=STOP_S)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    for name in ("state.json", "options"):
        (home / name).unlink(missing_ok=True)
    if running:
        print(f"Flink is down ({len(running)} processes)")


def _start_all(home: Path, java: str, slots: int) -> None:
    rpc, rest, pool = _free_ports(3)
    flink = ["--configDir", str(HERE), f"-Djobmanager.rpc.port={rpc}", f"-Drest.port={rest}"]
    flink += [f"-Dtaskmanager.numberOfTaskSlots={slots}", f"-Dparallelism.default={slots}"]
    run = [java, "-cp", f"{home / 'jars'}/*", f"-Djava.io.tmpdir={home / 'tmp'}"]
    run += [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED]
    run += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "-Xmx640m"]
    _spawn(home, "jobmanager", [*run, JOB_MANAGER, *flink])
    _spawn(home, "taskmanager", [*run, "-XX:MaxDirectMemorySize=512m", TASK_MANAGER, *flink])
    _spawn(home, "worker-pool", [sys.executable, str(HERE / "worker_pool.py"), str(pool)])
    server = [f"--job-host={HOST}", "--job-port=0", "--artifact-port=0", "--expansion-port=0"]
    server += [f"--flink-master={HOST}:{rest}", f"--artifacts-dir={home / 'tmp' / 'artifacts'}"]
    log = _spawn(home, "job-server", [*run, JOB_SERVER, *server])
    job_port = _wait_for(home, "the job server", lambda: _port_in(log))
    _wait_for(home, "the worker pool", lambda: _answers(pool))
    _wait_for(home, "the TaskManager", lambda: _slots(rest) == slots)
    options = {
        "job_endpoint": f"{HOST}:{job_port}",
        "environment_type": "EXTERNAL",
        "environment_config": f"{HOST}:{pool}",
        # Kept between the stages of a job: a worker takes seconds to start.
        "environment_cache_millis": 60_000,
        "parallelism": slots,
        "sdk_worker_parallelism": slots,
    }
    (home / "options").write_text("".join(f"--{k}={v}\n" for k, v in options.items()))


def _get_jars(folder: Path) -> None:
    """Fill `folder` with the jars of pom.xml, once for each of its versions."""
    pom = HERE / "pom.xml"
    mark, wanted = folder / "pom.sha256", hashlib.sha256(pom.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return
    maven = _tool("mvn", "Apache Maven, e.g. the package maven; it fetches the jars of Flink")
    shutil.rmtree(folder, ignore_errors=True)
    print("fetching the jars of Flink and of Beam's job server ...", flush=True)
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    words = [maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(pom), *goal]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = next((x for x in done.stdout.splitlines() if "ERROR" in x), done.stderr)
        _fail(f"Maven cannot get the jars of {pom}: {reason}", UNAVAILABLE)
    mark.write_text(wanted)


def _spawn(home: Path, name: str, words: list[str]) -> Path:
    """Start a process that outlives this one, remember it, and return its log."""
    log = home / "logs" / f"{name}.log"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with log.open("wb") as out:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    mark = (child.pid, psutil.Process(child.pid).create_time())
    (home / "state.json").write_text(json.dumps([*_started(home), mark]))
    return log


def _started(home: Path) -> list[list[float]]:
    """Number and time of birth of each process that `up` started."""
    state = home / "state.json"
    return json.loads(state.read_text()) if state.is_file() else []


def _running(home: Path) -> list[psutil.Process]:
    """Those of them that live: a number alone may by now be somebody else's."""
    living = []
    for pid, born in _started(home):
        try:
            process = psutil.Process(int(pid))
            if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
        except psutil.NoSuchProcess:
            continue
    return living


def _wait_for(home: Path, what: str, look: Callable[[], Any]) -> Any:
    end = time.monotonic() + START_S
    while not (found := look()):
        if len(_running(home)) < len(_started(home)):
            _fail(f"a process ended before {what} was ready; see {home / 'logs'}")
        if time.monotonic() > end:
            _fail(f"{what} was not ready after {START_S} s; see {home / 'logs'}")
        time.sleep(0.3)
    return found


def _port_in(log: Path) -> str | None:
    found = re.search(r"JobService started on \S+:(\d+)", log.read_text())
    return found and found[1]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _slots(rest_port: int) -> int:
    try:
        with urlopen(f"http://{HOST}:{rest_port}/overview", timeout=2) as reply:
            return int(json.load(reply)["slots-available"])
    except (URLError, OSError):
        return 0


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind((HOST, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _tool(name: str, remedy: str) -> str:
    path = shutil.which(name)
    return path or _fail(f"{name} is not on the PATH: install {remedy}", UNAVAILABLE)


def _fail(message: str, status: int = 1) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--home", type=Path, default=REPOSITORY / "build" / "flink")
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    words = parser.parse_args()
    home = words.home.resolve()
    if words.command == "up":
        up(home, words.slots)
    else:
        down(home)


if __name__ == "__main__":
    main()
