"""Long-lived processes that really load files: torch with weights_only, and pickle and torch under an audit hook.

Each is one subprocess that reads length-prefixed files from its input and answers one JSON line a file, so that
thousands of files cost one import of torch. Run as a program, this file is that subprocess.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from typing import Any

# What loading a safe file may make Python report: looking up an allowed name. All else is a failed proof.
HARMLESS_EVENTS = frozenset(("pickle.find_class", "object.__getattr__", "code.__new__", "sys._getframe"))


class Loader:
    """A process in one mode: ``weights`` (torch.load, weights_only=True) or ``audit`` (pickle and torch, watched)."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None
        self.crashes = 0

    def __call__(self, data: bytes) -> dict[str, Any]:
        """The answer; {"error": "crashed"} when loading killed the process."""
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(struct.pack("<Q", len(data)) + data)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:  # interrupted: its answer would be taken for that of the next file
            self.close()
            raise
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.crashes += 1
        self.close()
        return {"error": "crashed"}

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _main(mode: str) -> None:
    import io
    import resource
    import warnings

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    warnings.simplefilter("ignore")
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    answer = _weights if mode == "weights" else _watcher()
    while header := source.read(8):
        data = source.read(struct.unpack("<Q", header)[0])
        target.write(json.dumps(answer(io.BytesIO(data))).encode() + b"\n")


def _weights(file: Any) -> dict[str, Any]:
    import torch

    try:
        value = torch.load(file, map_location="cpu", weights_only=True)
        flat = {key: _facts(item) for key, item in value.items() if isinstance(item, torch.Tensor)} if (
            type(value) is dict and all(type(key) is str for key in value)) else None  # fmt: skip
        return {"flat": flat, "tensors": sorted(map(_facts, _tensors(value)))}
    except Exception as error:  # torch raises anything
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def _tensors(value: Any) -> list[Any]:
    import torch

    found, pending, seen = [], [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, dict | list | tuple | set) and id(item) not in seen:
            seen.add(id(item))
            pending.extend(item.values() if isinstance(item, dict) else item)
    return found


def _facts(tensor: Any) -> list[Any]:
    import hashlib

    import torch

    plain = tensor.detach()
    if plain.layout is not torch.strided or plain.is_quantized or plain.device.type != "cpu":
        raise ValueError("another kind of tensor")
    plain = plain.resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = bytes(plain.view(torch.uint8).numpy()) if plain.numel() else b""
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), hashlib.sha256(data).hexdigest()]


def _watcher() -> Any:
    import io
    import pickle

    import torch

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, identifier: Any) -> Any:
            return torch.UntypedStorage(64)._typed_storage() if identifier else None

    events: set[str] = set()
    watching = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event not in HARMLESS_EVENTS:
            events.add(f"{event} {arguments!r}"[:200])

    torch.load(io.BytesIO(_warm()), weights_only=False)  # what is imported once is imported now
    sys.addaudithook(hook)

    def answer(file: Any) -> dict[str, Any]:
        nonlocal watching
        data, loaded = file.getvalue(), 0
        events.clear()
        for load in (lambda f: Unpickler(f).load(), lambda f: torch.load(f, map_location="cpu", weights_only=False)):
            watching = True
            try:
                load(io.BytesIO(data))
                loaded += 1
            except Exception:
                pass
            finally:
                watching = False
        return {"events": sorted(events), "loaded": loaded}

    return answer


def _warm() -> bytes:
    import collections
    import io

    import numpy as np
    import torch

    out = io.BytesIO()
    value = {"w": torch.ones(2), "q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
             "p": torch.nn.Parameter(torch.ones(1)), "s": torch.eye(2).to_sparse(), "n": np.ones(2), "d": np.float32(1),
             "o": collections.OrderedDict(a=1)}  # fmt: skip
    torch.save(value, out)
    return out.getvalue()


if __name__ == "__main__":
    _main(sys.argv[1])
