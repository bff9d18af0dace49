"""From what a pickle says of a tensor to a validated view of bytes: bounds, strides, byte order, quantization."""

from __future__ import annotations

from functools import lru_cache

from diffai.errors import FormatError
from diffai.formats.layout import DType, Quantizer, View, is_contiguous, row_major
from diffai.formats.regions import PartOf, Region
from diffai.formats.torch.constructors import dtype_of
from diffai.formats.torch.numpy_pickles import element_type, region_of
from diffai.formats.torch.objects import Array, Global, NumpyDType, Recast, Storage, Tensor
from diffai.model import element_count

MAX_DIMENSIONS = 64
_MAX_ELEMENTS = 1 << 60


def view_of(leaf: object, name: str) -> View:
    """Validate a tensor, array or bare storage.

    Raises:
        FormatError: bytes missing (PT07, PT08), shape or strides impossible (PT09), element type unknown (PT10).

    """
    try:
        if isinstance(leaf, Tensor):
            return _tensor(leaf, name)
        if isinstance(leaf, Array):
            return _array(leaf, name)
        if isinstance(leaf, Storage):
            elements = leaf.size // leaf.dtype.size
            return _tensor(Tensor(leaf, 0, (elements,), (1,)), name)
        if isinstance(leaf, Recast):
            return _recast(leaf, name)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad("is described by nonsense", name) from error
    raise _bad("is no tensor", name)


def _bad(what: str, name: str, code: str = "PT09") -> FormatError:
    return FormatError(what, code=code, tensor=name)


def sizes(value: object, name: str, what: str) -> tuple[int, ...]:
    """A shape or strides as a tuple of non-negative integers, checked."""
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS:
        raise _bad(f"has no valid {what}", name)
    for size in value:
        if type(size) is not int or not 0 <= size <= _MAX_ELEMENTS:
            raise _bad(f"has a {what} with an impossible number", name)
    return tuple(value)


@lru_cache(512)
def _layout(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int, bool, tuple[int, ...]]:
    """Elements; the last one reached from the first; whether contiguous; strides that mean something.

    Ten thousand tensors have few layouts. Both tuples must have come through :func:`sizes`: True is not 1 here.
    """
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    kept = tuple(0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True))
    return element_count(shape), last, is_contiguous(shape, strides), kept


def _count(count: int, name: str) -> int:
    if count > _MAX_ELEMENTS:
        raise _bad(f"has an impossible number of elements, {count:.2e}" if count < 1 << 900 else
                   "has an impossible number of elements", name)  # fmt: skip
    return count


