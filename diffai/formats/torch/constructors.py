"""The allow-list: what a pickle may build, and our own way of building each inertly.

A constructor gets the machine and the pickle's arguments. It raises ValueError or TypeError for arguments that
make no sense, which the machine turns into PT06.
"""

from __future__ import annotations

from copy import copy

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

_PLAIN_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_ITEM = 8  # bytes that a place in a list takes, to count what copies of a container cost
_PAIR = 64  # the same in a dictionary
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
    made.requires_grad = len(args) > 4 and args[4] is True
    if len(args) > 6:
        _bits(made, args[6])
    return made


def _tensor_v3(machine: Machine, args: Args) -> object:
    made = _tensor(machine, args)
    made.dtype = dtype_of(args[6])
    made.requires_grad = args[4] is True
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
    made.requires_grad = len(args) > 5 and args[5] is True
    return made


def _parameter(machine: Machine, args: Args) -> object:
    """``Parameter(data, requires_grad)``: the data, which may be in use as a plain tensor too."""
    data = args[0]
    if not isinstance(data, (*_TENSORS, Stub)):
        raise ValueError
    if isinstance(data, Tensor):
        data = copy(data)
        data.requires_grad = len(args) > 1 and args[1] is True
        if len(args) > 3:
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


def _jagged(machine: Machine, args: Args) -> object:
    """A nested tensor of layout ``jagged``: values with offsets, and lengths where there are holes."""
    (state,) = args
    if not isinstance(state, dict):
        raise ValueError
    parts = tuple((name, state[name]) for name in ("values", "offsets", "lengths") if state.get(name) is not None)
    return Composite(f"nested, ragged dimension {state.get('_ragged_idx')}", parts, ())


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
    if isinstance(made, Tensor) and isinstance(kind, Global) and kind.full not in _PLAIN_TENSORS:
        made.kind = kind
    return made


def _size(machine: Machine, args: Args) -> object:
    value = args[0] if args else ()
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _device(machine: Machine, args: Args) -> object:
    return Stub(Global("torch", "device"), args)


def _version(machine: Machine, args: Args) -> object:
    return args[0] if args and isinstance(args[0], str) else Stub(Global("torch.torch_version", "TorchVersion"), args)


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
        machine.budget.make(_PAIR * len(args[0]))
        made.update(args[0])
    elif args:
        pairs = args[0].items if isinstance(args[0], PickledSet) else args[0]
        if not isinstance(pairs, (list, tuple)):
            raise ValueError
        machine.budget.make(_PAIR * len(pairs))
        for key, value in pairs:
            set_items(made, [key, value])
    return made


def _default_dictionary(machine: Machine, args: Args) -> object:
    return _dictionary(machine, args[1:])


def _sequence(machine: Machine, args: Args) -> list[object]:
    value = args[0] if args else []
    if isinstance(value, PickledSet):
        value = value.items
    if not isinstance(value, (list, tuple)):
        raise ValueError
    machine.budget.make(_ITEM * len(value))
    return list(value)


def _deque(machine: Machine, args: Args) -> object:
    """``deque(items, maxlen)``, which no list equals."""
    made = Stub(Global("collections", "deque"), args[1:])
    made.items = _sequence(machine, args[:1])
    return made


def _tuple(machine: Machine, args: Args) -> object:
    return tuple(_sequence(machine, args))


def _set(machine: Machine, args: Args) -> object:
    return PickledSet(_sequence(machine, args))


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
    return Stub(Global("pathlib", "Path"), ("/".join(map(str, args)).replace("//", "/", 1),))


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
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse_csr,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch.nested._internal.nested_tensor._rebuild_njt": _jagged,
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
    "collections.deque": _deque,
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
CONSTRUCTORS["torch.nested._internal.nested_tensor.NestedTensor"] = _inert


def _range_of_dimension(machine: Machine, args: Args) -> object:
    """What torch's compiler notes on the sizes of a nested tensor; it only holds numbers."""
    return Stub(Global("torch._dynamo.decorators", "_DimRange"), args)


CONSTRUCTORS["torch._dynamo.decorators._DimRange"] = _range_of_dimension
