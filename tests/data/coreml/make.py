"""Make the files beside this script, and expected.json with what coremltools itself says of their weights.

    python tests/data/coreml/make.py        # with coremltools installed; it need not be macOS
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.models import MLModel, datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.neural_network import quantization_utils as quantization
from coremltools.models.tree_ensemble import TreeEnsembleRegressor
from coremltools.proto import Model_pb2

HERE = Path(__file__).parent
RNG = np.random.default_rng(0)
EXPECTED: dict[str, dict[str, object]] = {}


def kept(array: np.ndarray) -> list[object]:  # type: ignore[type-arg]
    return [list(array.shape), base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()]


def save_package(name: str, model: MLModel) -> None:
    """A package; only one keeps its manifest, whose identifiers are other ones each time."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/m.mlpackage")
        found = Path(folder, "m.mlpackage")
        target = HERE / f"{name}.mlpackage"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(found, target)
        if name != "plain":
            (target / "Manifest.json").unlink()
    dense = cto.decompress_weights(model) if name != "plain" else model
    weights = cto.get_weights_metadata(dense, weight_threshold=0)
    EXPECTED[name] = {key: kept(value.val) for key, value in weights.items() if value.val.ndim > 1}


def programs() -> None:
    kernel, matrix = RNG.normal(size=(8, 3, 3, 3)).astype("f4"), RNG.normal(size=(10, 8)).astype("f4")

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 8, 8))])
    def program(x):  # type: ignore[no-untyped-def]
        x = mb.conv(x=x, weight=kernel, bias=np.arange(8).astype("f4"), name="c1")
        x = mb.reduce_mean(x=mb.relu(x=x, name="r"), axes=[2, 3], name="m")
        return mb.linear(x=x, weight=matrix, bias=np.ones(10, "f4"), name="fc")

    def palette(bits: int, **more: object) -> object:
        return cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0, **more))

    def line(**more: object) -> object:
        return cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=0, **more))

    older = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16, skip_model_load=True)
    newer = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
    save_package("plain", older)
    for bits in (2, 4, 6):
        save_package(f"palette{bits}", cto.palettize_weights(older, palette(bits)))
    save_package("palette3", cto.palettize_weights(newer, palette(3)))
    save_package("palettes4", cto.palettize_weights(newer, palette(4, granularity="per_grouped_channel", group_size=2)))
    save_package("affine", cto.linear_quantize_weights(older, line(mode="linear", dtype="uint8")))
    save_package("symmetric", cto.linear_quantize_weights(older, line(mode="linear_symmetric")))
    save_package("blockwise", cto.linear_quantize_weights(newer, line(dtype="int4", granularity="per_block", block_size=1)))
    pruner = cto.OptimizationConfig(cto.OpThresholdPrunerConfig(threshold=0.9, weight_threshold=0, minimum_sparsity_percentile=0.1))
    save_package("sparse", cto.prune_weights(older, pruner))
    save_package("sparse_mask", cto.prune_weights(newer, pruner))


def networks() -> None:
    inputs, outputs = [("x", datatypes.Array(3, 4, 4))], [("y", datatypes.Array(5))]
    builder = NeuralNetworkBuilder(inputs, outputs, disable_rank5_shape_mapping=True)
    kernel = RNG.normal(size=(3, 3, 3, 4)).astype("f4")  # height, width, inputs, outputs
    builder.add_convolution("conv", 3, 4, 3, 3, 1, 1, "same", 1, kernel, np.ones(4, "f4"), True, input_name="x", output_name="c")
    builder.add_activation("act", "RELU", "c", "a")
    gains = [RNG.random(4).astype("f4").tolist() for _ in range(4)]
    builder.add_batchnorm("norm", 4, *map(np.array, gains), input_name="a", output_name="n")
    builder.add_flatten("flat", 0, "n", "f")
    matrix = RNG.normal(size=(5, 64)).astype("f4")
    builder.add_inner_product("fc", matrix, np.zeros(5, "f4"), 64, 5, True, "f", "y")
    plain = MLModel(builder.spec, skip_model_load=True)
    models = {"network": plain}
    for bits, mode in ((8, "linear"), (4, "kmeans_lut"), (8, "linear_symmetric"), (3, "linear"), (1, "linear"), (16, "linear")):
        if mode == "kmeans_lut":
            mode = "linear_lut"
        models[f"network_{mode}{bits}"] = MLModel(quantization.quantize_weights(plain, bits, mode).get_spec(), skip_model_load=True)
    for name, model in models.items():
        spec = model.get_spec()
        (HERE / f"{name}.mlmodel").write_bytes(spec.SerializeToString())
        if name not in ("network", "network_linear16"):
            quantization._dequantize_nn_spec(spec.neuralNetwork)
        found = {layer.name: layer for layer in spec.neuralNetwork.layers}
        values = {"conv": found["conv"].convolution.weights, "fc": found["fc"].innerProduct.weights}
        halves = {key: np.frombuffer(value.float16Value, "<f2") for key, value in values.items()}
        EXPECTED[name] = {
            f"{key}.weights": kept((halves[key] if len(halves[key]) else np.array(value.floatValue, "f4")).astype("f4").reshape(shape))
            for (key, value), shape in zip(values.items(), ((4, 3, 3, 3), (5, 64)), strict=True)
        }


def others() -> None:
    trees = TreeEnsembleRegressor([(f"f{n}", datatypes.Double()) for n in range(3)], "target")
    trees.set_default_prediction_value(0.5)
    for tree in range(2):
        trees.add_branch_node(tree, 0, tree, 0.25 + tree, "BranchOnValueLessThanEqual", 1, 2, 0.0, True)
        trees.add_leaf_node(tree, 1, 1.5)
        trees.add_branch_node(tree, 2, 2, -1.0, "BranchOnValueGreaterThan", 3, 4)
        trees.add_leaf_node(tree, 3, -2.5 - tree)
        trees.add_leaf_node(tree, 4, 3.5)
    (HERE / "trees.mlmodel").write_bytes(trees.spec.SerializeToString())

    linear = Model_pb2.Model(specificationVersion=1)
    entry = linear.description.input.add(name="f0")
    entry.type.doubleType.SetInParent()
    linear.description.metadata.author = "somebody"
    linear.glmRegressor.weights.add().value.extend([0.5, -1.25, 3.0])
    linear.glmRegressor.offset.append(0.75)
    (HERE / "linear.mlmodel").write_bytes(linear.SerializeToString())

    pipeline = Model_pb2.Model(specificationVersion=1)
    pipeline.description.input.add(name="f0").type.doubleType.SetInParent()
    scaler = Model_pb2.Model(specificationVersion=1)
    scaler.description.input.add(name="f0").type.doubleType.SetInParent()
    scaler.scaler.shiftValue.extend([1.0, 2.0])
    scaler.scaler.scaleValue.extend([0.5, 0.25])
    pipeline.pipelineRegressor.pipeline.models.extend([scaler, linear])
    pipeline.pipelineRegressor.pipeline.names.extend(["scaler", "linear"])
    (HERE / "pipeline.mlmodel").write_bytes(pipeline.SerializeToString())


if __name__ == "__main__":
    programs()
    networks()
    others()
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")
