"""Programs of ``torch.export`` (``.pt2``): a zip of weights as raw bytes, their layout and the graph as JSON.

Archives of torch 2.9 and newer are read (the PT2 Archive Spec); of older ones, whose state is a torch file inside, that
file is. Compiled code inside (AOTInductor) is named as unsafe and never loaded.

==== ======================================================================================================
code reason
==== ======================================================================================================
P201 the archive has no weights of a program
P202 a configuration that is no JSON of the kind that it should be, or longer than ``diffai.maxHeader``
P203 a weight that is missing, or whose sizes, strides, dtype and bytes do not fit one another
P204 warning: sample inputs or custom objects, which are pickled, and not read
P205 compiled code (a shared library, a GPU binary), which runs when the program is loaded
==== ======================================================================================================

What is wrong with the archive is numbered as in :mod:`diffai.formats.zip`, with pickles as in
:mod:`diffai.formats.torch`.
"""

from __future__ import annotations

import json

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.digests import region_digest, shortened
from diffai.formats.regions import Region, RegionSource, read
from diffai.formats.stored import StoredCheckpoint, reader
from diffai.formats.zip import Archive
from diffai.frozen import replace
from diffai.model import Checkpoint, Problem, Scalar, TensorSpec
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

NAME = "torch-export"
_PLACES = ("data/weights/", "data/constants/", "data/sample_inputs/", "data/aotinductor/", "models/", "archive_format",
           "archive_version")  # fmt: skip
_OLDER = "serialized_exported_program.json"
_OLDER_STATE = ("serialized_state_dict.pt", "serialized_constants.pt")
_DTYPES = {1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 9: "C32", 10: "C64",
           11: "C128", 12: "BOOL", 13: "BF16", 28: "U16", 29: "F8_E4M3", 30: "F8_E5M2", 31: "F8_E4M3FNUZ",
           32: "F8_E5M2FNUZ", 33: "F8_E8M0", 34: "U32", 35: "U64"}  # fmt: skip
_STRIDED = 7
_COMPILED = (".so", ".cubin", ".hsaco", ".o", ".cpp", ".spv", ".dll", ".dylib", ".pyd")
_LONGEST_LINE = 400


class Pt2Checkpoint(StoredCheckpoint):
    """An opened program."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, NAME, limits.max_spool)
        self.values: dict[str, Scalar] = {}
        self.lines: dict[str, str] = {}
        self.asked: set[str] = set()
        self.inner: list[Checkpoint] = []
        self.metadata, self.graph = self.values, self.lines

    def release(self) -> None:
        """Close the files inside."""
        for checkpoint in self.inner:
            checkpoint.close()
        super().release()


class _Inside:
    """The values of a tensor of another checkpoint."""

    file_offset = -1

    def __init__(self, checkpoint: Checkpoint, spec: TensorSpec) -> None:
        self._checkpoint, self._spec, self.size = checkpoint, spec, spec.nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._checkpoint.read_into(self._spec, offset, buffer)


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a zip whose first member is one that only exported programs have."""
    if head[:4] != b"PK\x03\x04":
        return False
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")
    if member.partition("/")[2].startswith(_PLACES) or member in (_OLDER, *_OLDER_STATE):
        return True
    return _OLDER.encode() in head or (name.lower().endswith(".pt2") and not member.endswith("data.pkl"))


def _wrong(reason: str, code: str, name: str = "") -> FormatError:
    return FormatError(reason, code=code, tensor=name, format=NAME)


