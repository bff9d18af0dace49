"""GGUF against the gguf library's writer and reference decoders; hostile headers."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.formats.gguf.decoding import DECODERS
from diffai.formats.gguf.types import TYPES
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile, MemoryBytes
from diffai.views.textconv import render_values

KINDS = [kind for number, kind in TYPES.items() if GGMLQuantizationType(number) in quants._type_traits and kind.decode]


def opened(data: bytes, limits: Limits = Limits()) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.gguf"), limits)


def values(checkpoint: Checkpoint, name: str, dtype: str = "<f4") -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, dtype).reshape(spec.shape)


def written(path: Path, *, big: bool = False, **tensors: tuple[np.ndarray, GGMLQuantizationType | None]) -> Path:  # type: ignore[type-arg]
    endian = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    writer = GGUFWriter(path, "llama", endianess=endian)
    writer.add_block_count(2)
    writer.add_name("tiny")
    writer.add_token_list([f"<{n}>" for n in range(500)])
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_type_of_ggml_has_the_size_that_ggml_says() -> None:
    for number, kind in TYPES.items():
        if kind.name != "Q8_1":  # 40 bytes in gguf-py, 36 in ggml's block_q8_1, and in no file
            assert GGML_QUANT_SIZES[GGMLQuantizationType(number)] == (kind.elements, kind.size)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_decoding_agrees_with_the_reference(kind) -> None:  # type: ignore[no-untyped-def]
    reference = quants._type_traits[GGMLQuantizationType[kind.name]]
    getattr(reference, "init_grid", lambda: None)()
    blocks = np.random.default_rng(1).integers(0, 256, (500, kind.size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        wanted = reference.dequantize_blocks(blocks.copy()).astype(np.float32)
        got = DECODERS[kind.decode](blocks, "<").astype(np.float32)
    assert np.array_equal(got.reshape(wanted.shape), wanted, equal_nan=True)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    plain, weights = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(4, 64)).astype(np.float32)
    packed = quants.quantize(weights, GGMLQuantizationType.Q8_0)
    path = written(
        tmp_path / "m.gguf", plain=(plain, None), half=(plain.astype(np.float16), None),
        packed=(packed, GGMLQuantizationType.Q8_0),
    )  # fmt: skip
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    assert np.array_equal(values(checkpoint, "plain"), plain)
    assert np.array_equal(values(checkpoint, "half", "<f2"), plain.astype(np.float16))
    assert np.array_equal(values(checkpoint, "packed"), quants.dequantize(packed, GGMLQuantizationType.Q8_0))
    spec = checkpoint.tensors["packed"]
    assert (spec.dtype, spec.values_dtype, spec.shape) == ("Q8_0", "F32", (4, 64))
    assert checkpoint.metadata["general.architecture"] == "llama" and checkpoint.metadata["llama.block_count"] == 2
    assert str(checkpoint.metadata["tokenizer.ggml.tokens"]).startswith("500 strings, ")
    checkpoint.close()


def test_any_part_of_a_coded_tensor_can_be_read(tmp_path: Path) -> None:
    packed = quants.quantize(np.random.default_rng(3).normal(size=(8, 256)).astype("f4"), GGMLQuantizationType.Q4_0)
    path = written(tmp_path / "m.gguf", w=(packed, GGMLQuantizationType.Q4_0))
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    whole = values(checkpoint, "w").tobytes()
    for start, count in ((0, 4), (2, 3), (100, 300), (127, 1), (len(whole) - 5, 5), (128, 256)):
        part = bytearray(count)
        checkpoint.read_into(checkpoint.tensors["w"], start, memoryview(part))
        assert part == whole[start : start + count]
    checkpoint.close()


def test_a_file_for_big_endian_machines_has_the_same_values(tmp_path: Path) -> None:
    array = np.random.default_rng(4).normal(size=(4, 32)).astype(np.float32)
    little = registry.open_checkpoint(LocalFile(written(tmp_path / "l.gguf", w=(array, None))), Limits())
    big = registry.open_checkpoint(LocalFile(written(tmp_path / "b.gguf", big=True, w=(array, None))), Limits())
    diff = compare_models(Input("l", little), Input("b", big))
    assert not diff.changes
    assert [(c.key, c.new) for c in diff.metadata] == [("gguf version", "3, big-endian")]


def test_one_changed_block_is_a_change_of_decoded_values(tmp_path: Path) -> None:
    packed = quants.quantize(np.random.default_rng(5).normal(size=(8, 256)).astype("f4"), GGMLQuantizationType.Q8_0)
    other = packed.copy()
    other[3, 10] ^= 1
    sides = []
    for name, array in (("a", packed), ("b", other)):
        path = written(tmp_path / f"{name}.gguf", w=(array, GGMLQuantizationType.Q8_0))
        sides.append(Input(name, registry.open_checkpoint(LocalFile(path), Limits())))
    diff = compare_models(sides[0], sides[1])
    (change,) = diff.changes
    assert change.figures is not None and change.figures.delta is not None
    assert change.figures.delta.changed_count == 1 and 0 < change.relative_l2 < 0.1


# ---------------------------------------------------------------- hostile headers


def header(tensors: int = 0, pairs: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def typed(**keys: tuple[int, bytes]) -> bytes:
    """A file of keys alone, each as its type and its bytes."""
    rest = b"".join(
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + data for key, (kind, data) in keys.items()
    )
    return header(0, len(keys), rest)


TEXT = struct.pack("<Q", 5) + b"['a']"
RETYPED = {
    "u32 as i32": ((4, struct.pack("<I", 2)), (5, struct.pack("<i", 2)), "2 (uint32)", "2 (int32)"),
    "f32 as f64": ((6, struct.pack("<f", 0.5)), (12, struct.pack("<d", 0.5)), "0.5 (float32)", "0.5 (float64)"),
    "text as list": (
        (8, TEXT), (9, struct.pack("<IQQ", 8, 1, 1) + b"a"), "['a'] (string)", "['a'] (array of string)",
    ),
    "numbers of a long list": (
        (9, struct.pack("<IQ20I", 4, 20, *range(20))), (9, struct.pack("<IQ20i", 5, 20, *range(20))),
        "(array of uint32)", "(array of int32)",
    ),
    "an empty list": (
        (9, struct.pack("<IQ", 4, 0)), (9, struct.pack("<IQ", 8, 0)), "[] (array of uint32)", "[] (array of string)",
    ),
    "a list of lists": (
        (9, struct.pack("<IQIQI", 9, 1, 4, 1, 7)), (9, struct.pack("<IQIQI", 9, 1, 5, 1, 7)),
        "[[7]] (array of (array of uint32))", "[[7]] (array of (array of int32))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RETYPED)
def test_another_type_of_one_value_is_a_difference(case: str) -> None:
    before, after, old, new = RETYPED[case]
    sides = [Input(name, opened(typed(key=value))) for name, value in (("a", before), ("b", after))]
    diff = compare_models(*sides)
    (change,) = diff.metadata
    assert diff.equal is False and change.status == "changed" and change.key == "key"
    assert str(change.old).endswith(old) and str(change.new).endswith(new)
    assert not compare_models(sides[0], Input("again", opened(typed(key=before)))).metadata
    texts = [render_values(side.checkpoint) for side in sides if side.checkpoint is not None]
    assert texts[0] != texts[1]  # what git's own diff goes by


def test_long_lists_are_one_in_either_byte_order() -> None:
    little = opened(typed(key=(9, struct.pack("<IQ20I", 4, 20, *range(20)))))
    big = b"GGUF" + struct.pack(">IQQQ", 3, 0, 1, 3) + b"key" + struct.pack(">IIQ20I", 9, 4, 20, *range(20))
    assert opened(big).metadata["key"] == little.metadata["key"]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def info(name: str, shape: tuple[int, ...], kind: int, start: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)


PAD = bytes(4096)
ARRAYS = b"".join(struct.pack("<IQ", 9, 1) for _ in range(50))
HOSTILE = {
    "version": (header(version=9), "GG01"),
    "cut off": (header(pairs=1, rest=bytes(5)), "GG02"),
    "counts": (header(tensors=1 << 60), "GG03"),
    "nested arrays": (header(pairs=1, rest=text("k") + struct.pack("<I", 9) + ARRAYS), "GG03"),
    "key twice": (header(pairs=2, rest=(text("k") + struct.pack("<II", 4, 1)) * 2), "GG04"),
    "value type": (header(pairs=1, rest=text("k") + struct.pack("<I", 77)), "GG04"),
    "alignment": (header(pairs=1, rest=text("general.alignment") + struct.pack("<II", 4, 48)), "GG05"),
    "alignment 0": (header(pairs=1, rest=text("general.alignment") + struct.pack("<II", 4, 0)), "GG05"),
    "dimensions": (header(tensors=1, rest=info("w", (1,) * 9, 0, 0) + PAD), "GG06"),
    "product": (header(tensors=1, rest=info("w", (1 << 40, 1 << 40), 0, 0) + PAD), "GG06"),
    "blocks": (header(tensors=1, rest=info("w", (33,), 2, 0) + PAD), "GG06"),
    "removed type": (header(tensors=1, rest=info("w", (32,), 4, 0) + PAD), "GG07"),
    "misaligned": (header(tensors=1, rest=info("w", (2,), 0, 4) + PAD), "GG08"),
    "past the end": (header(tensors=1, rest=info("w", (1 << 20,), 0, 0) + PAD), "GG09"),
    "overlap": (header(tensors=2, rest=info("a", (32,), 0, 0) + info("b", (32,), 0, 32) + PAD), "GG10"),
    "name twice": (header(tensors=2, rest=info("a", (8,), 0, 0) + info("a", (8,), 0, 32) + PAD), "GG11"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = HOSTILE[case]
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert caught.value.code == code
    assert [p.code for p in registry.check(MemoryBytes(data, label="m"), Limits())] == [code]


def test_a_long_header_names_the_key_that_lifts_the_limit() -> None:
    data = header(pairs=1, rest=text("k") + struct.pack("<I", 8) + text("x" * 5000))
    with pytest.raises(LimitError, match="maxHeader"):
        opened(data, Limits(max_header=1000))


def test_damaged_files_give_our_errors_and_no_others(tmp_path: Path) -> None:
    packed = quants.quantize(np.ones((2, 64), np.float32), GGMLQuantizationType.Q4_0)
    good = written(tmp_path / "m.gguf", w=(packed, GGMLQuantizationType.Q4_0), v=(np.ones(3, "f4"), None)).read_bytes()
    good = good[:200] + good[-600:]
    random_ = random.Random(6)
    samples = [good, *(data for data, _ in HOSTILE.values())]
    for number in range(3000):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 8)):
            data[random_.randrange(4, len(data))] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
        try:
            checkpoint = opened(bytes(data))
            for spec in checkpoint.tensors.values():
                part = bytearray(min(spec.nbytes, 1 << 16))
                checkpoint.read_into(spec, 0, memoryview(part))
        except DiffaiError:
            pass


def test_the_corpus_vocabulary_has_no_tensors(corpus: Path) -> None:
    path = corpus / "singles" / "gguf" / "ggml-vocab-bert-bge.gguf"
    checkpoint = registry.open_checkpoint(LocalFile(path), Limits())
    assert not checkpoint.tensors and checkpoint.metadata["general.architecture"] == "bert"
    checkpoint.close()


def q8_blocks(count: int, seed: int = 3) -> np.ndarray:  # type: ignore[type-arg]
    """Rows of Q8_0 blocks, 34 bytes each, with scales that are finite."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 34), dtype=np.uint8)
    blocks[:, :2] = (rng.random(count) * 0.01).astype("<f2").view(np.uint8).reshape(-1, 2)
    return blocks


