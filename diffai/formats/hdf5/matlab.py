"""MATLAB 7.3: variables by name, sizes the way round that MATLAB has them, cells and structs followed through their
references, which lead to objects of the same file.

What MATLAB notes beside a dataset (``MATLAB_class``, ``MATLAB_empty``, ``MATLAB_sparse``, ``MATLAB_int_decode``) says
what it is. Numbers of elements count from 1, in column order, as in :mod:`diffai.formats.matlab`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from diffai.errors import FormatError
from diffai.formats.digests import shortened
from diffai.formats.hdf5.datasets import Dataset, region_of
from diffai.formats.hdf5.file import FORMAT, File
from diffai.formats.hdf5.groups import Value
from diffai.formats.regions import Region, read
from diffai.formats.stored import StoredCheckpoint
from diffai.frozen import frozen
from diffai.model import Scalar, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.model import Role

Path = tuple[str, ...]

_CLASS, _EMPTY, _DECODE = "MATLAB_class", "MATLAB_empty", "MATLAB_object_decode"
_DTYPES = {"double": "F64", "single": "F32", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16",
           "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64"}  # fmt: skip
_MOST_TEXT = 16 << 20
_LONGEST_TEXT = 4096
_BLOCK = 1 << 20


@frozen
class Tree:
    """All objects of a file: attributes and datasets by path, and the path of each address."""

    attributes: Mapping[Path, Mapping[str, Value]]
    datasets: Mapping[Path, Dataset]
    paths: Mapping[int, Path]


def is_matlab(attributes: Mapping[Path, Mapping[str, Value]]) -> bool:
    """Whether MATLAB wrote the variables of a file."""
    return any(len(path) == 1 and _CLASS in named for path, named in attributes.items())


class Variables:
    """Adds the variables of a file to a checkpoint."""

    def __init__(self, file: File, checkpoint: StoredCheckpoint, tree: Tree) -> None:
        self._file, self._checkpoint, self._tree = file, checkpoint, tree
        self._members: dict[Path, list[Path]] = {}
        for path in tree.attributes:
            self._members.setdefault(path[:-1], []).append(path)
        self._reached: set[Path] = set()
        self.texts: dict[str, Scalar] = {}
        self.classes: dict[str, str] = {}
        self.asides: dict[str, str] = {}

    def add(self) -> None:
        """Add all.

        Raises:
            FormatError: HD03 for a reference that leads nowhere; HD07, HD09 as elsewhere.

        """
        for path in self._members.get((), []):
            if path and not path[0].startswith("#"):
                self._object(path, path[0], 0)
        self._objects_of_classes()

    def _object(self, path: Path, name: str, depth: int) -> None:
        self._file.budget.deep(depth)
        self._file.budget.value()
        self._file.budget.name(len(name))
        self._reached.add(path)
        attributes = self._tree.attributes[path]
        said = str(attributes.get(_CLASS, ""))
        dataset = self._tree.datasets.get(path)
        if dataset is None:
            if "MATLAB_sparse" in attributes:
                self._sparse(path, name, attributes)
            else:
                self._struct(path, name, said, depth)
        elif attributes.get(_EMPTY):
            self._empty(dataset, name, said)
        elif said == "cell" or (dataset.kind.title == "reference" and not said):
            self.classes[name] = f"cell {list(_sizes(dataset))}"
            for number, target in enumerate(self._targets(dataset, name)):
                self._object(target, f"{name}.{number + 1}", depth + 1)
        elif said == "char":
            self._text(dataset, name)
        elif _DECODE in attributes or (said and said not in (*_DTYPES, "logical")) or not dataset.kind.dtype:
            self.classes[name] = f"object of class {said}, not read"
            self.asides[name] = self._digest([dataset])
        else:
            self._numbers(dataset, name, "BOOL" if said == "logical" and dataset.kind.size == 1 else "")

    def _numbers(
        self, dataset: Dataset, name: str, dtype: str = "", sizes: tuple[int, ...] | None = None, role: Role = "weight"
    ) -> None:
        if name in self._checkpoint.tensors:
            raise FormatError("stands twice", code="HD09", tensor=name, format=FORMAT)
        shape = _sizes(dataset) if sizes is None else sizes
        region = self._region(dataset, name) if element_count(shape) else None
        kind = dataset.kind
        self._checkpoint.place(name, dtype or kind.dtype, shape, region, fortran=True, swap=kind.swap, role=role)

    def _empty(self, dataset: Dataset, name: str, said: str) -> None:
        """The dataset of an empty array holds its sizes."""
        data = self._bytes(dataset, name)
        order, width = ("big" if dataset.kind.swap else "little"), dataset.kind.size
        shape = tuple(int.from_bytes(data[at : at + width], order) for at in range(0, len(data), width))  # type: ignore[arg-type]
        if said == "char":
            self.texts[name] = ""
        elif said in _DTYPES or said == "logical":
            if element_count(shape):
                raise FormatError("is empty and has elements", code="HD07", tensor=name, format=FORMAT)
            self._checkpoint.place(name, _DTYPES.get(said, "BOOL"), shape, None)
        else:
            self.classes[name] = f"{said} {list(shape)}"

    def _text(self, dataset: Dataset, name: str) -> None:
        """Characters are 16-bit numbers in column order; rows are joined by line ends."""
        data = self._bytes(dataset, name)
        wide = {1: "latin-1", 2: "utf-16", 4: "utf-32"}.get(dataset.kind.size, "latin-1")
        order = "" if wide == "latin-1" else "-be" if dataset.kind.swap else "-le"
        text = data.decode(wide + order, "backslashreplace")
        rows = _sizes(dataset)[0] if _sizes(dataset) else 1
        if rows > 1:
            text = "\n".join(text[row::rows] for row in range(rows))
        self.texts[name] = shortened(text, _LONGEST_TEXT)

    def _sparse(self, path: Path, name: str, attributes: Mapping[str, Value]) -> None:
        """A group of values, row numbers, and where each column starts; sizes as MATLAB 5's reader calls them."""
        parts = {member[-1]: self._tree.datasets.get(member) for member in self._members.get(path, [])}
        starts = parts.get("jc")
        columns = (element_count(starts.shape) - 1) if starts is not None and starts.shape is not None else 0
        self.texts[f"{name}.size"] = f"sparse [{attributes['MATLAB_sparse']}, {columns}]"
        logical = attributes.get(_CLASS) == "logical"
        for part, title in (("ir", "row_indices"), ("jc", "column_starts"), ("data", "values")):
            dataset = parts.get(part)
            if dataset is None or dataset.shape is None or not dataset.kind.dtype:
                if part == "jc" or (dataset is not None and not dataset.kind.dtype):
                    raise FormatError(f"is sparse without {part}", code="HD07", tensor=name, format=FORMAT)
                continue  # no element is not zero
            dtype = "BOOL" if logical and part == "data" and dataset.kind.size == 1 else ""
            role: Role = "weight" if part == "data" else "index"
            self._numbers(dataset, f"{name}.{title}", dtype, (element_count(dataset.shape),), role)

    def _struct(self, path: Path, name: str, said: str, depth: int) -> None:
        """Fields of one struct are objects; of an array of structs, datasets of references."""
        members = self._members.get(path, [])
        what = "struct" if said in ("struct", "") else f"object of class {said}"
        if said == "function_handle":
            what = "function handle"
        self.classes[name] = what
        for member in members:
            dataset = self._tree.datasets.get(member)
            plain = not self._tree.attributes[member].get(_CLASS)
            if dataset is not None and dataset.kind.title == "reference" and plain:
                self.classes[name] = f"{what} {list(_sizes(dataset))}"
                self._reached.add(member)
                for number, target in enumerate(self._targets(dataset, name)):
                    self._object(target, f"{name}.{number + 1}.{member[-1]}", depth + 1)
            else:
                self._object(member, f"{name}.{member[-1]}", depth + 1)

    def _targets(self, dataset: Dataset, name: str) -> list[Path]:
        """The paths of the objects that a dataset refers to."""
        data = self._bytes(dataset, name)
        width = dataset.kind.size
        self._file.budget.value(len(data) // width)
        found = []
        for at in range(0, len(data), width):
            path = self._tree.paths.get(self._file.address(data[at : at + width], 0))
            if path is None:
                raise FormatError("refers to nothing", code="HD03", tensor=name, format=FORMAT)
            found.append(path)
        return found

    def _objects_of_classes(self) -> None:
        """What only MATLAB can put together (tables, strings, classes) is kept beside the variables: by digest."""
        hidden = [
            dataset
            for path, dataset in self._tree.datasets.items()
            if path not in self._reached and path[0].startswith("#") and dataset.kind.title != "reference"
        ]
        if any(path[0] == "#subsystem#" for path in self._tree.attributes if path):
            self.asides["objects of classes (subsystem)"] = self._digest(hidden)

    def _digest(self, datasets: list[Dataset]) -> str:
        digest, size = blake2b(digest_size=8), 0
        for dataset in datasets:
            region = self._region(dataset, "") if dataset.shape is not None else None
            for at in range(0, region.size if region else 0, _BLOCK):
                assert region is not None
                digest.update(read(region, at, min(_BLOCK, region.size - at)))
            size += region.size if region else 0
        return f"{size:,} bytes, {digest.hexdigest()}"

    def _region(self, dataset: Dataset, name: str) -> Region | None:
        return region_of(self._file, dataset, self._checkpoint.spool, name) if dataset.shape is not None else None

    def _bytes(self, dataset: Dataset, name: str) -> bytes:
        """All bytes of a small dataset."""
        region = self._region(dataset, name)
        if region is not None and region.size > _MOST_TEXT:
            reason = f"has a text or references of {region.size:,} bytes"
            raise FormatError(reason, code="HD07", tensor=name, format=FORMAT)
        self._file.budget.make(4 * region.size if region else 0)
        return read(region, 0, region.size) if region is not None else b""


def _sizes(dataset: Dataset) -> tuple[int, ...]:
    """Sizes as MATLAB has them: the first dimension varies fastest."""
    return tuple(reversed(dataset.shape or ()))


def is_note(path: Path, key: str) -> bool:
    """Whether an attribute is one of MATLAB's own notes."""
    return key.startswith("MATLAB_") or key == "H5PATH" or path[:1] in (("#refs#",), ("#subsystem#",))
