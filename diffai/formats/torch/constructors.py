"""The allow-list: what a pickle may build, and our own way of building each inertly.

A constructor gets the machine and the pickle's arguments. It raises ValueError or TypeError for arguments that
make no sense, which the machine turns into PT06.
"""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.layout import DType
from diffai.formats.torch import numpy_pickles
from diffai.formats.torch.members import set_items
from diffai.formats.torch.objects import (
    DTYPES,
    STORAGE_DTYPES,
    Array,
    Composite,
    Global,
    PickledSet,
    Recast,
    Storage,
    Stub,
    Tensor,
    Valueless,
    shown,
)
from diffai.formats.torch.unpickler import Constructor, Machine

_TENSORS = (Tensor, Composite, Valueless, Recast, Array)
Args = tuple[object, ...]


def dtype_of(value: object) -> DType:
    """The element type a global such as ``torch.float32`` or ``torch.FloatStorage`` stands for.

    Raises:
        FormatError: it stands for none that is known (PT10).

    """
    if isinstance(value, DType):
        return value
    if isinstance(value, Global):
        found = DTYPES.get(value.name) if value.module == "torch" else None
        if found is None and value.module in ("torch", "torch.cuda", "torch.storage", "torch.sparse"):
            found = STORAGE_DTYPES.get(value.name.lstrip("_"))
        if found is not None:
            return found
        raise FormatError(f"unknown element type {shown(value.full)}", code="PT10", format="torch")
    raise TypeError


# ---------------------------------------------------------------- torch


def _tensor(machine: Machine, args: Args) -> Tensor:
    storage, offset, shape, strides = args[:4]
    return Tensor(storage, offset, shape, strides)


def _tensor_v2(machine: Machine, args: Args) -> object:
    made = _tensor(machine, args)
    if len(args) > 6:
        _bits(made, args[6])
    return made


def _tensor_v3(machine: Machine, args: Args) -> object:
    made = _tensor(machine, args)
    made.dtype = dtype_of(args[6])
    if len(args) > 7:
        _bits(made, args[7])
    return made


def _bits(made: Tensor, metadata: object) -> None:
    if isinstance(metadata, dict):
        made.conj = metadata.get("conj") is True
        made.neg = metadata.get("neg") is True


def _qtensor(machine: Machine, args: Args) -> object:
    made = _tensor(machine, args)
    quantizer = args[4]
    if not isinstance(quantizer, tuple) or not quantizer:
        raise ValueError
    made.quantizer = quantizer
    return made


def _first(machine: Machine, args: Args) -> object:
    """A parameter or variable around its data: the data."""
    data = args[0]
    if not isinstance(data, (*_TENSORS, Stub)):
        raise ValueError
    if isinstance(data, Tensor) and len(args) > 3:
        data.state = args[3]
    return data


def _old_parameter(machine: Machine, args: Args) -> object:
    """``Parameter(data)`` of torch 0.3; a bare class (nothing to wrap) stays inert."""
    if args and isinstance(args[0], _TENSORS):
        return args[0]
    return Stub(Global("torch.nn.parameter", "Parameter"), args)


def _sparse(machine: Machine, args: Args) -> object:
    layout, data = args
    if not isinstance(layout, str) or not isinstance(data, tuple):
        raise ValueError
    if layout == "torch.sparse_coo":
        parts: tuple[tuple[str, object], ...] = (("indices", data[0]), ("values", data[1]))
        return Composite("sparse COO", parts, data[2])
    first, second = ("crow_indices", "col_indices") if layout.endswith(("csr", "bsr")) else (
        "ccol_indices", "row_indices")  # fmt: skip
    kind = "sparse " + layout.rpartition("_")[2].upper()
    return Composite(kind, ((first, data[0]), (second, data[1]), ("values", data[2])), data[3])


def _sparse_csr(machine: Machine, args: Args) -> object:
    return _sparse(machine, ("torch.sparse_csr", args[1]))


def _nested(machine: Machine, args: Args) -> object:
    names = ("values", "sizes", "strides", "offsets")
    return Composite("nested", tuple(zip(names, args, strict=True)), None)


def _layout(machine: Machine, args: Args) -> object:
    if not isinstance(args[0], str):
        raise ValueError
    return args[0]


def _through_numpy(machine: Machine, args: Args) -> object:
    return Recast(args[0], dtype_of(args[1]))


def _meta(machine: Machine, args: Args) -> object:
    return Valueless(args[0], args[1])


def _wrapper_subclass(machine: Machine, args: Args) -> object:
    if not isinstance(args[0], Global):
        raise ValueError
    return Stub(args[0], ())


def _from_type(machine: Machine, args: Args) -> object:
    """A tensor of a Python subclass: the tensor, or the inert subclass with its inner tensors as state."""
    function, kind, inner, state = args
    made = machine.call(function, inner)
    if isinstance(made, (Stub, Tensor)):
        made.state = state
    if isinstance(made, Stub) and isinstance(kind, Global):
        made.of = kind
    return made


def _size(machine: Machine, args: Args) -> object:
    value = args[0] if args else ()
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _device(machine: Machine, args: Args) -> object:
    return ":".join(str(part) for part in args if isinstance(part, (str, int)))


def _version(machine: Machine, args: Args) -> object:
    return args[0] if args and isinstance(args[0], str) else Stub(Global("torch.torch_version", "TorchVersion"), args)


def _load_from_bytes(machine: Machine, args: Args) -> object:
    """A whole legacy torch file inside the pickle: how plain pickle writes a storage."""
    from diffai.formats.torch.legacy import nested_storage

    data = numpy_pickles.region_of(args[0])
    if data is None:
        raise ValueError
    return nested_storage(machine, data)


