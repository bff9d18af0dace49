"""Which globals a pickle may name, by exact (module, name) and by what is done with it. Nothing here is a pattern.

Three verdicts. *safe*: the constructors that ``torch.load(weights_only=True)`` and numpy need, each of which runs no
code of the file's choice. *class*: public names of known libraries, enumerated in ``classes.json`` with the operations
permitted on each; loading imports the library and builds the object. *unsafe*: every other name, and every other
operation. Attribute walks (a dotted name), calls of what a call made, and BUILD onto a name are unsafe always.

To permit one more class, add it to ``classes.json``: operations are ``import`` (mentioned; always included), ``new``
(NEWOBJ), ``build`` (BUILD of its instances), ``reduce/A-B`` (called with A to B arguments).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from diffai.formats.torch.objects import DTYPES, STORAGE_DTYPES

Verdict = Literal["safe", "class", "unsafe"]
Operation = Literal["reduce", "new", "build"]
Use = Literal["import", "construct", "walk"]

_TORCH_UTILS = (
    "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor", "_rebuild_parameter",
    "_rebuild_parameter_with_state", "_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor", "_rebuild_nested_tensor",
    "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_xla_tensor",
    "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass",
)  # fmt: skip
_SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric",
            "per_channel_affine_float_qparams", "strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr",
            "sparse_bsc", "jagged")  # fmt: skip
_TENSORS = ("FloatTensor", "DoubleTensor", "HalfTensor", "BFloat16Tensor", "CharTensor", "ByteTensor", "ShortTensor",
            "IntTensor", "LongTensor", "BoolTensor")  # fmt: skip
_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
_NUMPY_DTYPES = ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32",
                 "Float64", "Complex64", "Complex128", "LongDouble", "Str", "Bytes", "Object", "Void")  # fmt: skip

SAFE: frozenset[tuple[str, str]] = frozenset((
    *(("torch._utils", name) for name in _TORCH_UTILS),
    *(("torch", name) for name in (*DTYPES, *STORAGE_DTYPES, *_SCHEMES, *_TENSORS)),
    *(("torch.cuda", name) for name in (*STORAGE_DTYPES, *_TENSORS)),
    *(("torch.storage", name) for name in ("TypedStorage", "_TypedStorage", "UntypedStorage", "_UntypedStorage")),
    ("torch.storage", "_load_from_bytes"),  # torch.load of bytes: they are judged like a file
    ("torch", "UntypedStorage"), ("torch", "Tensor"), ("torch._tensor", "Tensor"), ("torch.tensor", "Tensor"),
    ("torch", "Size"), ("torch", "device"), ("torch.serialization", "_get_layout"),
    ("torch._tensor", "_rebuild_from_type"), ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.tensor", "_rebuild_from_type"),
    ("torch.nn.parameter", "Parameter"), ("torch.nn.parameter", "Buffer"),
    ("torch.nn.parameter", "UninitializedParameter"), ("torch.nn.parameter", "UninitializedBuffer"),
    ("torch.nn", "Parameter"), ("torch.nn", "Buffer"),
    # Of nested tensors with layout jagged; torch registers them as safe itself.
    ("torch.nested._internal.nested_tensor", "_rebuild_njt"), ("torch.nested._internal.nested_tensor", "NestedTensor"),
    ("torch._dynamo.decorators", "_DimRange"),
    ("torch.autograd.variable", "Variable"),
    *(("torch.jit._pickle", name) for name in ("build_intlist", "build_doublelist", "build_boollist",
                                               "build_tensorlist", "restore_type_tag", "build_tensor_from_id")),
    ("collections", "OrderedDict"), ("collections", "Counter"),
    ("builtins", "set"), ("builtins", "complex"), ("builtins", "bytearray"),
    ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("copyreg", "__newobj_ex__"),  # what they call is judged
    ("_codecs", "encode"),
    ("numpy", "dtype"), ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
    ("numpy.multiarray", "_reconstruct"), ("numpy.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    *(("numpy.dtypes", f"{name}DType") for name in _NUMPY_DTYPES), ("numpy.dtypes", "dtype"),
    *(("ml_dtypes", name) for name in _ML_DTYPES),
))  # fmt: skip


@lru_cache(1)
def classes() -> dict[tuple[str, str], tuple[str, ...]]:
    """The operations permitted on each enumerated class, by (module, name)."""
    import json
    import os

    with open(os.path.join(os.path.dirname(__file__), "classes.json"), encoding="utf-8") as file:
        table = json.load(file)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for operations, modules in table.items():
        for module, names in modules.items():
            for name in names.split():
                found[module, name] = (*found.get((module, name), ()), *operations.split())
    return found


def of_name(module: str, name: str) -> Verdict:
    """What naming ``module.name`` in a pickle means for whoever would load it with plain pickle."""
    if (module, name) in SAFE:
        return "safe"
    return "class" if (module, name) in classes() else "unsafe"


def of_operation(module: str, name: str, operation: Operation, arguments: int) -> Verdict:
    """The same for calling it with so many ``arguments``, making an instance of it, or giving one its state."""
    if (module, name) in SAFE:
        return "safe"
    for permitted in classes().get((module, name), ()):
        word, _, arity = permitted.partition("/")
        if word == operation:
            low, _, high = arity.partition("-")
            if not arity or int(low) <= arguments <= int(high):
                return "class"
    return "unsafe"
