"""Real training histories in real repositories, and figures recomputed from ``git show`` with numpy alone."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gitrepo import Repo
from safetensors.numpy import load, save

Weights = Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def start(seed: int = 0, width: int = 8) -> dict[str, np.ndarray]:
    """A small model: two layers, a head, a batch-norm buffer."""
    r = np.random.default_rng(seed)
    weights = {
        f"layers.{i}.{kind}.weight": r.standard_normal((width, width)).astype("f4")
        for i in range(2)
        for kind in ("attn", "mlp")
    }
    weights["head.weight"] = r.standard_normal((3, width)).astype("f4")
    weights["head.bias"] = r.standard_normal(3).astype("f4")
    weights["norm.running_mean"] = r.standard_normal(width).astype("f4")
    return weights


def trained(weights: Weights, seed: int, only: str = "", scale: float = 0.1) -> dict[str, np.ndarray]:
    """One step further: names that begin with ``only`` move."""
    r = np.random.default_rng(seed)
    return {
        name: (value + scale * r.standard_normal(value.shape)).astype("f4") if name.startswith(only) else value
        for name, value in weights.items()
    }


def commit(repo: Repo, weights: Weights, subject: str, *, path: str = "model.safetensors", day: int = 1) -> str:
    """Commit a version of the model; its commit."""
    stamp = f"2024-01-{day:02d}T12:00:00+0000"
    repo.write({path: save(dict(weights), metadata={"step": subject})})
    repo.git("add", "--", path)
    repo.git("commit", "-q", "-m", subject, env={"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp})
    return repo.rev_parse("HEAD")


def history(repo: Repo, steps: int, *, path: str = "model.safetensors") -> list[tuple[str, dict[str, np.ndarray]]]:
    """A training run: (commit, weights), oldest first."""
    weights = start()
    runs = []
    for step in range(steps):
        weights = trained(weights, step) if step else weights
        runs.append((commit(repo, weights, f"step {step}", path=path, day=step + 1), weights))
    return runs


def shown(repo: Repo, rev: str, path: str = "model.safetensors") -> dict[str, np.ndarray]:
    """The weights that ``git show`` gives, LFS pointers smudged."""
    data = subprocess.run(
        ["git", "cat-file", "--filters", f"{rev}:{path}"], cwd=repo.top, capture_output=True, check=True
    ).stdout
    return load(data)


def parameters(weights: Weights) -> list[str]:
    """Names that count as parameters."""
    return [name for name in weights if not name.endswith("running_mean")]


def flat(weights: Weights, names: Sequence[str]) -> np.ndarray:
    """Tensors as one float64 vector."""
    return np.concatenate([weights[name].astype("f8").ravel() for name in names])


def expected(versions: Sequence[Weights]) -> list[dict[str, float]]:
    """relative L2, cosine, drift and cosine of successive updates, by plain numpy, for versions of one shape."""
    names = parameters(versions[0])
    vectors = [flat(version, names) for version in versions]
    rows: list[dict[str, float]] = []
    for i, now in enumerate(vectors):
        row = {"norm": float(np.linalg.norm(now))}
        if i:
            before = vectors[i - 1]
            row["update_size"] = float(np.linalg.norm(now - before) / np.linalg.norm(before))
            row["cosine"] = float(now @ before / np.linalg.norm(now) / np.linalg.norm(before))
            row["drift"] = float(np.linalg.norm(now - vectors[0]) / np.linalg.norm(vectors[0]))
        if i > 1 and (now - vectors[i - 1]).any() and (vectors[i - 1] - vectors[i - 2]).any():
            a, b = now - vectors[i - 1], vectors[i - 1] - vectors[i - 2]
            row["update_cosine"] = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        rows.append(row)
    return rows


def diffai(top: Path, *words: str, code: int = 0) -> str:
    """Run the command line in this process; its stdout. The exit code is asserted."""
    import contextlib
    import io
    import os

    from diffai.cli.main import main

    class Out(io.TextIOWrapper):
        def __init__(self) -> None:
            super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

        def text(self) -> str:
            self.flush()
            return self.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined, no-any-return]

    out, err, before = Out(), Out(), os.getcwd()
    os.chdir(top)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            got = main(list(words))
    finally:
        os.chdir(before)
    assert got == code, f"diffai {' '.join(words)}: {got}\n{out.text()}\n{err.text()}"
    return out.text() if not code else out.text() + err.text()