def _typed_storage(machine: Machine, args: Args) -> object:
    if args and isinstance(args[0], Storage):
        return args[0]
    return Stub(Global("torch.storage", "TypedStorage"), args)


def _script_list(machine: Machine, args: Args) -> object:
    return args[0]


# ---------------------------------------------------------------- plain Python


def _dictionary(machine: Machine, args: Args) -> object:
    """dict, OrderedDict, Counter: from nothing, pairs, or another dictionary."""
    made: dict[object, object] = {}
    if args and isinstance(args[0], dict):
        made.update(args[0])
    elif args:
        pairs = args[0].items if isinstance(args[0], PickledSet) else args[0]
        if not isinstance(pairs, (list, tuple)):
            raise ValueError
        for key, value in pairs:
            set_items(made, [key, value])
    return made


def _default_dictionary(machine: Machine, args: Args) -> object:
    return _dictionary(machine, args[1:])


def _sequence(machine: Machine, args: Args) -> object:
    value = args[0] if args else []
    if isinstance(value, PickledSet):
        value = value.items
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return list(value)


def _tuple(machine: Machine, args: Args) -> object:
    made = _sequence(machine, args)
    return tuple(made) if isinstance(made, list) else made


def _set(machine: Machine, args: Args) -> object:
    made = _sequence(machine, args)
    return PickledSet(made if isinstance(made, list) else [])


def _complex(machine: Machine, args: Args) -> object:
    numbers = [part for part in args if isinstance(part, (int, float))]
    if len(numbers) != len(args) or len(numbers) > 2:
        raise ValueError
    return complex(*numbers)


def _scalar_of(kind: type) -> Constructor:
    def build(machine: Machine, args: Args) -> object:
        value = args[0] if args else kind()
        return value if isinstance(value, (str, int, float)) else Stub(Global("builtins", kind.__name__), args)

    return build


def _path(machine: Machine, args: Args) -> object:
    if not all(isinstance(part, str) for part in args):
        raise ValueError
    parts = [str(part) for part in args]
    return "/".join(parts).replace("//", "/", 1)


def _reconstructor(machine: Machine, args: Args) -> object:
    kind, base, state = args
    if isinstance(base, Global) and base.full != "builtins.object":
        machine.judge(base, "reduce", 1)  # its __new__ and __init__ are called with the state
    if isinstance(base, Global) and base.full in ("builtins.dict", "builtins.list", "builtins.tuple"):
        return machine.call(kind, () if state is None else (state,), "new")
    return machine.call(kind, (), "new")


def _newobj(machine: Machine, args: Args) -> object:
    return machine.call(args[0], tuple(args[1:]), "new")


def _newobj_ex(machine: Machine, args: Args) -> object:
    kind, inner, _keywords = args
    return machine.call(kind, inner, "new")


CONSTRUCTORS: dict[str, Constructor] = {
    **numpy_pickles.CONSTRUCTORS,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _qtensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse_csr,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_device_tensor_from_numpy": _through_numpy,
    "torch._utils._rebuild_xla_tensor": _through_numpy,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _through_numpy,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper_subclass,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.tensor._rebuild_from_type": _from_type,
    "torch.nn.parameter.Parameter": _old_parameter,
    "torch.nn.parameter.Buffer": _old_parameter,
    "torch.autograd.variable.Variable": _old_parameter,
    "torch.serialization._get_layout": _layout,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.storage.TypedStorage": _typed_storage,
    "torch.storage._TypedStorage": _typed_storage,
    "torch.storage.UntypedStorage": _typed_storage,
    "torch.storage._UntypedStorage": _typed_storage,
    "torch.UntypedStorage": _typed_storage,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.torch_version.TorchVersion": _version,
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": _default_dictionary,
    "collections.deque": _sequence,
    "builtins.dict": _dictionary,
    "builtins.list": _sequence,
    "builtins.tuple": _tuple,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.complex": _complex,
    "builtins.str": _scalar_of(str),
    "builtins.int": _scalar_of(int),
    "builtins.float": _scalar_of(float),
    "builtins.bool": _scalar_of(bool),
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _newobj,
    "copyreg.__newobj_ex__": _newobj_ex,
}
for _name in ("PurePath", "PurePosixPath", "PureWindowsPath", "Path", "PosixPath", "WindowsPath"):
    CONSTRUCTORS[f"pathlib.{_name}"] = CONSTRUCTORS[f"pathlib._local.{_name}"] = _path
for _name in ("intlist", "doublelist", "boollist", "tensorlist"):
    CONSTRUCTORS[f"torch.jit._pickle.build_{_name}"] = _script_list
for _name in ("restore_type_tag", "build_tensor_from_id"):
    CONSTRUCTORS[f"torch.jit._pickle.{_name}"] = _script_list


def _inert(machine: Machine, args: Args) -> object:
    """Element types, quantization schemes and the like are named, never called."""
    raise ValueError


for _name in (*DTYPES, *STORAGE_DTYPES, "per_tensor_affine", "per_channel_affine", "per_tensor_symmetric",
              "per_channel_symmetric", "per_channel_affine_float_qparams", "strided", "sparse_coo"):  # fmt: skip
    for _module in ("torch", "torch.cuda", "torch.storage"):
        CONSTRUCTORS.setdefault(f"{_module}.{_name}", _inert)
for _name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"):
    CONSTRUCTORS[f"ml_dtypes.{_name}"] = _inert
CONSTRUCTORS["numpy.ndarray"] = _inert
