"""The plain command that a Dagster asset stands for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from orchestration import runlog
from orchestration.approve import QualityError
from orchestration.flow import Step
from orchestration.manifests import ALL_MONTHS, Manifest, published
from pipelines.contract import ConfigError, Run
from pipelines.dumps import Dump, discover

MENDABLE = 2  # exit status of errors that another try would meet again


@dataclass(frozen=True)
class Command:
    """`tastegraph run ...` or `tastegraph sample ...`, as words; steps and months are added.

    Args:
        words: As on the command line, without `tastegraph`; with `--root`.
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.words or self.words[0] not in ("run", "sample"):
            raise ConfigError(f"command {' '.join(self.words)!r}: expected `run` or `sample` first")
        if not self._values("--root"):
            raise ConfigError(f"command {' '.join(self.words)!r}: --root is missing")

    @property
    def root(self) -> Path:
        """Folder of the run."""
        return Path(self._values("--root")[-1])

    @property
    def inputs(self) -> list[str]:
        """Where dumps lie."""
        if self.words[0] == "sample":
            return [str(self.root.with_name(self.root.name + "_world") / "dumps")]
        return self._values("--input")

    def dumps(self) -> dict[str, list[Dump]]:
        """The dumps that are there, by month, found as the command finds them.

        Raises:
            MissingInputError: There are none.
        """
        return discover(self.inputs, self._beam_options())

    def _beam_options(self) -> list[str]:
        start = "beam.options="
        told = [word for word in self._values("--set") if word.startswith(start)]
        return [option for option in told[-1][len(start) :].split(",") if option] if told else []

    def run(
        self, step: Step, months: Sequence[str], parallel: int, log: dg.DagsterLogManager
    ) -> list[Manifest]:
        """Run one step, for some months if it is monthly; the manifests of what it made.

        Raises:
            dagster.Failure: The command failed; not to be tried again where a person must mend it.
        """
        words = [sys.executable, "-m", "orchestration", *self.words, "--only", step.name, "--wait"]
        for month in months:
            words += ["--month", month]
        if months:
            words += ["--parallel", str(min(parallel, len(months)))]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        log.info(done.stdout)
        if done.returncode:
            raise dg.Failure(
                description=done.stderr.strip()[-2000:] or f"{step.name} was killed",
                metadata={"status": done.returncode, "command": " ".join(words)},
                allow_retries=done.returncode != MENDABLE,
            )
        manifests = published(Run(root=self.root), step.name)
        return [manifests[month] for month in months or [ALL_MONTHS]]

    def quality_fell(self) -> str | None:
        """What the newest run says of quality that fell; None if it does not."""
        ids = runlog.run_ids(self.root)
        last = runlog.events(self.root, ids[-1])[-1:] if ids else []
        found = [str(e["message"]) for e in last if e.get("error") == QualityError.__name__]
        return found[0] if found else None

    def _values(self, option: str) -> list[str]:
        """Of `option VALUE` and `option=VALUE`."""
        pairs = zip(self.words, (*self.words[1:], ""), strict=True)
        return [
            word.removeprefix(f"{option}=") if word != option else value
            for word, value in pairs
            if word == option or word.startswith(f"{option}=")
        ]
