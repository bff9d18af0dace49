"""Write the models that are measured. Run by run.py in a process of its own; prints their paths as JSON.

The safetensors are written by hand, tensor by tensor, so that making a 1 GB file takes little memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator

import formats_data
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
NUMPY = {
    "F64": np.dtype("f8"), "F32": np.dtype("f4"), "F16": np.dtype("f2"), "I8": np.dtype("i1"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
}  # fmt: skip
BLOCK = 1 << 22
SIGMA, STEP = 0.02, 1e-4  # weights N(0, SIGMA); an update adds N(0, STEP), of the size of a fine-tune


def layout(elements: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a small language model, 50 of them, with about ``elements`` elements in all."""
    width = 1024 if elements >= 1 << 20 else 16
    rows = max(1, elements // width // 50)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows * 2, width)}
    for layer in range(12):
        for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"):
            shapes[f"model.layers.{layer}.{name}.weight"] = (rows, width)
    shapes["model.norm.weight"] = (width,)
    return shapes


def blocks(dtype: str, elements: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Old and new values, a block at a time; every block has changed elements."""
    generator = np.random.default_rng(seed)
    for start in range(0, elements, BLOCK):
        count = min(BLOCK, elements - start)
        if dtype == "I8":
            old = generator.integers(-127, 127, count, dtype=np.int8)
            yield old, old + generator.integers(0, 2, count, dtype=np.int8)
            continue
        kind = np.float64 if dtype == "F64" else np.float32
        weights = generator.standard_normal(count, dtype=kind) * kind(SIGMA)
        update = generator.standard_normal(count, dtype=kind) * kind(STEP)
        yield weights.astype(NUMPY[dtype]), (weights + update).astype(NUMPY[dtype])


def write_pair(
    old_path: str, new_path: str, dtype: str, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str]
) -> None:
    """Two safetensors of the same layout, every tensor changed."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape)) * NUMPY[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(old_path + ".part", "wb") as old, open(new_path + ".part", "wb") as new:
        for stream in (old, new):
            stream.write(struct.pack("<Q", len(text)) + text)
        for seed, shape in enumerate(shapes.values()):
            for before, after in blocks(dtype, int(np.prod(shape)), seed):
                old.write(before.tobytes())
                new.write(after.tobytes())
    os.replace(old_path + ".part", old_path)
    os.replace(new_path + ".part", new_path)


def pair(directory: str, dtype: str, size: int) -> dict[str, str]:
    """``size`` bytes in 50 tensors, every one changed, and an identical copy of the old file."""
    paths = named(directory, f"pair-{dtype}-{size}", ("old", "new", "copy"))
    if not present(paths):
        shapes = layout(size // NUMPY[dtype].itemsize)
        write_pair(paths["old"], paths["new"], dtype, shapes, {"format": "pt"})
        shutil.copyfile(paths["old"], paths["copy"])
    return paths


def transformer_layout(elements: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a language model of the LLaMA family with about ``elements`` elements: as many layers as fit."""
    width = 1024 if elements >= 1 << 24 else 128
    mlp, values, words = 3 * width, width // 4, max(512, elements // 8 // width)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, width)}
    each = 2 * width * width + 2 * values * width + 3 * mlp * width
    for layer in range(max(1, (elements - 2 * words * width) // each)):
        prefix = f"model.layers.{layer}"
        for name, shape in (
            ("self_attn.q_proj", (width, width)), ("self_attn.k_proj", (values, width)),
            ("self_attn.v_proj", (values, width)), ("self_attn.o_proj", (width, width)),
            ("mlp.gate_proj", (mlp, width)), ("mlp.up_proj", (mlp, width)), ("mlp.down_proj", (width, mlp)),
        ):  # fmt: skip
            shapes[f"{prefix}.{name}.weight"] = shape
        shapes[f"{prefix}.input_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    shapes["lm_head.weight"] = (words, width)
    return shapes


def transformer_pair(directory: str, dtype: str, size: int) -> dict[str, str]:
    """``size`` bytes in the shapes of a language model, every tensor changed."""
    paths = named(directory, f"transformer-{dtype}-{size}", ("old", "new"))
    if not present(paths):
        write_pair(paths["old"], paths["new"], dtype, transformer_layout(size // NUMPY[dtype].itemsize), {})
    return paths


def one_of_many(directory: str, dtype: str, size: int) -> dict[str, str]:
    """``size`` bytes in 300 tensors: every one changed (all), the middle one (one), none (copy)."""
    paths = named(directory, f"of-many-{dtype}-{size}", ("old", "all", "one", "copy"))
    if not present(paths):
        number, width = 300, NUMPY[dtype].itemsize
        elements = size // number // width
        shapes: dict[str, tuple[int, ...]] = {f"model.layers.{i}.weight": (elements,) for i in range(number)}
        write_pair(paths["old"], paths["all"], dtype, shapes, {})
        for side in ("copy", "one"):
            shutil.copyfile(paths["old"], paths[side])
        place = os.path.getsize(paths["old"]) - (number - number // 2) * elements * width
        with open(paths["all"], "rb") as whole, open(paths["one"], "r+b") as one:
            whole.seek(place)
            one.seek(place)
            one.write(whole.read(elements * width))
    return paths


def one_tensor(directory: str, dtype: str, size: int) -> dict[str, str]:
    """``size`` bytes in a single tensor."""
    paths = named(directory, f"one-{dtype}-{size}", ("old", "new"))
    if not present(paths):
        shapes: dict[str, tuple[int, ...]] = {"weight": (size // NUMPY[dtype].itemsize,)}
        write_pair(paths["old"], paths["new"], dtype, shapes, {})
    return paths


def many_tensors(directory: str, dtype: str, size: int) -> dict[str, str]:
    """10,000 tensors; 11 MB when ``size`` is that."""
    paths = named(directory, f"many-{size}", ("old", "new"))
    if not present(paths):
        each = (size - 1_000_000) // 10_000 // NUMPY[dtype].itemsize
        names = (f"blocks.{i // 10}.part_{i % 10}.weight" for i in range(10_000))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (each,))
        write_pair(paths["old"], paths["new"], dtype, shapes, {})
    return paths


def long_header(directory: str, dtype: str, size: int) -> dict[str, str]:
    """A header of 10 MB: 100,000 tensors of a few elements."""
    paths = named(directory, f"header-{size}", ("old", "new"))
    if not present(paths):
        names = (f"model.layers.{i:06d}.experts.weight_" for i in range(size // 100))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (2, 2))
        write_pair(paths["old"], paths["new"], dtype, shapes, {})
    return paths


def torch_pair(directory: str, dtype: str, size: int) -> dict[str, str]:
    """The F32 pair as torch zip files; needs torch."""
    import torch

    paths = named(directory, f"torch-{size}", ("old", "new"), ".pt")
    if not present(paths):
        for side, path in paths.items():
            state: dict[str, torch.Tensor] = {}
            for seed, (name, shape) in enumerate(layout(size // 4).items()):
                values = [both[side == "new"] for both in blocks("F32", int(np.prod(shape)), seed)]
                state[name] = torch.from_numpy(np.concatenate(values).reshape(shape))
            torch.save(state, path)
    return paths


def small_models(directory: str, dtype: str, size: int) -> dict[str, str]:
    """20 models of ``size`` bytes each, old and new."""
    sides = [f"{i:02d}-{side}" for i in range(20) for side in ("old", "new")]
    paths = named(directory, f"small-{size}", sides)
    if not present(paths):
        shapes = layout(size // NUMPY[dtype].itemsize)
        for i in range(20):
            write_pair(paths[f"{i:02d}-old"], paths[f"{i:02d}-new"], dtype, shapes, {"model": str(i)})
    return paths


GGUF = {"Q8_0": (8, 32, 34, (0,)), "Q4_K": (12, 256, 144, (0, 2))}  # number, elements and bytes a block, F16 fields


def gguf_pair(directory: str, dtype: str, size: int) -> dict[str, str]:
    """Quantized GGUF files: one code of every block differs; a copy of the old one."""
    paths = named(directory, f"gguf-{dtype}-{size}", ("old", "new", "copy"), ".gguf")
    if present(paths):
        return paths
    number, elements, width, halves = GGUF[dtype]
    count = size // 10 // width // 16 * 16
    header = b"GGUF" + struct.pack("<IQQ", 3, 10, 0)
    for i in range(10):
        name = f"blk.{i}.attn_q.weight".encode()
        header += struct.pack("<Q", len(name)) + name
        header += struct.pack("<IQQIQ", 2, count // 16 * elements, 16, number, i * count * width)
    generator = np.random.default_rng(1)
    with open(paths["old"], "wb") as old, open(paths["new"], "wb") as new:
        for file in (old, new):
            file.write(header.ljust(-(-len(header) // 32) * 32, b"\0"))
        for _ in range(10):
            table = generator.integers(0, 256, (count, width), dtype=np.uint8)
            for at in halves:
                scales = (generator.random(count) * SIGMA).astype("<f2")
                table[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
            old.write(table.tobytes())
            table[:, width // 2] ^= 1
            new.write(table.tobytes())
    shutil.copyfile(paths["old"], paths["copy"])
    return paths


def named(directory: str, stem: str, sides: Iterable[str], suffix: str = ".safetensors") -> dict[str, str]:
    return {side: os.path.join(directory, f"{stem}-{side}{suffix}") for side in sides}


def present(paths: dict[str, str]) -> bool:
    return all(os.path.exists(path) for path in paths.values())


KINDS: dict[str, Callable[[str, str, int], dict[str, str]]] = {
    "pair": pair, "one_of_many": one_of_many, "one_tensor": one_tensor, "many_tensors": many_tensors,
    "long_header": long_header, "torch_pair": torch_pair, "small_models": small_models,
    "gguf_pair": gguf_pair, "transformer_pair": transformer_pair,
    **formats_data.KINDS,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("directory")
    parser.add_argument("--dtype", default="F32", choices=[*NUMPY, *GGUF])
    parser.add_argument("--size", type=int, required=True, help="bytes")
    arguments = parser.parse_args()
    print(json.dumps(KINDS[arguments.kind](arguments.directory, arguments.dtype, arguments.size)))


if __name__ == "__main__":
    main()
