"""Sharded models as one checkpoint: an index JSON with its shards, or a directory of numbered shards.

Read are ``*.safetensors.index.json`` and ``pytorch_model.bin.index.json`` as transformers writes them
(``{"metadata": {...}, "weight_map": {tensor: shard}}``) and files named ``NAME-00001-of-00004.safetensors``
(or ``.bin``, ``.pt``, ``.pth``). Reasons for refusal are numbered, and the numbers stay; a problem inside a
shard keeps its own number.

===== ==============================================================================================
code  reason
===== ==============================================================================================
SH01  the index is not UTF-8 or not a JSON object
SH02  the index has no ``weight_map`` that maps tensors to file names
SH03  the index names a shard outside its own directory
SH04  a shard is missing or cannot be opened
SH05  the index says that a tensor is in a shard, but it is not
SH06  a tensor is in two shards
SH07  warning: a tensor is in a shard, but not in the index
SH08  a key stands twice in the index
SH09  a number is missing among the shards of a directory
SH10  a directory holds several models, so that one has to be named
SH11  the index is longer than ``diffai.maxHeader``
SH12  a directory holds no model
SH13  a shard is an index itself
===== ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.formats.safetensors_header import shown
from diffai.model import Checkpoint, Codes, LfsPointer, NotPulled, Problem, Scalar, TensorSpec
from diffai.models.names import packaged_model, single_model
from diffai.models.shard_plan import NAME, Plan, Report, first_of, plan_of_directory, plan_of_index, refusal
from diffai.models.shard_pool import ShardPool
from diffai.snapshots.files import local_directory, sentence
from diffai.sources.base import Source
from diffai.sources.directory import Directory, UnresolvedError
from diffai.stores.store import joined_states

_OF_SHARDS = ("split.no", "split.count", "split.tensors.count")
"""Keys of GGUF that say how a model was split, and nothing of it."""


class ShardedCheckpoint(Checkpoint):
    """Several files as one model; see :class:`diffai.model.Checkpoint`. Order: by shard, then as in the shard."""

    def __init__(self, plan: Plan, pool: ShardPool, content: _Content) -> None:
        self._plan = plan
        self._pool = pool
        self.format = f"sharded {content.format}" if content.format else NAME
        self.tensors = content.tensors
        self.metadata = _merged(plan, content.metadata)
        self.metadata_types = content.metadata_types
        self.training, self.series = content.training, content.series
        self.classes, self.requires_grad = content.classes, frozenset(content.requires_grad)
        self.asides, self.not_expressible = content.asides, frozenset(content.not_expressible)
        self.problems = tuple(content.problems)
        self.files = plan.names
        known = pool.identity and (plan.index is None or plan.index.identity)
        self.identity = f"{pool.identity} {plan.index.identity if plan.index else ''}" if known else ""

    @property
    def random_access(self) -> bool:
        """Whether every shard is."""
        return self._pool.random_access

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the tensor's bytes from byte ``offset`` on; SourceError when they are gone."""
        with self._pool.use(spec.file) as shard:
            shard.read_into(shard.tensors[spec.name], offset, buffer)

    def codes(self, spec: TensorSpec) -> Codes | None:
        """How the tensor is coded in its shard."""
        with self._pool.use(spec.file) as shard:
            return shard.codes(shard.tensors[spec.name])

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with stored bytes of a coded tensor; SourceError when they are gone."""
        with self._pool.use(spec.file) as shard:
            shard.read_codes_into(shard.tensors[spec.name], offset, buffer)

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """Decode whole blocks of the tensor's shard."""
        with self._pool.use(spec.file) as shard:
            shard.decode_codes(shard.tensors[spec.name], codes, values)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from absolute ``offset`` of shard ``file``."""
        with self._pool.use(file) as shard:
            shard.read_file_into(0, offset, buffer)

    def verify_unchanged(self) -> None:
        """Raise SourceError when the index or a shard was changed since it was opened."""
        if self._plan.index is not None:
            self._plan.index.verify_unchanged()
        self._pool.verify_unchanged()

    def close(self) -> None:
        """Close all shards and the index; may be called twice."""
        self._pool.close()
        if self._plan.index is not None:
            self._plan.index.close()


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether the content is a shard index: a JSON object with a weight map."""
    if head.lstrip(b" \t\r\n")[:1] != b"{":
        return False
    return b'"weight_map"' in head or name.endswith((".safetensors.index.json", ".bin.index.json"))


