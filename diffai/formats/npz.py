"""NumPy files: one array (``.npy``), or a zip of arrays (``.npz``).

==== ======================================================================================================
code reason
==== ======================================================================================================
NP01 no NumPy signature
NP02 the header is damaged, or of a version or type that is not known
NP03 fewer bytes than the shape needs
NP04 warning: bytes follow the values
NP05 two arrays of one name, or an impossible shape
==== ======================================================================================================

What is wrong with the archive is numbered as in :mod:`diffai.formats.zip`; with a pickle of objects as in
:mod:`diffai.formats.torch`.
"""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats import npy_header
from diffai.formats.base import Budget, Limits
from diffai.formats.npy_header import MAGIC, Field, Header
from diffai.formats.records import RecordField
from diffai.formats.regions import FileRegion, PartOf, Region
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.formats.zip import Archive
from diffai.model import Problem, Scalar, element_count
from diffai.sources.base import Source

NAME = "numpy"
SINGLE = "array"
"""The name of the one array of a ``.npy`` file, which has none."""

# The last word of a parameter's name in PyTorch, Keras, Flax and MLX.
PARAMETERS = frozenset((
    "weight", "bias", "kernel", "scale", "scales", "biases", "gamma", "beta", "embedding", "embeddings", "weights",
    "running_mean", "running_var", "moving_mean", "moving_variance", "mean", "var", "recurrent_kernel", "pos_embedding",
    "weight_g", "weight_v", "in_proj_weight", "in_proj_bias",
))  # fmt: skip
_LOCAL_HEADER = 30
_DIRECTORY_OF_ONE = 172  # the longest that the directory of one member takes, beside its name; two take more


