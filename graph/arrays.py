"""`.npy` files that are written piece by piece, for arrays that do not fit in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt


class ArrayWriter:
    """A `.npy` file that grows along its first axis; complete when the context closes.

    Args:
        path: The file.
        dtype: Of its values.
        width: Length of the second axis; None for an array of one axis.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, width: int | None = None) -> None:
        self._dtype, self._width, self.rows = np.dtype(dtype), width, 0
        self._file = path.open("wb")
        self._write_header()

    def append(self, values: npt.NDArray[np.generic]) -> None:
        """Write further rows.

        Raises:
            ValueError: They are of another type or width.
        """
        if values.dtype != self._dtype or values.shape[1:] != self._shape[1:]:
            raise ValueError(
                f"{self._file.name} holds {self._dtype} [rows, *{self._shape[1:]}], got "
                f"{values.dtype} {values.shape}"
            )
        np.ascontiguousarray(values).tofile(self._file)
        self.rows += len(values)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.rows,) if self._width is None else (self.rows, self._width)

    def _write_header(self) -> None:
        # numpy pads the header so that it keeps its length when the first axis grows.
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": self._shape}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.seek(0, 2)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._write_header()
        self._file.close()
