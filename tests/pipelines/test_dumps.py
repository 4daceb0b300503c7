from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from pipelines.contract import ConfigError, MissingInputError
from pipelines.dumps import UNDATED, Dump, discover, dump_at

SUBMISSION = b'{"id": "a1", "title": "t"}\n'
COMMENT = b'{"id": "b1", "body": "b"}\n'


def put(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "month"),
    [
        ("RS_2019-10.zst", "RS", "2019-10"),
        ("RC_2006-01.bz2", "RC", "2006-01"),
        ("RS_2019-10_AskWomen.zst", "RS", "2019-10"),
        ("RC_2020-01-15.zst", "RC", "2020-01"),
        ("RS_v2_2005-06.xz", "RS", "2005-06"),
        ("rc_2011-02", "RC", "2011-02"),
        ("RC_science.ndjson", "RC", UNDATED),
        ("RS_2019-13.zst", "RS", UNDATED),
        ("RS_2019-101.zst", "RS", UNDATED),
    ],
)
def test_kind_and_month_come_from_the_name(
    name: str, kind: str, month: str, tmp_path: Path
) -> None:
    dump = dump_at(put(tmp_path / name, b"not looked at"))
    assert (dump.kind, dump.month) == (kind, month)


@pytest.mark.parametrize(("data", "kind"), [(SUBMISSION, "RS"), (COMMENT, "RC")])
@pytest.mark.parametrize("before", [b"", b"\n\xff\n", b"[1]\n"])
def test_a_name_that_does_not_tell_is_settled_by_the_first_object(
    before: bytes, data: bytes, kind: str, tmp_path: Path
) -> None:
    dump = dump_at(put(tmp_path / "things.zst", before + data))
    assert (dump.kind, dump.month, dump.label) == (kind, UNDATED, "things.zst")


@pytest.mark.parametrize("data", [b"", b"{}\n", b"hello\n", b'{"id": 3}'])
def test_a_file_that_is_no_dump_is_named(data: bytes, tmp_path: Path) -> None:
    put(tmp_path / "other.json", data)
    with pytest.raises(ConfigError, match=r"other\.json.*neither like submissions"):
        discover([str(tmp_path)])


def test_a_file_that_is_cut_before_its_first_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "things.zst").write_bytes(zstandard.compress(COMMENT)[:9])
    with pytest.raises(ConfigError, match=r"things\.zst.*neither .* at byte 9\); name it RS_\*"):
        discover([str(tmp_path)])


def test_folders_globs_and_files_name_each_dump_once(tmp_path: Path) -> None:
    one = put(tmp_path / "a" / "RS_2019-10.zst")
    two = put(tmp_path / "a" / "deep" / "RC_2019-10.gz")
    three = put(tmp_path / "b" / "RC_2018-01.xz")
    put(tmp_path / "a" / "hashes.txt", b"no dump")
    put(tmp_path / "a" / "RS_2019-10_info.md", b"no dump")
    inputs = [str(tmp_path / "a"), str(one), str(tmp_path / "*" / "R*.[gx]z")]
    found = discover(inputs)
    paths = {month: [dump.path for dump in dumps] for month, dumps in found.items()}
    assert paths == {"2018-01": [str(three)], "2019-10": [str(two), str(one)]}


def test_one_month_in_several_containers_is_one_partition(tmp_path: Path) -> None:
    for suffix in (".zst", ".xz"):
        put(tmp_path / f"RC_2017-12{suffix}", COMMENT)
    (dumps,) = discover([str(tmp_path)]).values()
    assert [dump.label for dump in dumps] == ["RC_2017-12.xz", "RC_2017-12.zst"]


def test_equal_names_of_a_month_get_the_folders_that_tell_them_apart(tmp_path: Path) -> None:
    for folder in ("x/p", "y/p", "z/q"):
        put(tmp_path / folder / "RC_2017-12", COMMENT)
    (dumps,) = discover([str(tmp_path)]).values()
    labels = [dump.label for dump in dumps]
    assert labels == ["q/RC_2017-12", "x/p/RC_2017-12", "y/p/RC_2017-12"]


@pytest.mark.parametrize("name", ["nothing/RS_2019-10.zst", "nothing/*.zst", "empty"])
def test_an_input_without_dumps_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="has no dumps") as caught:
        discover([str(tmp_path / name)])
    assert name in str(caught.value)


def test_real_files_are_known(shared_data: Path) -> None:
    found = discover([str(shared_data / "reddit")])
    told = {month: [(d.kind, d.label) for d in dumps] for month, dumps in found.items()}
    assert told == {
        "2005-12": [("RC", "RC_2005-12.zst")],
        "2006-01": [("RC", "RC_2006-01.zst")],
        "2019-10": [("RS", "RS_2019-10_AskWomen.zst")],
        UNDATED: [
            ("RC", "RC_objects.ndjson"),
            ("RC", "RC_science.ndjson"),
            ("RC", "test_comments.json"),
            ("RS", "RS_objects.ndjson"),
            ("RS", "RS_science.ndjson"),
            ("RS", "test_submissions.json"),
        ],
    }
    assert all(isinstance(dump, Dump) and dump.size_bytes for ds in found.values() for dump in ds)
