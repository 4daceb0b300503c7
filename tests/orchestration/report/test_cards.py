from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.report.cards import _thumbnails
from tests.embed.samples import as_img2dataset, jpeg, url_of, write_archive, write_tar


def test_pictures_are_shown_from_parquet_shards(tmp_path: Path) -> None:
    write_archive(tmp_path, {url_of(n): (404 if n == 2 else 200, jpeg(n)) for n in range(4)})
    shown = _thumbnails(str(tmp_path), [url_of(1), url_of(2), "https://i.example/other.jpg"])
    assert shown.keys() == {url_of(1)}
    assert shown[url_of(1)].startswith("data:image/jpeg;base64,")


def test_pictures_are_shown_from_what_img2dataset_writes(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", as_img2dataset(range(3)))
    columns = {"url": [url_of(n) for n in range(3)], "key": [f"{n:09}" for n in range(3)]}
    pq.write_table(pa.table(columns), tmp_path / "00000.parquet")
    assert _thumbnails(str(tmp_path), [url_of(1)]).keys() == {url_of(1)}