def decoded_elements(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many elements each call of the decoder of Q8_0 makes from now on."""
    made: list[int] = []
    plain = DECODERS["q8_0"]

    def counting(blocks: np.ndarray, endian: str) -> np.ndarray:  # type: ignore[type-arg]
        made.append(len(blocks) * 32)
        return plain(blocks, endian)

    monkeypatch.setitem(DECODERS, "q8_0", counting)
    return made


def test_equal_codes_are_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = q8_blocks(40_000)
    data = written(tmp_path / "a.gguf", w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    made = decoded_elements(monkeypatch)
    diff = compare_models(Input("a", opened(data)), Input("b", opened(data)))
    assert diff.equal and made == []


def test_only_pieces_whose_codes_differ_are_decoded_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = q8_blocks(1_024_000 // 32 * 4)  # four pieces, and one of them differs
    other = blocks.copy()
    other[-5, 7] ^= 1
    old = written(tmp_path / "a.gguf", w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    new = written(tmp_path / "b.gguf", w=(other, GGMLQuantizationType.Q8_0)).read_bytes()
    made = decoded_elements(monkeypatch)
    (change,) = compare_models(Input("a", opened(old)), Input("b", opened(new))).tensors
    monkeypatch.undo()
    figures = change.figures
    assert figures is not None and figures.delta is not None and figures.delta.changed_count == 1
    a, b = (quants.dequantize(x, GGMLQuantizationType.Q8_0).astype(np.float64) for x in (blocks, other))
    assert figures.delta.l2 == pytest.approx(np.linalg.norm(b - a), rel=1e-6)
    assert figures.delta.old_l2 == pytest.approx(np.linalg.norm(a), rel=1e-6)
    assert sum(made) < 1.3 * blocks.shape[0] * 32, "the old side once for its norm, the new one where it differs"


def test_codes_that_differ_and_mean_the_same_are_equal_values(tmp_path: Path) -> None:
    blocks = q8_blocks(2_000)
    blocks[7, :2] = 0  # a scale of zero: whatever it scales is zero
    blocks[7, 2:] = 1
    other = blocks.copy()
    other[7, 2:] = 2
    old = written(tmp_path / "a.gguf", w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    new = written(tmp_path / "b.gguf", w=(other, GGMLQuantizationType.Q8_0)).read_bytes()
    assert compare_models(Input("a", opened(old)), Input("b", opened(new))).equal


def test_the_same_codes_of_another_byte_order_are_decoded(tmp_path: Path) -> None:
    blocks = q8_blocks(2_000)
    old = written(tmp_path / "a.gguf", w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    big = written(tmp_path / "b.gguf", big=True, w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    (change,) = compare_models(Input("a", opened(old)), Input("b", opened(big))).tensors
    assert change.differs == (not np.array_equal(values(opened(old), "w"), values(opened(big), "w")))
    assert change.differs


def test_the_line_says_that_a_kind_was_compared_decoded(tmp_path: Path) -> None:
    from diffai.views.lines import tensor_line

    blocks = q8_blocks(2_000)
    other = blocks.copy()
    other[:, 5] ^= 1
    old = written(tmp_path / "a.gguf", w=(blocks, GGMLQuantizationType.Q8_0)).read_bytes()
    new = written(tmp_path / "b.gguf", w=(other, GGMLQuantizationType.Q8_0)).read_bytes()
    (change,) = compare_models(Input("a", opened(old)), Input("b", opened(new))).tensors
    assert tensor_line(change).endswith("Q8_0, decoded")
