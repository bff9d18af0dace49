"""Quantized tensors stored as several: each kind against the formula of its own library, written out in numpy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from runaway import ends
from safetensors.numpy import save_file

from diffai import compare
from diffai.model import Checkpoint
from diffai.models.inputs import open_input

Array = np.ndarray[Any, Any]
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def model(folder: Path, tensors: dict[str, Array], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return folder / "model.safetensors"


def opened(path: Path) -> Checkpoint:
    checkpoint = open_input(path).checkpoint
    assert checkpoint is not None
    return checkpoint


def values(checkpoint: Checkpoint, name: str) -> Array:
    """All values, read in odd pieces, which must fit together."""
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    places = sorted({0, spec.nbytes, *range(0, spec.nbytes, 4 * 37 + 4)})
    for start, stop in itertools.pairwise(places):
        checkpoint.read_into(spec, start, memoryview(data)[start:stop])
    return np.frombuffer(data, "<f4").reshape(spec.shape)


def bitstream(codes: Array, bits: int, axis: int) -> Array:
    """Codes along an axis as 32-bit words, lowest bits first, one code after the other."""
    moved = np.moveaxis(codes, axis, -1).astype(np.uint8)
    flags = (moved[..., None] >> np.arange(bits) & 1).reshape(*moved.shape[:-1], -1)
    flags = np.pad(flags, [(0, 0)] * (flags.ndim - 1) + [(0, -flags.shape[-1] % 32)])
    words = np.packbits(flags.reshape(*flags.shape[:-1], -1, 8), axis=-1, bitorder="little")
    return np.moveaxis(words.reshape(*flags.shape[:-1], -1, 4).copy().view("<i4")[..., 0], -1, axis)


def gptq(bits: int, *, seed: int = 1, order: bool = False, outputs: int = 96) -> tuple[dict[str, Array], Array, Array]:
    """A layer of 64 inputs in four groups: its tensors, and codes and zero points as they are stored."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, (64, outputs))
    zeros = rng.integers(0, (1 << bits) - 1, (4, outputs))
    group = np.arange(64) // 16
    tensors = {
        "layer.qweight": bitstream(codes, bits, 0), "layer.qzeros": bitstream(zeros, bits, 1),
        "layer.scales": rng.random((4, outputs)).astype(np.float16),
        "layer.g_idx": (rng.permutation(group) if order else group).astype(np.int32),
    }  # fmt: skip
    return tensors, codes, zeros


@pytest.mark.parametrize("order", [False, True], ids=["in order", "act order"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("layout", "one"), [("gptq", 1), ("gptq_v2", 0)])
def test_gptq_is_scale_times_code_minus_zero_point(
    tmp_path: Path, bits: int, layout: str, one: int, order: bool
) -> None:
    tensors, codes, zeros = gptq(bits, order=order)
    config = {"quant_method": "gptq", "bits": bits, "checkpoint_format": layout}
    checkpoint = opened(model(tmp_path, tensors, config))
    group = tensors["layer.g_idx"]
    expected = (tensors["layer.scales"].astype(np.float32)[group] * (codes - zeros[group] - one)).T
    assert list(checkpoint.tensors) == ["layer.weight"]
    assert checkpoint.tensors["layer.weight"].dtype == f"GPTQ-{bits}"
    np.testing.assert_array_equal(values(checkpoint, "layer.weight"), expected)


def test_awq_undoes_the_order_of_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    codes, zeros = rng.integers(0, 16, (64, 32)), rng.integers(0, 16, (4, 32))
    scales = rng.random((4, 32)).astype(np.float16)

    def pack(table: Array) -> Array:
        words = np.zeros((len(table), 4), np.uint32)
        for column in range(4):
            for place, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
                words[:, column] |= table[:, column * 8 + source].astype(np.uint32) << np.uint32(4 * place)
        return words.view(np.int32)

    tensors = {"l.qweight": pack(codes), "l.qzeros": pack(zeros), "l.scales": scales}
    checkpoint = opened(model(tmp_path, tensors, {"quant_method": "awq", "bits": 4, "version": "gemm"}))
    group = np.arange(64) // 16
    expected = (scales.astype(np.float32)[group] * (codes - zeros[group])).T
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), expected)


