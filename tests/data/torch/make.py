"""Make the files beside this script, and expected.json with every tensor's bytes. Run once, with torch installed.

    python tests/data/torch/make.py
"""

from __future__ import annotations

import base64
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
warnings.simplefilter("ignore")
torch.manual_seed(0)


def described(name: str, tensor: torch.Tensor) -> list[object]:
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return [name, list(tensor.shape), base64.b64encode(data).decode()]


def main() -> None:
    head = torch.nn.Linear(3, 2)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), head)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(2, 2, 2, 2)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    shared = torch.arange(6, dtype=torch.float32)
    objects: dict[str, object] = {
        "zip.pt": state,
        "legacy.pt": state,
        "module.pt": model,
        "lightning.ckpt": {
            "epoch": 2, "global_step": 40, "pytorch-lightning_version": "2.4.0", "state_dict": state,
            "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [{"last_epoch": 2}],
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}}, "hyper_parameters": {"lr": 0.01},
        },
        "views.pt": {
            "transposed": torch.arange(12.0).reshape(3, 4).t(),
            "expanded": torch.tensor([1.0, 2.0]).reshape(2, 1).expand(2, 3),
            "sliced": torch.arange(20).reshape(4, 5)[1:3, ::2],
            "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
            "tied.a": shared, "tied.b": shared, "part": shared[2:4],
            "empty": torch.zeros(0, 3), "scalar": torch.tensor(7), "conj": torch.tensor([1 + 2j, 3 - 4j]).conj(),
            "bf16": torch.tensor([1.5, -2.0]).bfloat16(), "f8": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
            "u16": torch.tensor([1, 65535], dtype=torch.uint16), "bool": torch.tensor([True, False]),
        },
        "quantized.pt": {
            "tensor": torch.quantize_per_tensor(torch.tensor([-1.0, 0.0, 2.5]), 0.1, 3, torch.qint8),
            "channel": torch.quantize_per_channel(torch.tensor([[-1.0, 0.5], [2.0, 3.0]]), torch.tensor([0.1, 0.2]),
                                                  torch.tensor([1, 2]), 0, torch.quint8),
        },
    }  # fmt: skip
    expected: dict[str, list[list[object]]] = {}
    for name, value in objects.items():
        torch.save(value, HERE / name, _use_new_zipfile_serialization=name != "legacy.pt")
        tensors = state if name in ("zip.pt", "legacy.pt", "module.pt", "lightning.ckpt") else value
        assert isinstance(tensors, dict)
        expected[name] = [described(key, tensor) for key, tensor in tensors.items()]
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2).eval()), HERE / "script.pt")
    scripted = torch.jit.load(HERE / "script.pt")
    expected["script.pt"] = [described(key, tensor) for key, tensor in scripted.state_dict().items()]
    sparse = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).to_sparse().coalesce()
    torch.save({"s": sparse}, HERE / "sparse.pt")
    expected["sparse.pt"] = [described("s.indices", sparse.indices()), described("s.values", sparse.values())]
    grid = np.arange(6).reshape(2, 3)
    arrays = {"c": grid.astype("f4"), "f": np.asfortranarray(grid.astype("i2")), "big": np.arange(4, dtype=">f8")}
    for protocol in (2, 5):
        (HERE / f"numpy{protocol}.pkl").write_bytes(pickle.dumps({**arrays, "epoch": np.int64(3)}, protocol))
        little = {key: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for key, array in arrays.items()}
        expected[f"numpy{protocol}.pkl"] = [
            [key, list(array.shape), base64.b64encode(array.tobytes()).decode()] for key, array in little.items()
        ]
    (HERE / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


if __name__ == "__main__":
    main()
