from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.publishing import publish_version, roll_back, visible
from pipelines.contract import Artifact, MissingInputError, Run

STORE = Artifact(name="store", doc="a folder", versions=2)


def put(run: Run, text: str, files: int = 1) -> str:
    source = run.root / f"made-{text}"
    source.mkdir()
    for number in range(files):
        (source / f"file-{number}").write_text(text)
    return publish_version(source, STORE, run, "0123456789abcdef")


def seen(run: Run) -> str:
    return (STORE.path(run) / "file-0").read_text()


def test_readers_see_the_newest_and_the_one_before_stays(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    names = [put(run, text) for text in ("a", "b", "c")]
    assert seen(run) == "c"
    assert visible(STORE, run) == names[2]
    assert [folder.name for folder in STORE.folders(run)] == names[1:]


def test_a_rollback_shows_the_version_before_and_the_next_publication_wins(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    first, second = put(run, "a"), put(run, "b")
    assert roll_back(STORE, run) == first
    assert seen(run) == "a"
    with pytest.raises(MissingInputError, match=rf"there are: {first} \(visible\), {second}"):
        roll_back(STORE, run)
    assert roll_back(STORE, run, to=second) == second
    assert seen(run) == "b"
    roll_back(STORE, run)
    put(run, "c")
    assert seen(run) == "c"


def test_what_readers_saw_after_a_rollback_outlives_the_next_publication(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    first, second = put(run, "a"), put(run, "b")
    roll_back(STORE, run)
    third = put(run, "c")
    assert [folder.name for folder in STORE.folders(run)] == [first, second, third]
    assert roll_back(STORE, run, to=first) == first
    roll_back(STORE, run, to=third)
    put(run, "d")
    assert STORE.folders(run)[0].name == third


def test_there_is_nothing_to_go_back_to_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there are: none"):
        roll_back(STORE, Run(root=tmp_path))


def test_a_root_that_knew_no_versions_is_taken_over(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    folder = STORE.path(run)
    folder.mkdir(parents=True)
    (folder / "file-0").write_text("old")
    assert STORE.folders(run) == [folder]
    put(run, "new")
    assert seen(run) == "new"
    roll_back(STORE, run)
    assert seen(run) == "old"


def test_a_reader_never_sees_half_a_publication(tmp_path: Path) -> None:
    """Versions come and go while a thread reads; each look finds all files of one version."""
    run = Run(root=tmp_path)
    put(run, "0", files=20)
    stop, torn, looks = threading.Event(), [], 0

    def read() -> None:
        nonlocal looks
        while not stop.is_set():
            folder = STORE.path(run).resolve()
            found = [path.read_text() for path in sorted(folder.iterdir())]
            looks += 1
            if len(found) != 20 or len(set(found)) != 1:
                torn.append(found)

    keep = replace(STORE, versions=100)
    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        source = tmp_path / f"made-{number}"
        source.mkdir()
        for file in range(20):
            (source / f"file-{file}").write_text(str(number))
        publish_version(source, keep, run, "0123456789abcdef")
    stop.set()
    reader.join()
    assert torn == []
    assert looks > 10
