"""Files of other frameworks that are of a format which is read already: Paddle's pickles, MLX's safetensors and npz."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from diffai.comparison.models import Input, compare_models
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile

W = np.arange(6, dtype="f4").reshape(2, 3)


def opened(path: Path) -> Checkpoint:
    return registry.open_checkpoint(LocalFile(path), Limits())


def test_paddle_parameters_are_a_pickle_of_arrays_by_name(tmp_path: Path) -> None:
    for name, scale in (("a", 1), ("b", 2)):
        state = {"linear.weight": scale * W, "StructuredToParameterName@@": {"linear.weight": "linear_0.w_0"}}
        (tmp_path / f"{name}.pdparams").write_bytes(pickle.dumps(state, 2))
    checkpoint = opened(tmp_path / "a.pdparams")
    assert list(checkpoint.tensors) == ["linear.weight"] and checkpoint.safety == "safe"
    diff = compare_models(Input("a", checkpoint), Input("b", opened(tmp_path / "b.pdparams")))
    assert [change.name for change in diff.changes] == ["linear.weight"] and not diff.metadata


def test_mlx_weights_are_safetensors_whose_codes_keep_their_names(tmp_path: Path) -> None:
    tensors = {"q.weight": np.arange(8, dtype="u4").reshape(2, 4), "q.scales": W, "q.biases": W}
    save_file(tensors, tmp_path / "a.safetensors", {"format": "mlx"})
    checkpoint = opened(tmp_path / "a.safetensors")
    assert checkpoint.metadata["format"] == "mlx" and {"q.scales", "q.biases"} <= set(checkpoint.tensors)
    save_file({"l.weight": W}, tmp_path / "b.safetensors", {"format": "mlx"})
    np.savez(tmp_path / "b.npz", **{"l.weight": W})
    diff = compare_models(Input("a", opened(tmp_path / "b.safetensors")), Input("b", opened(tmp_path / "b.npz")))
    assert not diff.changes