class NumpyCheckpoint(StoredCheckpoint):
    """Arrays by name."""

    not_expressible = frozenset(("training", "ties", "requires_grad", "graph"))

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, NAME, limits.max_spool)
        self.texts: dict[str, Scalar] = {}
        self.metadata = self.texts
        self.kinds: dict[str, str] = {}
        self.classes = self.kinds


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is an array, or a zip that begins with one; an empty ``.npz`` by its name."""
    if head[:6] == MAGIC:
        return True
    if head[:4] == b"PK\x03\x04":
        return _member(head, 0)[0].endswith(".npy")
    return head[:4] == b"PK\x05\x06" and name.lower().endswith(".npz")


def holds_parameters(head: bytes, size: int) -> bool:
    """Whether a ``.npz`` is a model: its first array has a dotted (or slashed) name that ends as parameters' do
    (``encoder.0.weight``), and another array follows, which has such a name as well where ``head`` shows it.
    """
    if head[:4] != b"PK\x03\x04":
        return False
    first, end = _member(head, 0)
    if not _is_parameter(first) or size - end < len(first) + _DIRECTORY_OF_ONE:
        return False
    if end + _LOCAL_HEADER >= len(head):
        return True
    second, _ = _member(head, end)
    return _is_parameter(second) or (not second and head.startswith(b"PK\x03\x04", end))


def _is_parameter(member: str) -> bool:
    words = member.removesuffix(".npy").replace("/", ".").split(".")
    return len(words) > 1 and words[-1] in PARAMETERS


def _member(head: bytes, at: int) -> tuple[str, int]:
    """The name of the member whose header stands at ``at``, "" where it is not in sight, and where its data ends."""
    if head[at : at + 4] != b"PK\x03\x04" or at + _LOCAL_HEADER > len(head):
        return "", len(head)
    flags = int.from_bytes(head[at + 6 : at + 8], "little")
    packed = int.from_bytes(head[at + 18 : at + 22], "little")
    length, extra = (int.from_bytes(head[at + n : at + n + 2], "little") for n in (26, 28))
    start = at + _LOCAL_HEADER + length
    if packed == 0xFFFFFFFF:  # zip64: the second of two numbers of 8 bytes
        packed = int.from_bytes(head[start + 12 : start + 20], "little")
    end = len(head) if flags & 8 else start + extra + packed
    return head[at + _LOCAL_HEADER : start].decode("utf-8", "replace") if start <= len(head) else "", end


class _Reader:
    """Reads one file into a checkpoint. ``collected`` takes errors of single arrays instead of raising them."""

    def __init__(self, checkpoint: NumpyCheckpoint, limits: Limits) -> None:
        self._checkpoint = checkpoint
        self._limits = limits
        self._budget = Budget(limits)
        self.problems: list[Problem] = []

    def read(self) -> None:
        """All arrays; those that cannot be read are faults of the checkpoint."""
        source = self._checkpoint.source
        if source.read(0, 2) == b"PK":
            self._archive(source)
        else:
            head = source.read(0, 12)
            start, length = npy_header.length_of(head)
            self._array(SINGLE, FileRegion(source, 0, source.size), source.read(0, start + length))

    def _archive(self, source: Source) -> None:
        archive = Archive(source, self._budget, self._checkpoint.spool, format=NAME)
        if self._limits.values:
            archive.verify()
        for name, member in archive.members.items():
            head = archive.head(member, 12)
            if head[:6] != MAGIC and not name.endswith(".npy"):
                self._checkpoint.texts[f"file {name}"] = f"{member.size:,} bytes, crc32 {member.crc:08x}"
                continue
            self._budget.name(len(name))
            label = name.removesuffix(".npy")
            try:
                start, length = npy_header.length_of(head)
                self._array(label, archive.open(member), archive.head(member, start + length))
            except LimitError:
                raise
            except FormatError as error:
                error.tensor, error.code = error.tensor or label, error.code or "NP05"
                self._checkpoint.faults.append(error)

    def _array(self, name: str, region: Region, head: bytes) -> None:
        header = npy_header.parse(head, self._budget)
        values = PartOf(region, header.start, max(0, region.size - header.start))
        if header.objects:
            self._objects(name, values)
            return
        needed = element_count(header.shape) * header.item
        left = values.size - needed
        if left < 0:
            reason = f"needs {needed:,} bytes, {values.size:,} are there" if needed < 1 << 63 else "is impossibly large"
            raise FormatError(reason, code="NP03", tensor=name, format=NAME)
        for field in header.fields:
            self._budget.value()
            self._place(name, header, field, values)
        if left:
            self.problems.append(Problem("NP04", "warning", f"{left:,} bytes follow the values", name))

    def _place(self, name: str, header: Header, field: Field, values: Region) -> None:
        """One array, or one field of all records."""
        label = f"{name}.{field.name}" if field.name else name
        self._budget.name(len(label))
        count = element_count(header.shape)
        region, shape = values, (*header.shape, *field.shape)
        if field.width != header.item and count:
            region = RecordField(values, 0, count, header.item, field.offset, field.width)
        fortran = header.fortran and len(header.shape) > 1
        if field.dtype is None or (fortran and field.shape):
            code = f"{field.code} (Fortran order)" if fortran else field.code
            self._checkpoint.place_bytes(label, code, shape, region, count * field.width)
        else:
            self._checkpoint.place(label, field.dtype.name, shape, region, fortran=fortran, swap=field.big_endian)

    def _objects(self, name: str, values: Region) -> None:
        """An array of objects: a pickle, which is judged like any other; what it holds is named, nothing is built."""
        from diffai.formats.torch import legacy
        from diffai.formats.torch.document import Document
        from diffai.formats.torch.flatten import flatten
        from diffai.formats.torch.unpickler import Machine
        from diffai.formats.torch.views import view_of

        document = Document(NAME)
        checkpoint = self._checkpoint
        try:
            machine = Machine(values, 0, self._budget, legacy.ALLOWED, checkpoint.spool)
            document.value = legacy.run(machine, document)
        finally:
            self.problems += document.problems
            worst = max((checkpoint.safety, document.safety), key=("", "safe", "builds classes", "unsafe").index)
            checkpoint.safety = worst
        flat = flatten({name: document.value}, self._budget)
        for label, leaf in flat.leaves.items():
            checkpoint.place_view(label, view_of(leaf.value, label), leaf.role)
        checkpoint.texts.update({**flat.metadata, **flat.training})
        checkpoint.kinds.update(flat.classes)
        self.problems += flat.problems


def _read(checkpoint: NumpyCheckpoint, limits: Limits) -> None:
    walk = _Reader(checkpoint, limits)
    try:
        walk.read()
    finally:  # of a damaged file too, what its pickles would do
        checkpoint.problems = tuple(walk.problems)


open_checkpoint, check = reader(NumpyCheckpoint, _read, "NP05")
