"""ONNX models whose one weight lies in another file."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


def with_external_data(location: str, count: int = 64) -> bytes:
    """``y = x * w``, ``w`` of ``count`` F32 values at the beginning of ``location``."""
    weight = numpy_helper.from_array(np.zeros(count, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * count))):
        weight.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [count]) for name in ("x", "y")]
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"], name="product")]
    made: ModelProto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight]))
    return bytes(made.SerializeToString())


def data(step: float = 0.0, count: int = 64) -> bytes:
    """The values 0 to ``count``, each ``step`` more."""
    return bytes((np.arange(count, dtype=np.float32) + np.float32(step)).tobytes())