def gemv(group: int, *, inputs: int = 256, outputs: int = 24, seed: int = 2) -> tuple[dict[str, Array], Array]:
    """A layer as AutoAWQ's ``WQLinear_GEMV`` packs it, and its weight: codes in order, groups filled up to whole words."""
    rng = np.random.default_rng(seed)
    size = group if group > 0 else inputs
    groups = inputs // size
    multiple = {128: 1, 64: 2, 32: 4}.get(size, 1)
    width = -(-groups // 8)
    width = -(-width // multiple) * multiple
    codes, zeros = rng.integers(0, 16, (outputs, inputs)), rng.integers(0, 16, (outputs, groups))
    scales = np.zeros((outputs, width * 8), np.float16)
    scales[:, :groups] = rng.random((outputs, groups))

    def pack(table: Array, words: int) -> Array:
        packed = np.zeros((outputs, words), np.uint32)
        for column in range(words):
            for place in range(8):
                if column * 8 + place < table.shape[1]:
                    packed[:, column] |= table[:, column * 8 + place].astype(np.uint32) << np.uint32(4 * place)
        return packed.view(np.int32)

    weight = np.zeros((outputs, inputs), np.float32)
    for column in range(inputs):  # as the layer is written out in its own library
        weight[:, column] = scales[:, column // size].astype(np.float32) * (codes - zeros[:, [column // size]])[:, column]
    tensors = {"l.qweight": pack(codes, inputs // 8), "l.qzeros": pack(zeros, width), "l.scales": scales}
    return tensors, weight


@pytest.mark.parametrize("group", [128, 64, 32, -1])
@pytest.mark.parametrize("key", ["group_size", "q_group_size"])
def test_gemv_of_awq_has_outputs_in_rows_and_codes_in_their_order(tmp_path: Path, group: int, key: str) -> None:
    tensors, weight = gemv(group)
    config = {"quant_method": "awq", "bits": 4, "version": "GEMV", key: group}
    checkpoint = opened(model(tmp_path, tensors, config))
    assert list(checkpoint.tensors) == ["l.weight"]
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), weight)


def test_gemv_and_gemm_of_the_same_weights_are_equal(tmp_path: Path) -> None:
    """Two layouts of one model, as two programs write them."""
    tensors, weight = gemv(64, inputs=128, outputs=32)
    rng = np.random.default_rng(2)
    codes, zeros = rng.integers(0, 16, (32, 128)), rng.integers(0, 16, (32, 2))
    scales = np.float16(tensors["l.scales"][:, :2])

    def pack(table: Array) -> Array:
        words = np.zeros((len(table), table.shape[1] // 8), np.uint32)
        for column in range(words.shape[1]):
            for place, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
                words[:, column] |= table[:, column * 8 + source].astype(np.uint32) << np.uint32(4 * place)
        return words.view(np.int32)

    other = {"l.qweight": pack(codes.T), "l.qzeros": pack(zeros.T), "l.scales": np.ascontiguousarray(scales.T)}
    config = {"quant_method": "awq", "bits": 4, "group_size": 64}
    old = model(tmp_path / "a", tensors, {**config, "version": "gemv"})
    new = model(tmp_path / "b", other, {**config, "version": "gemm"})
    np.testing.assert_array_equal(values(opened(new), "l.weight"), weight)
    assert compare(old, new).equal


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"version": "gemv"}, "how many inputs share a scale"),
        ({"version": "gemv", "group_size": 100}, "do not fit together"),
        ({"version": "gemv", "group_size": 64, "bits": 3}, "3 bits"),
        ({"version": "gemv_fast", "group_size": 64}, "gemv_fast"),
    ],
)
def test_what_is_not_known_of_awq_is_left_as_codes_and_said(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    tensors, _ = gemv(64)
    if config["version"] == "gemv_fast":
        tensors = {**tensors, "l.qweight": tensors["l.qweight"].view(np.int16), "l.qzeros": tensors["l.scales"].copy()}
    checkpoint = opened(model(tmp_path, tensors, {"quant_method": "awq", **config}))
    spec = checkpoint.tensors["l.qweight"]
    assert spec.dtype.endswith(" codes") and says in spec.encoding


@pytest.mark.parametrize("nested", [False, True])
def test_nf4_takes_the_high_half_first_and_scales_of_scales(tmp_path: Path, nested: bool) -> None:
    rng = np.random.default_rng(3)
    table = np.sort(rng.standard_normal(16)).astype(np.float32)
    codes = rng.integers(0, 16, 128 * 33, dtype=np.uint8)
    absmax = rng.random(66).astype(np.float32)
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [128, 33]}
    tensors = {"l.weight": (codes[::2] << 4 | codes[1::2]).reshape(-1, 1), "l.weight.quant_map": table}
    if nested:
        inner = rng.standard_normal(256).astype(np.float32)
        small, outer = rng.integers(0, 256, 66, dtype=np.uint8), rng.random(5).astype(np.float32)
        state |= {"nested_blocksize": 16, "nested_offset": 0.25, "nested_dtype": "float32"}
        absmax = inner[small] * outer[np.arange(66) // 16] + np.float32(0.25)
        tensors |= {"l.weight.absmax": small, "l.weight.nested_absmax": outer, "l.weight.nested_quant_map": inner}
    else:
        tensors["l.weight.absmax"] = absmax
    tensors["l.weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    checkpoint = opened(model(tmp_path, tensors))
    assert list(checkpoint.tensors) == ["l.weight"]
    assert checkpoint.tensors["l.weight"].dtype == "NF4"
    expected = (table[codes] * np.repeat(absmax, 64)).reshape(128, 33)
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), expected)


def test_int8_of_bitsandbytes_is_relative_to_127(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    codes, scb = rng.integers(-127, 128, (12, 20), dtype=np.int8), rng.random(12).astype(np.float32)
    tensors = {"l.weight": codes, "l.SCB": scb, "l.weight_format": np.zeros((), np.uint8)}
    checkpoint = opened(model(tmp_path, tensors))
    assert list(checkpoint.tensors) == ["l.weight"]
    expected = codes.astype(np.float32) * (scb / np.float32(127))[:, None]
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), expected)


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_packed_integers_of_compressed_tensors(tmp_path: Path, bits: int, zero_points: bool) -> None:
    rng = np.random.default_rng(5)
    half = 1 << bits - 1
    codes = rng.integers(-half, half, (24, 60))
    scales = rng.random((24, 4)).astype(ml_dtypes.bfloat16)
    zeros = rng.integers(-half, half, (24, 4)) if zero_points else np.zeros((24, 4), int)
    tensors = {
        "l.weight_packed": bitstream(codes + half, bits, 1), "l.weight_scale": scales,
        "l.weight_shape": np.array([24, 60], np.int64),
    }  # fmt: skip
    if zero_points:
        tensors["l.weight_zero_point"] = bitstream(zeros + half, bits, 0)
    checkpoint = opened(model(tmp_path, tensors))
    assert list(checkpoint.tensors) == ["l.weight"] and checkpoint.tensors["l.weight"].shape == (24, 60)
    group = np.arange(60) // 15
    expected = (codes - zeros[:, group]) * scales.astype(np.float32)[:, group]
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), expected.astype(np.float32))