def open_checkpoint(source: Source, limits: Limits) -> ShardedCheckpoint:
    """Open the model whose index ``source`` is; reads the index and the header of each shard.

    Raises:
        FormatError: with the first reason found (table above, or the shard's own), naming shard and tensor.
        UnresolvedError: a shard is only a pointer to an object that is not here.
        SourceError: the index cannot be read.

    """
    return _open(plan_of_index(source, limits, _raise_first), limits)


def open_directory(directory: Directory | str, limits: Limits) -> Checkpoint:
    """Open the one model that ``directory`` (or the directory at that path) holds, sharded or a single file.

    Raises as :func:`open_checkpoint`.
    """
    if isinstance(directory, str):
        directory = local_directory(directory)
    source = _alone(directory)
    if source is not None:
        return _open_alone(source, limits)
    return _open(plan_of_directory(directory, limits, _raise_first), limits)


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """All problems of the index, of each shard, and between them.

    Raises:
        FormatError: the index cannot be read as one at all, or a limit was reached.
        SourceError: the index cannot be read.

    """
    problems: list[Problem] = []
    return _check(plan_of_index(source, limits, problems.append), limits, problems)


def check_directory(directory: Directory, limits: Limits) -> tuple[Problem, ...]:
    """As :func:`check`, for the model of a directory."""
    source = _alone(directory)
    if source is not None:
        try:
            return registry.check(source, limits)
        finally:
            source.close()
    problems: list[Problem] = []
    return _check(plan_of_directory(directory, limits, problems.append), limits, problems)


def _alone(directory: Directory) -> Source | None:
    """The single file that is a directory's model, or the model of a package; None where it holds several, or none."""
    names = directory.names()
    alone, (marker, packaged) = single_model(names), packaged_model(names)
    if alone or not packaged:
        return directory.open(alone) if alone else None
    beside = directory.open(marker)
    try:
        return beside.sibling(packaged)
    except UnresolvedError:
        raise
    except SourceError:  # other folders have a file of that name, too
        return None
    finally:
        beside.close()


def _open_alone(source: Source, limits: Limits) -> Checkpoint:
    """The single file that is a directory's model."""
    try:
        checkpoint = registry.open_checkpoint(source, limits)
    except BaseException:
        source.close()
        raise
    if checkpoint.identity is None:  # else it is of this file and of others that hold values
        checkpoint.identity = source.identity
    return checkpoint


def _raise_first(problem: Problem) -> None:
    if problem.severity == "error":
        raise FormatError(problem.message, code=problem.code, tensor=problem.tensor, offset=problem.offset, format=NAME)


# ---------------------------------------------------------------- what is in them


class _Content:
    """Everything that the shards hold, gathered in order."""

    def __init__(self, plan: Plan, report: Report) -> None:
        self._plan = plan
        self._report = report
        self.format = ""
        self.tensors: dict[str, TensorSpec] = {}
        self.metadata: list[Mapping[str, Scalar]] = []
        self.metadata_types: dict[str, str] = {}
        self.training: dict[str, Scalar] = {}
        self.series: dict[str, tuple[float, ...]] = {}
        self.classes: dict[str, str] = {}
        self.requires_grad: set[str] = set()
        self.asides: dict[str, str] = {}
        # Tensors of two files share no storage, whatever the model did.
        self.not_expressible = {"ties"} if len(plan.names) > 1 else set[str]()
        self.problems: list[Problem] = []

    def add(self, shard: Checkpoint, number: int) -> None:
        """Take in an opened shard."""
        plan, name = self._plan, self._plan.names[number]
        self.format = self.format or shard.format
        self.metadata.append(shard.metadata)
        for key, title in shard.metadata_types.items():
            types = self.metadata_types.setdefault(key, title)
            if title not in types.split(" or "):
                self.metadata_types[key] = f"{types} or {title}"
        self.training.update(shard.training)
        self.series.update(shard.series)
        self.classes.update(shard.classes)
        self.requires_grad |= shard.requires_grad
        self.asides.update((f"{what} in {name}", digest) for what, digest in shard.asides.items())
        self.not_expressible |= shard.not_expressible
        self.problems += (replace(p, message=f"shard {shown(name)}: {p.message}") for p in shard.problems)
        for tensor, spec in shard.tensors.items():
            placed = replace(spec, file=number) if number else spec
            other = self.tensors.setdefault(tensor, placed)
            if other is not placed:
                both = f"{shown(plan.names[other.file])} and {shown(name)}"
                self._report(Problem("SH06", "error", f"is in two shards: {both}", tensor))
            if plan.weight_map and tensor not in plan.weight_map:
                message = f"is in shard {shown(name)}, but not in the index"
                self.problems.append(Problem("SH07", "warning", message, tensor))
        for tensor in plan.holds.get(name, ()):
            if tensor not in shard.tensors:
                message = f"is not in shard {shown(name)}, where the index says it is"
                self._report(Problem("SH05", "error", message, tensor))


