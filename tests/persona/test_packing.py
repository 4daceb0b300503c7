import pyarrow as pa
import pytest

from persona.packing import packed, text_of, unpacked


@pytest.mark.parametrize("slice_rows", [1, 2, 100])
def test_texts_come_back_as_they_were(slice_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persona.packing._SLICE_ROWS", slice_rows)
    long = "an é in every sentence. " * 20_000
    chunks = [["skipped", "a", "", None], [], [long, "日本"], [None, None]]
    texts = pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks]).slice(1)
    cells = packed(texts)
    assert cells.type == pa.binary()
    assert cells.nbytes < texts.nbytes / 4
    assert unpacked(cells).to_pylist() == ["a", "", None, long, "日本", None, None]
    assert unpacked(cells.slice(2, 2)).to_pylist() == [None, long]
    assert [text_of(cell) for cell in cells.to_pylist() if cell] == ["a", "", long, "日本"]


def test_nothing_packs_to_nothing() -> None:
    for texts in ([], ["", None], [None]):
        column = pa.chunked_array([pa.array(texts, pa.string())])
        assert unpacked(packed(column)).to_pylist() == texts


def test_a_cell_that_is_cut_is_refused() -> None:
    cell = packed(pa.chunked_array([["neon " * 100]]))[0].as_py()
    for length in (0, 1, len(cell) - 1):
        with pytest.raises((ValueError, OSError)):
            text_of(cell[:length])