def test_nvfp4_has_two_scales(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 16, (6, 64), dtype=np.uint8)
    scales = (rng.random((6, 4)) * 10).astype(ml_dtypes.float8_e4m3fn)
    tensors = {
        "l.weight_packed": codes[:, ::2] | codes[:, 1::2] << 4, "l.weight_scale": scales,
        "l.weight_global_scale": np.array([3.5], np.float32),
    }  # fmt: skip
    checkpoint = opened(model(tmp_path, tensors))
    expected = FP4[codes] * np.repeat(scales.astype(np.float32) / np.float32(3.5), 16, axis=1)
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), expected)


def test_mxfp4_blocks_are_transposed_to_the_logical_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 16, (2, 10, 3, 32), dtype=np.uint8)
    scales = rng.integers(120, 130, (2, 10, 3), dtype=np.uint8)
    tensors = {"e.down_proj_blocks": codes[..., ::2] | codes[..., 1::2] << 4, "e.down_proj_scales": scales}
    checkpoint = opened(model(tmp_path, tensors))
    expected = (FP4[codes] * np.ldexp(np.float32(1), scales.astype(int) - 127)[..., None]).reshape(2, 10, 96)
    assert list(checkpoint.tensors) == ["e.down_proj"]
    np.testing.assert_array_equal(values(checkpoint, "e.down_proj"), expected.transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("shape", "scales"), [((256, 384), (2, 3)), ((200, 300), (2, 3)), ((40, 50), (40, 1)), ((40, 50), (1,)),
                          ((40, 50), ()), ((3, 40, 50), (3, 1, 1)), ((40, 50), (40,))]
)  # fmt: skip
def test_fp8_with_one_scale_scales_of_rows_and_scales_of_blocks(
    tmp_path: Path, shape: tuple[int, ...], scales: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(8)
    codes = rng.standard_normal(shape).astype(ml_dtypes.float8_e4m3fn)
    scale = rng.random(scales).astype(np.float32)
    end = "weight_scale_inv" if scales == (2, 3) else "weight_scale"
    checkpoint = opened(model(tmp_path, {"l.weight": codes, f"l.{end}": scale}))
    assert list(checkpoint.tensors) == ["l.weight"]
    wide = scale
    if scales == (2, 3):
        wide = np.repeat(np.repeat(scale, 128, axis=0), 128, axis=1)[: shape[0], : shape[1]]
    elif scales == (40,):
        wide = scale[:, None]
    np.testing.assert_array_equal(values(checkpoint, "l.weight"), codes.astype(np.float32) * wide)


def test_qdq_pairs_take_the_zero_point_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 256, (7, 9), dtype=np.uint8)
    tensors = {"w_quantized": codes, "w_scale": np.float32([0.5]), "w_zero_point": np.uint8([100])}
    checkpoint = opened(model(tmp_path, tensors))
    assert list(checkpoint.tensors) == ["w"]
    np.testing.assert_array_equal(values(checkpoint, "w"), (codes.astype(np.float32) - 100) * np.float32(0.5))


