"""Plain values of a pickle as short text: the same text means the same value, and another value another text.

Text is itself, save where it could be read as something other than text: then it stands in quotes. Lists are
written as Python writes them, sets sorted; what is long is its size and digest, which is worked out once however
often the file refers to it.
"""

from __future__ import annotations

from diffai.formats.base import Budget
from diffai.formats.layout import DType
from diffai.formats.regions import COPY_BLOCK, BytesRegion, Region, read
from diffai.formats.torch.numpy_pickles import region_of
from diffai.formats.torch.objects import (
    DTYPES,
    Array,
    Global,
    LongBytes,
    LongText,
    NumpyDType,
    PickledSet,
    Stub,
    shown,
)
from diffai.model import Scalar

LONG_STRING = 256
_MANY = 64
_DEEP = 20


class Digest:
    """xxh3-128 of pieces, as text."""

    def __init__(self) -> None:
        import xxhash

        self._state = xxhash.xxh3_128()

    def update(self, data: bytes) -> None:
        """Add bytes."""
        self._state.update(data)

    def __str__(self) -> str:
        return f"xxh3:{self._state.hexdigest()}"


def digest_of(region: Region) -> str:
    """Digest of the bytes of a region."""
    digest = Digest()
    for start in range(0, region.size, COPY_BLOCK):
        digest.update(read(region, start, min(COPY_BLOCK, region.size - start)))
    return str(digest)


