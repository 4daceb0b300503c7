from __future__ import annotations

from typing import Any

import pytest

from pipelines.config import BeamResources, IngestConfig, InteractionsConfig
from pipelines.contract import ConfigError


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (IngestConfig, {"inputs": ()}, "inputs is empty"),
        (IngestConfig, {"inputs": "dumps"}, "inputs='dumps': expected a tuple"),
        (IngestConfig, {"over_18": "maybe"}, "over_18='maybe'"),
        (IngestConfig, {"on_corrupt": "ignore"}, "on_corrupt='ignore'"),
        (IngestConfig, {"max_text_chars": 0}, "max_text_chars=0"),
        (InteractionsConfig, {"max_snippets": 0}, "max_snippets=0"),
        (InteractionsConfig, {"snippet_chars": 0}, "snippet_chars=0"),
        (InteractionsConfig, {"snippet_chars": 11}, "min_snippet_chars=12: expected at most"),
        (BeamResources, {"workers": 0}, "workers=0"),
        (BeamResources, {"options": ("--a=1", "b=2")}, "option 'b=2': expected --name=value"),
    ],
)
def test_wrong_values_are_named(make: Any, changes: dict[str, Any], message: str) -> None:
    base = {"inputs": ("dumps",), "key_file": "key"} if make is IngestConfig else {}
    make(**base)
    with pytest.raises(ConfigError, match=message):
        make(**base | changes)


@pytest.mark.parametrize(
    ("num_cores", "workers", "threads", "expected"),
    [(2, 1, 0, 2), (64, 1, 0, 8), (64, 16, 0, 4), (2, 4, 0, 1), (2, 1, 32, 32)],
)
def test_threads_are_as_many_as_one_stream_can_feed(
    num_cores: int, workers: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: num_cores)
    assert BeamResources(workers=workers, threads=threads).threads_of(num_dumps=99) == expected
