"""A checkpoint in memory, for tests of everything that stands on the Checkpoint protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffai.errors import SourceError
from diffai.model import Problem, Scalar, TensorSpec


class MemoryCheckpoint:
    """Tensors given as raw bytes, laid out one after the other in a single pretended file.

    Args:
        tensors: name -> (dtype, shape, raw little-endian bytes).
        raw: whether specs tell where their bytes lie (offset) or only ``read_into`` does.
        gap: unused bytes between tensors.
        random_access: as in the protocol; where False, calls out of ascending order fail the test.
    """

    format = "memory"

    def __init__(
        self,
        tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]],
        *,
        raw: bool = True,
        gap: int = 0,
        random_access: bool = True,
        metadata: Mapping[str, str] | None = None,
        training: Mapping[str, Scalar] | None = None,
        values: Mapping[str, str] | None = None,
    ) -> None:
        self.random_access = random_access
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.training: Mapping[str, Scalar] = dict(training or {})
        self.problems: tuple[Problem, ...] = ()
        self.reads: list[tuple[int, int]] = []
        self.fail_at = -1  # raise SourceError when this file offset is read
        self.closed = False
        self._start: dict[str, int] = {}
        specs: dict[str, TensorSpec] = {}
        data = bytearray()
        for name, (dtype, shape, content) in tensors.items():
            self._start[name] = len(data)
            specs[name] = TensorSpec(name, dtype, shape, len(content), len(data) if raw else -1,
                                     values=(values or {}).get(name, ""))  # fmt: skip
            data += content + b"\xee" * gap
        self.tensors: Mapping[str, TensorSpec] = specs
        self._data = bytes(data)

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        assert offset + len(buffer) <= spec.nbytes, "read beyond the tensor"
        self._copy(self._start[spec.name] + offset, buffer)

    def made_of(self, spec: TensorSpec) -> tuple[TensorSpec, ...]:
        """Every tensor is itself."""
        return ()

    def codes(self, spec: TensorSpec) -> None:
        """Nothing is coded in blocks."""

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        assert file == 0
        self._copy(offset, buffer)

    def _copy(self, offset: int, buffer: memoryview) -> None:
        if not self.random_access and self.reads:
            last, size = self.reads[-1]
            assert offset >= last + size, "a stream was read out of order"
        self.reads.append((offset, len(buffer)))
        if offset <= self.fail_at < offset + len(buffer):
            raise SourceError(f"<memory>: ends at offset {self.fail_at}")
        part = self._data[offset : offset + len(buffer)]
        if len(part) != len(buffer):
            raise SourceError(f"<memory>: ends at offset {len(self._data)}")
        buffer[:] = part

    def verify_unchanged(self) -> None:
        """Memory is still."""

    def close(self) -> None:
        self.closed = True


def names(count: int) -> Sequence[str]:
    """``count`` tensor names."""
    return [f"t{number}" for number in range(count)]
