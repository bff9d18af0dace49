"""Fields of structured arrays: records of a fixed length, of which each field is a tensor of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from diffai.formats.regions import Region, read

_BLOCK = 1 << 20


class RecordField:
    """One field of many records, as if its values lay one behind another.

    Args:
        region: the bytes of the records.
        start: byte of the first record in the region.
        count: how many records there are.
        item: bytes a record takes.
        offset, width: where in a record the field lies, and how many bytes it takes.

    """

    __slots__ = ("_count", "_item", "_offset", "_region", "_start", "_width", "size")

    file_offset = -1

    def __init__(self, region: Region, start: int, count: int, item: int, offset: int, width: int) -> None:
        self._region, self._start, self._count = region, start, count
        self._item, self._offset, self._width = item, offset, width
        self.size = count * width

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Gather the field out of as many records as are wanted, in blocks of about 1 MiB."""
        import numpy as np

        at, done, most = offset, 0, max(1, _BLOCK // self._item)
        while done < len(buffer):
            first, skip = divmod(at, self._width)
            records = min(most, -(-(skip + len(buffer) - done) // self._width))
            raw = np.frombuffer(read(self._region, self._start + first * self._item, records * self._item), np.uint8)
            field = raw.reshape(records, self._item)[:, self._offset : self._offset + self._width].tobytes()
            part = field[skip : skip + len(buffer) - done]
            buffer[done : done + len(part)] = part
            at, done = at + len(part), done + len(part)


class Joined:
    """Regions one behind another, as if they were one."""

    __slots__ = ("_ends", "_regions", "size")

    file_offset = -1

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions = tuple(region for region in regions if region.size)
        self._ends = tuple(accumulate(region.size for region in self._regions))
        self.size = self._ends[-1] if self._ends else 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from each region that has a part of what is wanted."""
        done = 0
        while done < len(buffer):
            number = bisect_right(self._ends, offset + done)
            region = self._regions[number]
            start = offset + done - (self._ends[number] - region.size)
            part = min(region.size - start, len(buffer) - done)
            region.read_into(start, buffer[done : done + part])
            done += part