def _bounds(tensor: Tensor, storage: Storage, dtype: DType, name: str) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, strides and storage offset in elements, all inside the storage."""
    shape = sizes(tensor.shape, name, "shape")
    strides = sizes(tensor.strides, name, "stride")
    if len(strides) != len(shape):
        raise _bad(f"has {len(shape)} dimensions and {len(strides)} strides", name)
    offset = tensor.offset
    if type(offset) is not int or not 0 <= offset <= _MAX_ELEMENTS:
        raise _bad("has an impossible storage offset", name)
    elements, reach, _, _ = _layout(shape, strides)
    count, last = _count(elements, name), offset + reach
    if count and ((last + 1) * dtype.bits + 7) // 8 > storage.size:
        raise _bad(
            f"reaches element {last:,} of a storage of {storage.size * 8 // dtype.bits:,} elements", name
        )  # fmt: skip
    return shape, strides, offset


def _bytes_of(storage: Storage, name: str) -> tuple[Region | None, Storage, int]:
    """The bytes behind a storage, the root storage, and where in it this one starts."""
    root, start = (storage, 0) if storage.base is None else (storage.base, storage.start)
    if root.trouble is not None:
        trouble = root.trouble
        raise FormatError(trouble.reason, code=trouble.code, tensor=name, offset=trouble.offset, format=trouble.format)
    if storage.base is not None and start + storage.size > root.size:
        raise _bad("lies in a storage view that is larger than its storage", name)
    return root.region, root, start


def _tensor(tensor: Tensor, name: str) -> View:
    storage = tensor.storage
    if not isinstance(storage, Storage):
        raise _bad("has no storage", name)
    dtype = tensor.dtype or storage.dtype
    shape, strides, offset = _bounds(tensor, storage, dtype, name)
    region, root, start = _bytes_of(storage, name)
    _, _, contiguous, kept = _layout(shape, strides)
    if dtype.bits < 8 and (not contiguous or offset):
        raise _bad(f"is a packed {dtype.torch_name} tensor that is not contiguous", name, "PT10")
    quantizer = _quantizer(tensor.quantizer, dtype, shape, name)
    if dtype.torch_name == "float4_e2m1fn_x2":
        if not (contiguous and shape):
            raise _bad("is a packed F4 tensor that is not contiguous", name, "PT10")
        start, offset = start + offset, 0
        dtype = DType("F4", 1, "float4", bits=4)
        shape = (*shape[:-1], shape[-1] * 2)
        strides = row_major(shape)
        kept = _layout(shape, strides)[3]
    if 0 not in shape and region is None:
        raise _bad("has no storage", name, "PT07")
    return View(
        region, start + offset * dtype.size, dtype, shape, strides, contiguous, storage.swap,
        tensor.conj, tensor.neg, quantizer,
        identity=(id(root), start + offset * dtype.size, dtype.name, shape, kept, tensor.conj, tensor.neg,
                  quantizer.described if quantizer else ""),
    )  # fmt: skip


def _quantizer(parts: tuple[object, ...], dtype: DType, shape: tuple[int, ...], name: str) -> Quantizer | None:
    if not parts:
        return None
    scheme = parts[0].name if isinstance(parts[0], Global) else ""
    if dtype.name not in ("QI8", "QU8", "QI32"):
        return None
    if scheme in ("per_tensor_affine", "per_tensor_symmetric"):
        _, scale, zero_point = parts
        if not isinstance(scale, (int, float)) or not isinstance(zero_point, int) or abs(zero_point) >> 31:
            raise _bad("has a damaged quantizer", name, "PT06")
        return Quantizer(float(scale), zero_point)
    if not scheme.startswith("per_channel"):
        raise _bad(f"has an unknown quantizer {scheme[:40]!r}", name, "PT10")
    _, scales, zero_points, axis = parts
    if type(axis) is not int or not 0 <= axis < len(shape):
        raise _bad("has a damaged quantizer", name, "PT06")
    views = (view_of(scales, name), view_of(zero_points, name))
    if any(view.shape != (shape[axis],) or view.quantizer for view in views):
        raise _bad(f"has quantizer scales that are not {shape[axis]:,} numbers", name, "PT06")
    return Quantizer(scales=views[0], zero_points=views[1], axis=axis)


def _array(array: Array, name: str) -> View:
    dtype = element_type(array.dtype)
    if dtype is None:
        raise _bad("is an array of no numbers", name, "PT25")
    shape = sizes(array.shape, name, "shape")
    region = region_of(array.data)
    wanted = _count(element_count(shape), name) * dtype.size
    if region is None or region.size != wanted:
        raise _bad(f"has {region.size if region else 0:,} bytes, its shape needs {wanted:,}", name, "PT08")
    strides = row_major(shape)
    if array.fortran:
        strides = tuple(reversed(row_major(tuple(reversed(shape)))))
    swap = isinstance(array.dtype, NumpyDType) and array.dtype.big_endian
    return View(PartOf(region, 0, region.size), 0, dtype, shape, strides, is_contiguous(shape, strides), swap,
                identity=(id(array),))  # fmt: skip


def _recast(leaf: Recast, name: str) -> View:
    view = view_of(leaf.data, name)
    return View(view.region, view.start, view.dtype, view.shape, view.strides, view.contiguous, view.swap, view.conj,
                view.neg, view.quantizer, leaf.dtype.name, (id(leaf),))  # fmt: skip


def dtype_name(value: object) -> str:
    """Name of an element type, for tensors without values."""
    return dtype_of(value).name