class PlainValues:
    """Makes texts of the values of one file, long ones once."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._known: dict[int, tuple[object, Scalar]] = {}

    def scalar(self, value: object) -> Scalar:
        """A plain value as it is; anything else as a text.

        Raises:
            LimitError: texts of all values together are over the budget.

        """
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str) and len(value) <= LONG_STRING:
            return quoted(value)
        known = self._known.get(id(value))
        if known is None:
            self._budget.make(_length(value))
            known = self._known[id(value)] = value, self._text(value)
        return known[1]

    def _text(self, value: object) -> str:
        if isinstance(value, dict) and value:
            return f"<dict of {len(value):,} values {_entries(value)}>"
        items = items_of(value)
        if items is not None:
            return self._sequence(value, items)
        return described(value)

    def _sequence(self, value: object, items: list[object] | tuple[object, ...]) -> str:
        what, start, end = _brackets(value, len(items))
        few = len(items) <= _MANY
        texts = [item_text(item) for item in items] if few or isinstance(value, PickledSet) else None
        if texts is not None and isinstance(value, PickledSet):
            texts.sort()
        if few and texts is not None:
            text = f"{start}{', '.join(texts)}{end}"
            if len(text) <= LONG_STRING:
                return text
        digest = Digest()
        for text in texts if texts is not None else map(item_text, items):
            digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
        return f"<{what} of {len(items):,} values {digest}>"


def _entries(value: dict[object, object]) -> Digest:
    """Digest of keys, with their kinds, and values; their order means nothing."""
    digest = Digest()
    for text in sorted(f"{_kind_name(type(key))} {item_text(key)}: {item_text(item)}" for key, item in value.items()):
        digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
    return digest


def items_of(value: object) -> list[object] | tuple[object, ...] | None:
    """The items of a list, tuple, set or array of objects; () for an empty dictionary; None for anything else."""
    if isinstance(value, PickledSet):
        return value.items
    if isinstance(value, Array):
        return value.data if isinstance(value.data, (list, tuple)) else None
    if isinstance(value, dict):
        return ()
    return value if isinstance(value, (list, tuple)) else None


def _brackets(value: object, count: int) -> tuple[str, str, str]:
    """What a sequence is called, and what stands before and behind its items."""
    if isinstance(value, PickledSet):
        return "set", "{" if count else "set(", "}" if count else ")"
    if isinstance(value, tuple):
        return "tuple", "(", ",)" if count == 1 else ")"
    if isinstance(value, Array):
        kind = kind_label(value)
        return kind, f"<{kind}: ", ">"
    return ("dict", "{", "}") if isinstance(value, dict) else ("list", "[", "]")


def kind_label(value: object) -> str:
    """What kind of container a value is; "" for a dictionary whose keys are all text, which needs no word."""
    if isinstance(value, Array):
        what = "objects" if isinstance(value.data, (list, tuple)) else "records"
        return f"array of {what} {sizes(value.shape)}"
    if isinstance(value, PickledSet):
        return "set"
    if isinstance(value, (list, tuple)):
        return "list" if isinstance(value, list) else "tuple"
    if isinstance(value, dict):
        return _keys_label(value)
    return ""


def _keys_label(value: dict[object, object]) -> str:
    kinds = {type(key) for key in value}
    if kinds <= {str}:
        return ""
    if kinds == {int}:
        return "dict with keys int"
    names = sorted(_kind_name(kind) for kind in kinds)
    digest = Digest()
    for text in sorted(f"{_kind_name(type(key))} {item_text(key)}" for key in value):
        digest.update(text.encode("utf-8", "backslashreplace") + b"\n")
    return f"dict with keys {', '.join(names)} {digest}"


def _kind_name(kind: type) -> str:
    return {"NoneType": "None", "Stub": "object", "Global": "class", "OpaqueKey": "object"}.get(
        kind.__name__, kind.__name__
    )


def item_text(item: object) -> str:
    """One item of a list or key of a dictionary: numbers exactly, text in quotes."""
    if isinstance(item, str):
        return repr(item)
    if isinstance(item, float) and item == 0:
        return "0.0"  # -0.0 is the same number
    if item is None or isinstance(item, (bool, int, float)):
        return repr(item)
    if isinstance(item, tuple) and all(isinstance(part, (str, int, float)) for part in item[:_MANY]):
        return f"({', '.join(map(item_text, item[:_MANY]))},)"
    return described(item)


def quoted(text: str) -> str:
    """Text as it is, in quotes where it could be taken for another kind of value."""
    doubtful = text[:1] in ("(", "[", "{", "<", "'", '"') or text.startswith(("torch.", "set(")) or "... <" in text
    return repr(text) if doubtful else text


def described(value: object, depth: int = 0) -> str:
    """A long or inert value in a few words that differ when the content does."""
    if isinstance(value, str):
        if len(value) <= LONG_STRING:
            return quoted(value)
        digest = Digest()
        digest.update(value.encode("utf-8", "surrogatepass"))
        return f"{value[:64]}... <{len(value):,} characters {digest}>"
    if isinstance(value, (LongText, LongBytes)):
        what = "text in bytes" if isinstance(value, LongText) else "bytes"
        return f"<{value.region.size:,} {what} {digest_of(value.region)}>"
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes {digest_of(BytesRegion(value))}>"
    if isinstance(value, complex):
        return f"({value.real!r}{value.imag:+}j)"
    if isinstance(value, DType):
        return f"torch.{value.torch_name}"
    if isinstance(value, Global):
        return f"torch.{value.name}" if value.module == "torch" and value.name in DTYPES else f"<{class_name(value)}>"
    if isinstance(value, Stub):
        inside = _arguments(value, depth)
        return f"<{class_name(value.of)}({inside if len(inside) <= LONG_STRING else described(inside)})>"
    if isinstance(value, Array):
        region = region_of(value.data)
        code = value.dtype.code if isinstance(value.dtype, NumpyDType) else ""
        return f"<numpy array {code} {sizes(value.shape)} {digest_of(region) if region else ''}>"
    return f"<{type(value).__name__}>"


def _arguments(stub: Stub, depth: int) -> str:
    if depth > _DEEP:
        return "..."
    return ", ".join(described(part, depth + 1) if isinstance(part, Stub) else item_text(part) for part in stub.args)


_OWN_NAMES = frozenset(("NonDynamicallyQuantizableLinear", "LazyModuleMixin"))  # torch.nn does not export them


def class_name(of: Global) -> str:
    """The name of a class, the short public one where torch exports it; printable and bounded."""
    module, name = of.module, of.name
    exported = module.startswith("torch.nn.modules.") and "._" not in f"{module}.{name}" and name not in _OWN_NAMES
    if exported or module == "torch.nn.parameter":
        module = "torch.nn"
    elif module.startswith("torch.optim.") and module.count(".") == 2 and name.lower() == module.rpartition(".")[2]:
        module = "torch.optim"
    elif module.startswith("__torch__"):
        module = ".".join(part for part in module.split(".") if not part.startswith("___torch_mangle_"))
    return shown(f"{module}.{name}", LONG_STRING)


def sizes(value: object) -> str:
    """A shape as text, bounded."""
    if not isinstance(value, (tuple, list)) or not all(isinstance(size, int) for size in value):
        return "[?]"
    return f"[{', '.join(str(size) for size in value[:64])}]"


def _length(value: object) -> int:
    """About how many bytes are made for a value's text; what lies in the file is digested in blocks."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return 64 * len(value)
    items = items_of(value)
    return 64 if items is None else 8 * len(items) if not isinstance(value, PickledSet) else 64 * len(items)
