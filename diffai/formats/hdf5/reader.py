"""A tree of groups as a checkpoint: datasets of numbers are tensors, attributes and texts are metadata."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from hashlib import blake2b

from diffai.errors import FormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import shown_digest
from diffai.formats.hdf5 import keras, matlab
from diffai.formats.hdf5.datasets import Dataset, dataset_of, region_of
from diffai.formats.hdf5.datatypes import Datatype
from diffai.formats.hdf5.file import DATATYPE, FORMAT, File
from diffai.formats.hdf5.groups import Value, attributes, is_group, links, lists_of, plain_values
from diffai.formats.regions import Region, read
from diffai.formats.stored import StoredCheckpoint
from diffai.model import Problem, Scalar
from diffai.sources.base import Source

_LONGEST = 4096
_FEW = 16
_BLOCK = 1 << 20
_MOST_TEXT = 16 << 20


class Hdf5Checkpoint(StoredCheckpoint):
    """An opened HDF5 file."""

    not_expressible = frozenset(("ties", "requires_grad"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, FORMAT, limits.max_spool)
        self.texts: dict[str, Scalar] = {}
        self.metadata = self.texts


def read_file(checkpoint: Hdf5Checkpoint, limits: Limits) -> None:
    """Fill a checkpoint from its source. Raises as :func:`read_datasets`."""
    read_datasets(checkpoint, checkpoint.source, Budget(limits))


def read_datasets(checkpoint: Hdf5Checkpoint, source: Source, budget: Budget, config: object = None) -> None:
    """Walk all groups of a file; ``config`` is the configuration of a Keras model beside it.

    Raises:
        FormatError: see the table of the package.

    """
    try:
        file = File(source, budget)
        walk = _Walk(file, checkpoint)
        walk.group(file.root, (), ())
        if matlab.is_matlab(walk.attributes):
            walk.place_variables()
            return
        layout = keras.Layout.of(walk.attributes, config)
        walk.place(layout)
    except (IndexError, struct.error, OverflowError, RecursionError) as error:  # a message shorter than its kind needs
        raise FormatError("has damaged metadata", code="HD03", format=FORMAT) from error
    checkpoint.texts.update({**walk.metadata(layout), **layout.values})
    checkpoint.training = layout.training
    checkpoint.classes, checkpoint.graph, checkpoint.asides = layout.classes, walk.graph, walk.asides
    checkpoint.problems = (*walk.problems, *layout.problems)


class _Walk:
    """One walk over the tree; an object that is linked twice is one tensor with two names."""

    def __init__(self, file: File, checkpoint: Hdf5Checkpoint) -> None:
        self._file, self._checkpoint = file, checkpoint
        self._found: list[tuple[tuple[str, ...], int, Dataset]] = []
        self._paths: dict[int, tuple[str, ...]] = {}
        self._bare: dict[tuple[str, ...], str] = {}  # what holds no values
        self.attributes: dict[tuple[str, ...], dict[str, Value]] = {}
        self.graph: dict[str, str] = {}
        self.asides: dict[str, str] = {}
        self.problems: list[Problem] = []

    def group(self, address: int, path: tuple[str, ...], above: tuple[int, ...]) -> None:
        """Visit an object and what is below it."""
        self._file.budget.deep(len(path))
        self._file.budget.name(sum(map(len, path)))
        self._file.budget.step()
        messages = self._file.messages(address)
        try:
            dataset = dataset_of(self._file, messages)
            self.attributes[path] = attributes(self._file, messages)
        except FormatError as error:
            error.tensor = error.tensor or "/".join(path)
            raise
        self._paths.setdefault(address, path)
        if dataset is not None:
            self._found.append((path, address, dataset))
            return
        if not is_group(messages):
            self._bare[path] = "type" if any(message.kind == DATATYPE for message in messages) else "object"
            return
        bare = True
        for link in links(self._file, messages):
            bare = False
            here = (*path, link.name)
            if link.elsewhere:
                name = "/".join(here)
                self.graph[f"link {name}"] = link.elsewhere
                self.problems.append(Problem("HD10", "warning", f"{link.elsewhere} is not followed", name))
            elif link.address in above or link.address == address:
                self.graph[f"link {'/'.join(here)}"] = "to a group around it"
                self.problems.append(Problem("HD10", "warning", "link to a group around it", "/".join(here)))
            else:
                self.group(link.address, here, (*above, address))
        if bare and path:
            self._bare[path] = "empty group"

    def place(self, layout: keras.Layout) -> None:
        """Add all datasets to the checkpoint under the names that the layout gives them."""
        first: dict[int, str] = {}
        for path, address, dataset in self._found:
            name, role = layout.name_of(path)
            if dataset.shape is None:
                self.graph[f"dataset {name}"] = "empty"
                continue
            region = region_of(self._file, dataset, self._checkpoint.spool, name)
            dtype = self._dtype(path, dataset)
            if not dtype:
                self.graph[f"dataset {name}"] = self._described(name, dataset, region)
                continue
            if name in self._checkpoint.tensors:
                raise FormatError("stands twice", code="HD09", tensor=name, format=FORMAT)
            swap = dataset.kind.swap
            tied = first.setdefault(address, name)
            alias = tied if tied != name else ""
            self._checkpoint.place(name, dtype, dataset.shape, region, swap=swap, role=role, alias_of=alias)
        self._note_bare({path for path in self._bare if layout.is_said(path)})

    def _note_bare(self, said: Container[tuple[str, ...]] = ()) -> None:
        """Groups without members and named types are part of what the file says, but for layers that are known."""
        self.graph.update((f"object {'/'.join(path)}", what) for path, what in self._bare.items() if path not in said)

    def place_variables(self) -> None:
        """Add the variables of a MATLAB file, and what it says beside them."""
        tree = matlab.Tree(self.attributes, {path: dataset for path, _, dataset in self._found}, self._paths)
        variables = matlab.Variables(self._file, self._checkpoint, tree)
        variables.add()
        self._note_bare()
        notes = {path: {k: v for k, v in named.items() if not matlab.is_note(path, k)}
                 for path, named in self.attributes.items()}  # fmt: skip
        self._checkpoint.texts.update(
            {"/".join((*path, key)): _scalar(value) for path, named in notes.items() for key, value in named.items()}
        )
        self._checkpoint.texts.update(variables.texts)
        self._checkpoint.classes, self._checkpoint.asides = variables.classes, variables.asides
        self._checkpoint.graph, self._checkpoint.problems = self.graph, tuple(self.problems)

    def _dtype(self, path: tuple[str, ...], dataset: Dataset) -> str:
        """The dtype; Keras keeps bfloat16 as two opaque bytes and says so beside them."""
        said = self.attributes[path].get("dtype")
        if not dataset.kind.dtype and said == "bfloat16" and dataset.kind.size == 2:
            return "BF16"
        return dataset.kind.dtype

    def _described(self, name: str, dataset: Dataset, region: Region | None) -> str:
        """A dataset of texts or records in one line."""
        assert dataset.shape is not None
        kind, size = dataset.kind, 0 if region is None else region.size
        title = f"{kind.title} {list(dataset.shape)}"
        places = kind.text == "variable" or kind.title in ("variable length", "reference")
        digest = blake2b(digest_size=8)
        blind = places and not (kind.text or kind.held)
        if region is not None and (blind or (size > _MOST_TEXT and not places)):
            for at in range(0, size, _BLOCK):
                digest.update(read(region, at, min(_BLOCK, size - at)))
            if not blind:
                return f"{title}, {size:,} bytes, {digest.hexdigest()}"
            self.asides[f"dataset {name}"] = digest.hexdigest()  # places in the file, which differ where nothing does
            return title
        if region is not None and kind.text and size == kind.size:
            (value,) = plain_values(self._file, kind, read(region, 0, size), 1) or ("",)
            if len(str(value)) <= _LONGEST:
                return repr(value)
        if region is not None:
            for part in self._parts(kind, region):
                digest.update(part)
        return f"{title}, {digest.hexdigest()}"

    def _parts(self, kind: Datatype, region: Region) -> Iterator[bytes]:
        """What a dataset holds, a megabyte of its elements at a time: texts and lists each with its length."""
        step = max(_BLOCK // kind.size, 1) * kind.size
        for at in range(0, region.size, step):
            piece = read(region, at, min(step, region.size - at))
            if kind.text == "fixed":  # of one length, padded one way or another
                for value in plain_values(self._file, kind, piece, len(piece) // kind.size) or ():
                    text = str(value).encode("utf-8", "surrogatepass")
                    yield len(text).to_bytes(8, "little") + text
            elif kind.text or kind.held:
                self._file.budget.step(len(piece) // kind.size // 8)
                yield from lists_of(self._file, kind, piece)
            else:
                yield piece

    def metadata(self, layout: keras.Layout) -> dict[str, Scalar]:
        """Attributes of groups and datasets by path, long ones by digest; what names the layers is no metadata."""
        found: dict[str, Scalar] = {}
        for path, named in self.attributes.items():
            for key, value in named.items():
                if not layout.hides(path, key):
                    found["/".join((*path, key))] = _scalar(value)
        return found


def _scalar(value: Value) -> Scalar:
    if isinstance(value, (str, int, float)):
        return value if not isinstance(value, str) or len(value) <= _LONGEST else _cut(value)
    if len(value) <= _FEW:
        return _scalar(str(list(value)))
    return f"{len(value):,} values, {shown_digest(repr(value))}"


def _cut(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return f"{text[:60]}... {len(data):,} bytes, {shown_digest(data)}"
