from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.bench.dumps import NO_KEY, file_counts
from tests.pipelines.reference import ingest_all
from tests.pipelines.test_ingest import read_lines

pytestmark = pytest.mark.engine


def test_each_real_dump_is_counted_as_a_plain_parser_counts_it(shared_data: Path) -> None:
    folder = shared_data / "reddit"
    found = dict(file_counts(folder))
    assert len(found) == len([path for path in folder.rglob("*") if path.is_file()])
    for name, counts in found.items():
        expected = ingest_all(read_lines([folder / name]), NO_KEY)
        assert counts.rows_in == expected.rows_in, name
        assert counts.rows_out == len(expected.submissions) + len(expected.comments), name
        assert dict(counts.rejected) == dict(expected.rejected), name
        assert dict(counts.dropped) == dict(expected.dropped), name