def _merged(plan: Plan, metadata: list[Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """Metadata of all shards: once where they agree, else as ``shard:key``."""
    merged: dict[str, Scalar] = dict(plan.metadata)
    for key in dict.fromkeys(key for one in metadata for key in one):
        if key in _OF_SHARDS:
            continue
        values = {one[key] for one in metadata if key in one}
        if len(values) == 1:
            merged[key] = values.pop()
        else:
            pairs = zip(plan.names, metadata, strict=True)
            merged |= {f"{name}:{key}": one[key] for name, one in pairs if key in one}
    return merged


def _open_shard(plan: Plan, limits: Limits, number: int) -> tuple[Checkpoint, str]:
    """Open one shard as a checkpoint of its own, with its source's identity; errors name it."""
    name = plan.names[number]
    try:
        source = plan.open_shard(name)
    except UnresolvedError:
        raise
    except SourceError as error:
        tensor = first_of(plan, name)
        raise refusal("SH04", f"shard {shown(name)} cannot be opened: {error}", tensor) from error
    try:
        if registry.recognise(source).NAME == NAME:
            raise refusal("SH13", "is an index itself")
        return registry.open_checkpoint(source, limits), source.identity
    except FormatError as error:
        source.close()
        raise _inside(name, error) from error
    except BaseException:
        source.close()
        raise


def _inside(name: str, error: FormatError) -> FormatError:
    """The same error, naming the shard; limits stay limits."""
    kind = LimitError if isinstance(error, LimitError) else FormatError
    return kind(f"shard {shown(name)}: {error.reason}", code=error.code, tensor=error.tensor,
                offset=error.offset, format=error.format or NAME)  # fmt: skip


def _open(plan: Plan, limits: Limits) -> ShardedCheckpoint:
    content = _Content(plan, _raise_first)
    pool = ShardPool(len(plan.names), lambda number: _open_shard(plan, limits, number))
    missing: list[LfsPointer | NotPulled] = []
    try:
        for number in range(len(plan.names)):
            try:
                with pool.use(number) as shard:
                    content.add(shard, number)
            except UnresolvedError as error:
                if not isinstance(error.state, LfsPointer | NotPulled):
                    raise
                missing.append(error.state)
        if missing:
            state = joined_states(missing, plan.label)
            raise UnresolvedError(f"{plan.label}: {sentence(state)}", state)
    except BaseException:
        pool.close()
        raise
    return ShardedCheckpoint(plan, pool, content)


def _check(plan: Plan, limits: Limits, problems: list[Problem]) -> tuple[Problem, ...]:
    """Check each shard by itself, then what they make together."""
    content = _Content(plan, problems.append)
    for number, name in enumerate(plan.names):
        try:
            source = plan.open_shard(name)
        except SourceError as error:
            tensor = first_of(plan, name)
            problems.append(Problem("SH04", "error", f"shard {shown(name)} cannot be opened: {error}", tensor))
            continue
        try:
            found = registry.check(source, limits)
            problems += (replace(p, message=f"shard {shown(name)}: {p.message}") for p in found)
            if not any(p.severity == "error" for p in found):
                content.add(registry.open_checkpoint(source, limits), number)
        except FormatError as error:
            inside = _inside(name, error)
            problems.append(Problem(inside.code or "SH04", "error", inside.reason, inside.tensor, inside.offset))
        finally:
            source.close()
    warnings = [p for p in content.problems if p.code == "SH07"]
    return tuple(problems + warnings)