class _Reader:
    """One walk over an archive."""

    def __init__(self, checkpoint: Pt2Checkpoint, limits: Limits) -> None:
        self._checkpoint, self._limits, self._budget = checkpoint, limits, Budget(limits)
        self._archive = Archive(checkpoint.source, self._budget, checkpoint.spool, format=NAME)
        if limits.values:
            self._archive.verify()
        first = next(iter(self._archive.members), "")
        older = _OLDER in self._archive.members or any(name in self._archive.members for name in _OLDER_STATE)
        self._top = "" if older else first.partition("/")[0] + "/"
        self._problems: list[Problem] = []
        self._verdicts: set[str] = set()

    def whole(self) -> None:
        """Add weights, constants and graph; name what else there is."""
        names = [name[len(self._top) :] for name in self._archive.members if name.startswith(self._top)]
        configurations = [name for name in names if name.endswith(("_weights_config.json", "_constants_config.json"))]
        try:
            for name in configurations:
                self._weights(name, len([n for n in configurations if n.endswith("_weights_config.json")]) > 1)
            for name in names:
                if name in _OLDER_STATE:
                    self._older(name)
                elif name == _OLDER or (name.startswith("models/") and name.endswith(".json")):
                    self._graph(name)
            if not configurations and not any(name in _OLDER_STATE for name in names):
                raise _wrong("has no weights of a program", "P201")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _wrong("has a configuration that does not say what it should", "P202") from error
        self._others(names)
        self._checkpoint.requires_grad = frozenset(self._checkpoint.asked)
        self._checkpoint.problems = tuple(self._problems)
        for verdict in ("unsafe", "builds classes", "safe"):
            if verdict in self._verdicts:
                self._checkpoint.safety = verdict
                break

    def _region(self, name: str) -> Region:
        member = self._archive.find(self._top + name)
        if member is None:
            raise _wrong(f"has no {name[:200]}", "P203")
        return self._archive.open(member)

    def _json(self, name: str) -> Any:
        region = self._region(name)
        if region.size > self._limits.max_header:
            raise LimitError(f"has a {name} of {region.size:,} bytes (diffai.maxHeader lifts the limit)", code="P202")
        self._budget.make(region.size)
        try:
            return json.loads(read(region, 0, region.size))
        except (ValueError, RecursionError) as error:
            raise _wrong(f"has a {name} that is no JSON ({str(error)[:100]})", "P202") from error

    # ---------------------------------------------------------------- weights

    def _weights(self, name: str, several: bool) -> None:
        """All weights that a configuration names."""
        folder, _, file = name.rpartition("/")
        prefix = file.partition("_weights_config")[0] + "." if several and "_weights" in file else ""
        first: dict[tuple[object, ...], str] = {}
        for key, entry in self._json(name)["config"].items():
            self._budget.value()
            self._budget.name(len(prefix) + len(key))
            path, meta = f"{folder}/{entry['path_name']}", entry["tensor_meta"]
            if meta is None:
                self._checkpoint.lines[f"constant {key}"] = "custom object, not read"
                self._problems.append(Problem("P204", "warning", "is a pickled custom object, not read", key))
            elif entry["use_pickle"]:
                self._pickled(prefix + key, path)
            else:
                self._raw(prefix + key, path, meta, first)
            if meta and meta["requires_grad"]:
                self._checkpoint.asked.add(prefix + key)

    def _raw(self, name: str, path: str, meta: dict[str, Any], first: dict[tuple[object, ...], str]) -> None:
        dtype = _DTYPES.get(meta["dtype"], "")
        if not dtype or meta["layout"] != _STRIDED:
            raise _wrong(f"has the dtype {meta['dtype']} and layout {meta['layout']}, not read", "P203", name)
        shape, strides = (tuple(int(size["as_int"]) for size in meta[key]) for key in ("sizes", "strides"))
        start = int(meta["storage_offset"]["as_int"])
        tied = first.setdefault((path, dtype, shape, strides, start), name)
        alias = tied if tied != name else ""
        self._checkpoint.place_strided(name, dtype, shape, strides, self._region(path), start, alias_of=alias)

    def _inner(self, path: str) -> Checkpoint:
        """A torch file inside, by the reader of torch files."""
        from diffai.formats import torch

        limits = replace(self._limits, allow_torch=False)
        found = torch.open_checkpoint(RegionSource(self._region(path), self._checkpoint.source.label), limits)
        self._checkpoint.inner.append(found)
        self._problems += found.problems
        self._verdicts.add(found.safety)
        return found

    def _pickled(self, name: str, path: str) -> None:
        inner = self._inner(path)
        for number, spec in enumerate(inner.tensors.values()):
            own = name if not number else f"{name}.{spec.name}"
            self._checkpoint.place(own, spec.values_dtype, spec.shape, _Inside(inner, spec))

    def _older(self, path: str) -> None:
        inner = self._inner(path)
        self._checkpoint.asked |= inner.requires_grad
        for spec in inner.tensors.values():
            values = _Inside(inner, spec)
            self._checkpoint.place(spec.name, spec.values_dtype, spec.shape, values, alias_of=spec.alias_of)
        for key, value in inner.metadata.items():
            self._checkpoint.values.setdefault(key, value)

    # ---------------------------------------------------------------- graph

    def _graph(self, name: str) -> None:
        """Inputs, outputs, operators and nodes of a program; stack traces are left aside."""
        program = self._json(name)
        values, lines = self._checkpoint.values, self._checkpoint.lines
        values["torch_version"] = program.get("torch_version")
        for domain, version in program.get("opset_version", {}).items():
            lines[f"opset {domain}"] = str(version)
        module = program["graph_module"]
        graph, counts = module["graph"], dict[str, int]()
        for node in graph["nodes"]:
            self._budget.step()
            self._budget.value()
            target = str(node["target"]).removeprefix("torch.ops.")
            counts[target] = counts.get(target, 0) + 1
            words = ", ".join(_argument(item["arg"]) for item in node["inputs"])
            outputs = "+".join(_argument(item) for item in node["outputs"])
            lines[f"node {outputs}"[:_LONGEST_LINE]] = shortened(f"{target}({words})", _LONGEST_LINE)
        lines |= {f"operator {target}": str(count) for target, count in counts.items()}
        tensors = graph.get("tensor_values", {})
        for kind in ("input", "output"):
            for spec in module["signature"][f"{kind}_specs"]:
                given = spec.get(f"user_{kind}")
                if given is not None:
                    what = _argument(given["arg"])
                    lines[f"{kind} {what}"[:_LONGEST_LINE]] = _described(tensors.get(what))

    def _others(self, names: list[str]) -> None:
        """What is neither weights nor graph: compiled code, samples, files of the author's."""
        asides: dict[str, str] = {}
        for name in names:
            if name.lower().endswith(_COMPILED):
                self._problems.append(Problem("P205", "error", f"compiled code in {name[:200]} (never loaded)"))
                self._verdicts.add("unsafe")
            if name.startswith("data/sample_inputs/") or name == "serialized_example_inputs.pt":
                asides["sample inputs"] = self._digest(name)
            elif name.lower().endswith(_COMPILED) or name.startswith(("extra/", "data/aotinductor/")):
                self._checkpoint.values[f"file {name}"] = self._digest(name)
        self._checkpoint.asides = asides

    def _digest(self, name: str) -> str:
        region = self._region(name)
        return f"{region.size:,} bytes, {region_digest(region)}"


def _argument(arg: Any) -> str:
    """An argument of a node in a word: the name of a value, a number, a list of these."""
    if not isinstance(arg, dict) or not arg:
        return shortened(json.dumps(arg), _LONGEST_LINE)
    value: Any = next(iter(arg.values()))
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"])
    if isinstance(value, list):
        words = (_argument(item) if isinstance(item, dict) else json.dumps(item) for item in value)
        return shortened(f"[{', '.join(words)}]", _LONGEST_LINE)
    return shortened(json.dumps(value), _LONGEST_LINE)


def _described(meta: Any) -> str:
    """Dtype and sizes of an input or output; symbolic sizes by their expression."""
    if not isinstance(meta, dict):
        return "value"
    sizes: list[Literal["?"] | str] = []
    for size in meta["sizes"]:
        found = size.get("as_int")
        sizes.append(str(found) if found is not None else str(size.get("as_expr", {}).get("expr_str", "?"))[:100])
    return f"{_DTYPES.get(meta['dtype'], '?')} [{', '.join(sizes)}]"


def _read(checkpoint: Pt2Checkpoint, limits: Limits) -> None:
    _Reader(checkpoint, limits).whole()


open_checkpoint, check = reader(Pt2Checkpoint, _read, "P203")
