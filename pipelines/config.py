"""What stage 1 is told: everything that changes its tables, and nothing that does not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from pipelines.contract import ConfigError

ON_CORRUPT = ("fail", "keep")
OVER_18 = ("drop", "keep")
# One thread decodes a dump, at 0.7 GB/s and more; those that parse it read 0.15 GB/s each, and hold
# 32 MB of lines each and what they make of them, or a file of a table that is being written.
MAX_THREADS = 8
RUNNERS = (
    "DirectRunner",
    "PrismRunner",
    "FlinkRunner",
    "SparkRunner",
    "DataflowRunner",
    "PortableRunner",
)


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Dumps -> submissions, comments, media, rejects.

    Args:
        inputs: Files, folders or globs of dumps (.zst, .xz, .bz2, .gz, .ndjson, .json, none).
        key_file: File with the secret key of the user pseudonyms; at least 16 bytes. It lies
            outside the data, and whoever has both can name the users.
        over_18: What becomes of submissions marked not safe for work.
        on_corrupt: A truncated or corrupt file fails the month, or keeps what is whole, before and
            behind what is damaged.
        bots: Further author names to leave out, beside the built-in list.
        max_text_chars: Longer titles, selftexts and bodies are cut there.
    """

    inputs: tuple[str, ...] = field(metadata={"location": "external"})
    key_file: str = field(metadata={"location": "key"})
    over_18: Literal["drop", "keep"] = "drop"
    on_corrupt: Literal["fail", "keep"] = "fail"
    bots: tuple[str, ...] = ()
    max_text_chars: int = 10_000

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError("inputs is empty: name at least one dump file, folder or glob")
        if isinstance(self.inputs, str):
            raise ConfigError(f"inputs={self.inputs!r}: expected a tuple of texts, not one text")
        if self.over_18 not in OVER_18:
            raise ConfigError(f"over_18={self.over_18!r}: expected one of {OVER_18}")
        if self.on_corrupt not in ON_CORRUPT:
            raise ConfigError(f"on_corrupt={self.on_corrupt!r}: expected one of {ON_CORRUPT}")
        if self.max_text_chars < 1:
            raise ConfigError(f"max_text_chars={self.max_text_chars}: expected at least 1")


@dataclass(frozen=True, kw_only=True)
class InteractionsConfig:
    """submissions, comments -> interactions, snippets.

    Args:
        max_snippets: Texts kept for each user and subreddit, the best scored first.
        snippet_chars: Characters kept of each.
        min_snippet_chars: Shorter texts say nothing and are not kept.
        min_actions: Users with fewer submissions and comments in the month are left out.
    """

    max_snippets: int = 3
    snippet_chars: int = 280
    min_snippet_chars: int = 12
    min_actions: int = 1

    def __post_init__(self) -> None:
        for name in ("max_snippets", "snippet_chars", "min_actions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.min_snippet_chars > self.snippet_chars:
            raise ConfigError(
                f"min_snippet_chars={self.min_snippet_chars}: expected at most snippet_chars="
                f"{self.snippet_chars}, or no text is kept"
            )


@dataclass(frozen=True, kw_only=True)
class BeamResources:
    """How stage 1 runs; never what it computes. infra/beam/README.md has an example of each runner.

    Args:
        runner: Beam runner by name, one of RUNNERS.
        workers: Processes of the direct runner; 1 runs in this process. Other runners are told by
            their options.
        threads: Threads that parse the lines of one dump; 0: as many as this machine has cores for
            each worker, at most MAX_THREADS.
        options: Further Beam pipeline options, as `--name=value` words.
    """

    runner: str = "DirectRunner"
    workers: int = 1
    threads: int = 0
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise ConfigError(f"runner={self.runner!r}: expected one of {', '.join(RUNNERS)}")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: expected at least 1")
        if self.threads < 0:
            raise ConfigError(f"threads={self.threads}: expected at least 0")
        for option in self.options:
            if not option.startswith("--"):
                raise ConfigError(f"option {option!r}: expected --name=value")

    def threads_of(self, num_dumps: int) -> int:
        """Threads that parse one of so many dumps."""
        busy = max(1, min(self.workers, num_dumps))
        return self.threads or max(1, min(MAX_THREADS, (os.cpu_count() or 1) // busy))