def test_without_a_configuration_gptq_is_left_as_codes_compared_as_bytes(tmp_path: Path) -> None:
    old, new = (model(tmp_path / name, gptq(4, seed=seed)[0]) for name, seed in (("a", 1), ("b", 2)))
    checkpoint = opened(old)
    assert checkpoint.tensors["layer.qweight"].dtype == "I32 codes"
    assert "not beside the file" in checkpoint.tensors["layer.qweight"].encoding
    diff = compare(old, new)
    (change,) = [change for change in diff.tensors if change.name == "layer.qweight"]
    assert change.figures is not None and change.figures.as_bytes and change.figures.delta is not None
    assert change.figures.delta.relative_l2 is None


def test_a_side_without_configuration_leaves_the_other_as_codes_too(tmp_path: Path) -> None:
    config = {"quant_method": "gptq", "bits": 4}
    old, new = model(tmp_path / "a", gptq(4)[0]), model(tmp_path / "b", gptq(4)[0], config)
    diff = compare(old, new)
    assert [change.name for change in diff.tensors] == ["layer.g_idx", "layer.qweight", "layer.qzeros", "layer.scales"]
    assert not any(change.differs for change in diff.tensors)


def test_other_zero_points_are_other_values_though_no_byte_of_the_model_differs(tmp_path: Path) -> None:
    tensors = gptq(4)[0]
    old = model(tmp_path / "a", tensors, {"quant_method": "gptq", "bits": 4})
    new = model(tmp_path / "b", tensors, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"})
    (change,) = compare(old, new).tensors
    assert change.differs and change.figures is not None and change.figures.delta is not None
    assert change.figures.delta.changed_count == 64 * 96


def test_a_quantized_model_against_the_float_one_counts_logical_elements(tmp_path: Path) -> None:
    tensors, codes, zeros = gptq(4)
    group = tensors["layer.g_idx"]
    weight = (tensors["layer.scales"].astype(np.float32)[group] * (codes - zeros[group] - 1)).T
    old = model(tmp_path / "a", {"layer.weight": weight})
    new = model(tmp_path / "b", tensors, {"quant_method": "gptq", "bits": 4})
    diff = compare(old, new)
    (change,) = diff.tensors
    assert diff.old.parameters == diff.new.parameters == 64 * 96
    assert change.status == ("cast",) or change.status == ("cast", "changed")
    assert change.figures is not None and change.figures.delta is not None and change.figures.delta.changed_count == 0


def test_equal_parts_are_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffai.formats.quantized import decoding

    config = {"quant_method": "gptq", "bits": 4}
    old = model(tmp_path / "a", {**gptq(4)[0], "other": np.zeros(3, np.float32)}, config)
    new = model(tmp_path / "b", {**gptq(4)[0], "other": np.ones(3, np.float32)}, config)
    monkeypatch.setattr(decoding, "decode_into", lambda *_: pytest.fail("was decoded"))
    diff = compare(old, new)
    assert {change.name: change.differs for change in diff.tensors} == {"layer.weight": False, "other": True}


@pytest.mark.parametrize("role", ["qweight", "scales", "qzeros"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_several_tensors_just_the_one_whose_part_differs_is_changed(tmp_path: Path, place: int, role: str) -> None:
    config = {"quant_method": "gptq", "bits": 4}
    tensors = {f"{n}.{name}": array for n in range(3) for name, array in gptq(4, seed=n)[0].items()}
    old = model(tmp_path / "a", tensors, config)
    tensors[f"{place}.layer.{role}"] = tensors[f"{place}.layer.{role}"] + tensors[f"{place}.layer.{role}"].dtype.type(1)
    new = model(tmp_path / "b", tensors, config)
    assert [change.name for change in compare(old, new).changes] == [f"{place}.layer.weight"]


def test_the_line_names_the_kind_and_says_decoded(tmp_path: Path) -> None:
    from diffai.views.lines import tensor_line

    config = {"quant_method": "gptq", "bits": 4}
    old, new = (model(tmp_path / name, gptq(4, seed=seed)[0], config) for name, seed in (("a", 1), ("b", 2)))
    (change,) = compare(old, new).tensors
    assert tensor_line(change).endswith("GPTQ-4, decoded")


@pytest.mark.parametrize("seed", range(40))
def test_shapes_that_lie_are_codes_and_never_an_exception(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(dtype: Any, rank: int) -> Array:
        return rng.integers(0, 5, tuple(rng.choice([1, 2, 4, 8, 16, 32], rank))).astype(dtype)

    i4, f4, u1 = np.int32, np.float32, np.uint8
    tensors = {
        "a.qweight": some(i4, 2), "a.qzeros": some(i4, 2), "a.scales": some(f4, 2), "a.g_idx": some(i4, 1),
        "b.weight_packed": some(i4, 2), "b.weight_scale": some(f4, 2), "b.weight_shape": np.array([8, 8], np.int64),
        "c.weight": some(u1, 2), "c.weight.absmax": some(f4, 1), "c.weight.quant_map": np.zeros(16, f4),
        "c.weight.quant_state.bitsandbytes__nf4": np.frombuffer(b'{"shape": [4, 8], "blocksize": 2}', u1),
        "d.weight": some(np.int8, 2), "d.SCB": some(f4, 1), "e_blocks": some(u1, 4), "e_scales": some(u1, 3),
        "f": some(np.int8, 3), "f_scale": some(f4, int(rng.integers(0, 4))), "f_zero_point": some(np.int8, 1),
    }  # fmt: skip
    method = str(rng.choice(["gptq", "awq"]))
    checkpoint = opened(model(tmp_path, tensors, {"quant_method": method}))
    for name, spec in checkpoint.tensors.items():
        if spec.values:
            assert values(checkpoint, name).shape == spec.shape


def test_two_revisions_have_their_configurations_and_a_single_blob_has_none(tmp_path: Path) -> None:
    import subprocess
    import sys

    def run(*words: str) -> str:
        return subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    config = {"quant_method": "gptq", "bits": 4}
    run("git", "init", "-q")
    for seed in (1, 2):
        model(tmp_path, gptq(4, seed=seed)[0], config)
        run("git", "add", "-A")
        run("git", "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", str(seed))
    diffai = (sys.executable, "-m", "diffai")
    assert "~ layer.weight: " in run(*diffai, "HEAD~1..HEAD", "--", "model.safetensors")
    old, new = (run("git", "rev-parse", f"{rev}:model.safetensors").strip() for rev in ("HEAD~1", "HEAD"))
    paths = []
    for name, oid in (("old", old), ("new", new)):
        blob = subprocess.run(["git", "cat-file", "blob", oid], cwd=tmp_path, check=True, capture_output=True).stdout
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "m.safetensors")
        paths[-1].write_bytes(blob)
    text = run(*diffai, *map(str, paths))
    assert "layer.qweight: 3,057 of 3,072 bytes differ (I32 codes compared as bytes: the configuration" in text


def test_a_few_wide_rows_of_many_blocks_take_no_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    codes, scales = rng.integers(0, 256, (290_000, 1, 16), dtype=np.uint8), np.full((290_000, 1), 127, np.uint8)
    words = rng.integers(0, 1 << 31, (75_000, 16)).astype(np.int32)
    tensors = {
        "e_blocks": codes, "e_scales": scales,
        "g.qweight": words, "g.qzeros": np.zeros((1, 2), np.int32), "g.scales": np.ones((1, 16), np.float32),
    }  # fmt: skip
    old = model(tmp_path / "a", tensors, {"quant_method": "gptq"})
    codes[7, 0, 7] ^= 1
    words[7, 7] ^= 1
    new = model(tmp_path / "b", tensors, {"quant_method": "gptq"})
    with ends():
        diff = compare(old, new)
    counts = [c.figures.delta.changed_count for c in diff.changes if c.figures and c.figures.delta]
    assert sorted(change.name for change in diff.changes) == ["e", "g.weight"] and counts == [1, 1]


def test_rows_that_are_too_long_are_left_as_codes(tmp_path: Path) -> None:
    tensors = {"w": np.zeros((1 << 20) + 1, np.int8), "w_scale": np.ones(1, np.float32)}
    checkpoint = opened(model(tmp_path, tensors))
    assert checkpoint.tensors["w"].dtype == "I8 codes" and "longer than" in checkpoint.tensors["w"].encoding
