"""Generated months: kind, size, seed -> a dump as those of 2024 and later, made of our own words.

Lines have the keys, lengths, escapes and heavy tails of real ones, keys sorted, times increasing;
the file is one zstd frame with a window of 2 GiB and a checksum, about a tenth of its raw size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import zstandard

from orchestration.bench.comments import Comments
from orchestration.bench.submissions import Submissions
from pipelines.dumps import Kind

MONTHS = Path("runs/bench/months")
VERSION = 2  # Of the lines: a cached month of another version is not used.
MONTH = "2025-12"
MONTH_START_UTC = 1_764_547_200
MONTH_S = 31 * 86_400
CHUNK_LINES = 8_000
BYTES_PER_ACCOUNT = 8_000  # 250,000 people write 2 GB.
# So that months shrink about as much as real ones, to a tenth. Most of RS is signatures of urls.
LEVELS = {"RC": 3, "RS": 7}
WINDOW_LOG = 31


@dataclass(frozen=True, kw_only=True)
class Month:
    """A generated file.

    Args:
        path: Where it lies.
        kind: RS or RC.
        num_lines: Lines in it.
        raw_bytes: Uncompressed, with line breaks.
    """

    path: Path
    kind: Kind
    num_lines: int
    raw_bytes: int

    @property
    def ratio(self) -> float:
        """Raw bytes for each compressed one."""
        return self.raw_bytes / self.path.stat().st_size


def ensure_month(kind: Kind, raw_bytes: int, seed: int, folder: Path = MONTHS) -> Month:
    """The month of this kind, size and seed: made, or found where it was made before.

    Args:
        kind: RS or RC.
        raw_bytes: Lines are added until the month has as many.
        seed: Decides every byte.
        folder: Of all generated months.
    """
    home = folder / f"v{VERSION}_seed{seed}_{raw_bytes}"
    path = home / f"{kind}_{MONTH}.zst"
    sizes = path.with_suffix(".sizes")
    if not sizes.exists():
        home.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        num_lines, num_bytes = write_zst(partial, line_chunks(kind, raw_bytes, seed), LEVELS[kind])
        partial.replace(path)
        sizes.write_text(f"{num_lines} {num_bytes}\n")
    num_lines, num_bytes = map(int, sizes.read_text().split())
    return Month(path=path, kind=kind, num_lines=num_lines, raw_bytes=num_bytes)


def line_chunks(kind: Kind, raw_bytes: int, seed: int) -> Iterator[list[bytes]]:
    """Lines of a month in the order of their times, without line breaks, a few thousand at a time.

    They end with the line that makes them `raw_bytes` or more.
    """
    rng = np.random.default_rng([seed, VERSION, "RSRC".index(kind)])
    num_accounts = min(max(raw_bytes // BYTES_PER_ACCOUNT, 1_000), 1_000_000)
    maker = (Comments if kind == "RC" else Submissions)(rng, num_accounts)
    left, chunk_lines = raw_bytes, min(CHUNK_LINES, 1 + raw_bytes // 1_000)
    start, mean = MONTH_START_UTC, 0.0
    while left > 0:
        end = start + max(1, int(MONTH_S * chunk_lines * (mean or 2_000) / raw_bytes))
        end = min(end, MONTH_START_UTC + MONTH_S)
        lines = maker.lines(np.sort(rng.integers(start, max(end, start + 1), chunk_lines)))
        start, sizes = end, np.cumsum([len(line) + 1 for line in lines])
        mean = sizes[-1] / len(lines)
        yield lines[: int(np.searchsorted(sizes, left)) + 1]
        left -= int(sizes[-1])


def write_zst(path: Path, chunks: Iterator[list[bytes]], level: int) -> tuple[int, int]:
    """One frame with a window of 2 GiB and a checksum; returns the lines and raw bytes in it."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=WINDOW_LOG, write_checksum=True, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    num_lines = num_bytes = 0
    with path.open("wb") as file, compressor.stream_writer(file) as writer:
        for lines in chunks:
            data = b"\n".join(lines) + b"\n"
            writer.write(data)
            num_lines += len(lines)
            num_bytes += len(data)
    return num_lines, num_bytes


def main(
    kind: Annotated[str, typer.Option(help="RS (submissions) or RC (comments).")] = "RC",
    raw_mb: Annotated[float, typer.Option(help="Uncompressed size in MB (10^6 bytes).")] = 100.0,
    seed: Annotated[int, typer.Option(help="Decides every byte.")] = 0,
    folder: Annotated[Path, typer.Option(help="Of all generated months.")] = MONTHS,
) -> None:
    """Make a month, unless it is there already, and say where it lies and how it compresses."""
    if kind not in ("RS", "RC"):
        raise typer.BadParameter(f"{kind!r}: expected RS or RC", param_hint="--kind")
    start = time.perf_counter()
    month = ensure_month("RS" if kind == "RS" else "RC", int(raw_mb * 1e6), seed, folder)
    print(
        f"{month.path}: {month.num_lines:,} lines, {month.raw_bytes:,} bytes raw "
        f"({month.raw_bytes / month.num_lines:,.0f} a line), {month.ratio:.1f}x compressed, "
        f"{time.perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    typer.run(main)
