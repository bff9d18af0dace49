"""A model project as a team has it: a network trained with numpy, over branches, merges, renames, LFS and DVC.

And the same history told anew without any of our code: bytes out of ``git show``, safetensors, float64.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gitrepo import Repo
from safetensors.numpy import load, save

Weights = dict[str, Any]

PATHS = ("models/final.safetensors", "models/net.safetensors", "model.safetensors")
"""Newest first."""


def network(seed: int = 0) -> Weights:
    """Three layers and a buffer."""
    r = np.random.default_rng(seed)
    sizes = ((12, 16), (16, 16), (16, 4))
    weights: Weights = {}
    for i, (n, m) in enumerate(sizes):
        weights[f"layers.{i}.weight"] = (r.standard_normal((m, n)) / np.sqrt(n)).astype("f4")
        weights[f"layers.{i}.bias"] = np.zeros(m, "f4")
    weights["norm.running_mean"] = np.zeros(12, "f4")
    return weights


def train(weights: Weights, seed: int, *, only: str = "", rate: float = 0.1, steps: int = 5) -> Weights:
    """Some steps of gradient descent on made-up data; names that begin with ``only`` move."""
    r = np.random.default_rng(seed)
    w = {name: value.astype("f8") for name, value in weights.items()}
    count = sum(name.endswith("weight") for name in w)
    for _ in range(steps):
        x = r.standard_normal((32, w["layers.0.weight"].shape[1])) + 0.5
        y = np.sin(x @ np.arange(1.0, x.shape[1] + 1)[:, None])
        hidden = [x]
        for i in range(count):
            z = hidden[-1] @ w[f"layers.{i}.weight"].T + w[f"layers.{i}.bias"]
            hidden.append(np.tanh(z) if i < count - 1 else z)
        grad = (hidden[-1] - y) / len(x)
        for i in reversed(range(count)):
            if i < count - 1:
                grad = grad * (1 - hidden[i + 1] ** 2)
            below = grad @ w[f"layers.{i}.weight"]
            if f"layers.{i}".startswith(only):
                w[f"layers.{i}.weight"] = w[f"layers.{i}.weight"] - rate * grad.T @ hidden[i]
                w[f"layers.{i}.bias"] = w[f"layers.{i}.bias"] - rate * grad.sum(0)
            grad = below
        if not only:
            w["norm.running_mean"] = 0.9 * w["norm.running_mean"] + 0.1 * x.mean(0)
    return {name: value.astype(weights[name].dtype) for name, value in w.items()}


class Project:
    """The repository, as it grows; ``tags`` names its commits by what they are called in the tests."""

    def __init__(self, repo: Repo) -> None:
        self.repo, self.day = repo, 0

    def commit(self, message: str, *options: str) -> str:
        """Commit what is staged, an hour after the last one."""
        self.day += 1
        stamp = f"2024-02-{1 + self.day // 24:02d}T{self.day % 24:02d}:00:00+0000"
        who = ("Ada", "Grace")[self.day % 2]
        env = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp, "GIT_AUTHOR_NAME": who}
        self.repo.git("commit", "-q", "-m", message, *options, env=env)
        return self.repo.rev_parse("HEAD")

    def put(self, weights: Weights, message: str, path: str = "model.safetensors") -> str:
        """A version in git or git-LFS."""
        self.repo.write({path: save(weights, metadata={"note": message})})
        self.repo.git("add", "--", path)
        return self.commit(message)

    def put_dvc(self, weights: Weights, message: str, path: str) -> str:
        """A version in DVC, laid out as DVC does."""
        data = save(weights, metadata={"note": message})
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        name = path.rpartition("/")[2]
        pointer = f"outs:\n- md5: {md5}\n  size: {len(data)}\n  hash: md5\n  path: {name}\n"
        self.repo.write({
            path: data, f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}": data, ".dvc/config": "",
            f"{path}.dvc": pointer, ".gitignore": f"/{path}\n/.dvc/cache\n",
        })  # fmt: skip
        self.repo.git("add", f"{path}.dvc", ".gitignore", ".dvc/config")
        return self.commit(message)

    def branch(self, name: str, at: str = "HEAD") -> None:
        self.repo.git("checkout", "-q", "-b", name, at)

    def switch(self, name: str) -> None:
        self.repo.git("checkout", "-q", name)

    def merge(self, message: str, *names: str, weights: Weights | None = None, path: str = "model.safetensors") -> str:
        """A merge commit of HEAD and other branches that holds ``weights``, or what git makes of it."""
        if weights is None:
            self.repo.git("merge", "-q", "--no-ff", "--no-commit", *names)
            return self.commit(message)
        self.repo.write({path: save(weights, metadata={"note": message})})
        self.repo.git("add", "--", path)
        tree = self.repo.git("write-tree").strip()
        parents = [word for name in ("HEAD", *names) for word in ("-p", self.repo.rev_parse(name))]
        made = self.repo.git("commit-tree", tree, *parents, "-m", message).strip()
        self.repo.git("reset", "-q", "--hard", made)
        return made


def mean(*models: Weights) -> Weights:
    """What a team does that averages its runs."""
    return {name: np.mean([m[name].astype("f8") for m in models], axis=0).astype("f4") for name in models[0]}


def make_project(repo: Repo) -> Repo:
    """Over thirty commits that touch the model, on ``main`` and on branches."""
    p = Project(repo)
    w = network()
    p.put(w, "start")
    run = [w]
    for i in range(1, 5):
        run.append(w := train(w, i))
        p.put(w, f"epoch {i}")
    # Two branches from epoch 2, averaged with main: an evil merge.
    p.branch("side", "HEAD~2")
    side = run[2]
    for i in range(2):
        side = train(side, 20 + i, rate=0.3)
        p.put(side, f"side {i}")
    p.switch("main")
    w = mean(w, side)
    p.merge("merge side, averaged", "side", weights=w)
    p.put(w := train(w, 5), "epoch 5")
    # A branch that alone moved the model: the merge equals it.
    p.branch("tie")
    p.put(w := train(w, 30, only="layers.2"), "tie")
    p.switch("main")
    repo.write({"notes.txt": "notes"})
    repo.git("add", "notes.txt")
    p.commit("notes only")
    p.merge("merge tie", "tie")
    # A branch that is thrown away.
    p.branch("discarded")
    p.put(train(w, 31, rate=1.0), "discarded")
    p.switch("main")
    p.put(w := train(w, 6), "epoch 6")
    repo.git("merge", "-q", "-s", "ours", "--no-commit", "discarded")
    p.commit("merge discarded with ours")
    # Octopus merges: one that git makes, one that averages.
    for name in ("left", "right"):
        p.branch(name, "main")
        repo.write({f"{name}.txt": name})
        repo.git("add", f"{name}.txt")
        p.commit(f"{name}: text only")
    p.switch("left")
    p.put(w := train(w, 40, only="layers.0"), "left trains layer 0")
    p.switch("main")
    p.merge("octopus", "left", "right")
    models = []
    for i, name in enumerate(("one", "two")):
        p.branch(name, "main")
        models.append(train(w, 50 + i))
        p.put(models[-1], f"{name} trains")
    p.switch("main")
    w = mean(w, *models)
    p.merge("octopus, averaged", "one", "two", weights=w)
    # Back to an older version, and on from there.
    p.put(w := train(w, 7), "epoch 7")
    p.put(train(w, 8, rate=2.0), "epoch 8, too fast")
    repo.git("checkout", "-q", "HEAD~1", "--", "model.safetensors")
    p.commit("back to epoch 7")
    p.put(w := train(w, 9), "epoch 9")
    _move_about(p, w)
    return repo


def _move_about(p: Project, w: Weights) -> None:
    """Renames, LFS, deleted and added again, DVC; another shape and another dtype."""
    repo, (final, net, first) = p.repo, PATHS
    (repo.top / "models").mkdir()
    repo.git("mv", first, net)
    p.commit("rename")
    p.put(w := train(w, 10), "epoch 10", net)
    repo.git("rm", "-q", "--cached", net)
    (repo.top / net).unlink()
    p.put(w := train(w, 11), "rename and train", final)
    repo.git("lfs", "install", "--local")
    repo.write({".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
    repo.git("add", ".gitattributes")
    repo.git("add", "--renormalize", final)
    p.commit("to LFS")
    p.put(w := train(w, 12), "epoch 12", final)
    repo.git("rm", "-q", final)
    p.commit("removed")
    repo.write({"notes.txt": "gone for a while"})
    repo.git("add", "notes.txt")
    p.commit("notes again")
    p.put(w := train(w, 13), "back again", final)
    wider = dict(w) | {"layers.2.weight": np.concatenate([w["layers.2.weight"]] * 2), "extra.scale": np.ones(3, "f4")}
    wider["layers.2.bias"] = np.concatenate([w["layers.2.bias"]] * 2)
    p.put(wider, "wider head", final)
    half = {name: value.astype("f2") if name.startswith("layers.1") else value for name, value in wider.items()}
    p.put(half, "layer 1 in half precision", final)
    repo.git("rm", "-q", "--cached", final)
    p.put_dvc(half, "to DVC", final)
    named = {name.replace("layers.0", "stem"): value for name, value in half.items()}
    p.put_dvc(named, "layer 0 is called stem", final)
    for i in range(14, 17):
        r = np.random.default_rng(i)
        named = {n: (v + 0.01 * r.standard_normal(v.shape)).astype(v.dtype) if n != "extra.scale" else v
                 for n, v in named.items()}  # fmt: skip
        p.put_dvc(named, f"epoch {i}", final)


# ---------------------------------------------------------------- told anew


class State(NamedTuple):
    """What a commit has of the model."""

    path: str
    holder: str
    data: bytes

    @property
    def weights(self) -> Weights:
        return load(self.data)


def _git(top: Path, *words: str) -> bytes | None:
    done = subprocess.run(["git", *words], cwd=top, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def state_at(top: Path, commit: str, paths: Sequence[str] = PATHS) -> State | None:
    """The model at a commit, under any of its names; pointers followed by hand."""
    for path in paths:
        data = _git(top, "show", f"{commit}:{path}")
        if data is not None and data.startswith(b"version https://git-lfs"):
            oid = data.split(b"sha256:")[1].split()[0].decode()
            return State(path, "git-lfs", (top / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}").read_bytes())
        if data is not None:
            return State(path, "git", data)
        pointer = _git(top, "show", f"{commit}:{path}.dvc")
        if pointer is not None:
            md5 = pointer.split(b"md5: ")[1].split()[0].decode()
            return State(path, "dvc", (top / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").read_bytes())
    return None


class Told:
    """The history of a repository: every commit's parents and model."""

    def __init__(self, top: Path, rev: str = "HEAD", paths: Sequence[str] = PATHS) -> None:
        lines = (_git(top, "rev-list", "--topo-order", "--parents", rev) or b"").decode().splitlines()
        self.parents = {words[0]: words[1:] for words in map(str.split, lines)}
        self.states = {commit: state_at(top, commit, paths) for commit in self.parents}
        self.head = lines[0].split()[0]

    def commits(self, *, first_parent: bool = False) -> list[str]:
        """Those that a log lists, newest first: where a merge holds what a parent holds, only that parent counts."""
        listed, todo, seen = set(), [self.head], set()
        while todo:
            commit = todo.pop()
            if commit in seen:
                continue
            seen.add(commit)
            state, parents = self.states[commit], self.parents[commit]
            if first_parent:
                parents = parents[:1]
            same = [parent for parent in parents if self.states[parent] == state]
            todo += same[:1] if same else parents
            if not same and not (state is None and not parents):
                listed.add(commit)
        return [commit for commit in self.parents if commit in listed]

    def before(self, commit: str) -> State | None:
        """In the first parent."""
        parents = self.parents[commit]
        return self.states[parents[0]] if parents else None

    def before_that(self, commit: str) -> State | None:
        """The version that the first parent's version replaced, along first parents."""
        at = self.parents[commit][0]
        while self.parents[at] and self._bytes(self.before(at)) == self._bytes(self.states[at]):
            at = self.parents[at][0]
        return self.before(at)

    @staticmethod
    def _bytes(state: State | None) -> bytes:
        return state.data if state is not None else b""

    def figures(self, commit: str, first: State, renamed: Mapping[str, str]) -> dict[str, Any]:
        """What the entry of a commit has to say, in float64; ``renamed`` maps a name of now to that of long ago."""
        state, before = self.states[commit], self.before(commit)
        assert state is not None
        now = _parameters(state.weights)
        row: dict[str, Any] = {"norm": _norm(now, now)}
        row["drift"] = _relative(now, _as(_parameters(first.weights), now, renamed)) if first is not state else None
        if before is None:
            return row
        then = _as(_parameters(before.weights), now, renamed)
        row["update_size"], row["cosine"] = _relative(now, then), _cosine(now, then)
        earlier = self.before_that(commit)
        row["update_cosine"] = None
        if earlier is not None:
            row["update_cosine"] = _turn(now, then, _as(_parameters(earlier.weights), now, renamed))
        return row


def _parameters(weights: Weights) -> Weights:
    return {n: v.astype("f8") for n, v in weights.items() if not n.endswith("running_mean")}


def _as(old: Weights, now: Weights, renamed: Mapping[str, str]) -> Weights:
    """Those of old that now has in the same shape, under its names."""
    found = {name: old.get(name, old.get(renamed.get(name, ""), None)) for name in now}
    return {name: value for name, value in found.items() if value is not None and value.shape == now[name].shape}


def _vector(weights: Weights, names: Mapping[str, Any]) -> Any:
    return np.concatenate([weights[name].ravel() for name in names])


def _norm(weights: Weights, names: Mapping[str, Any]) -> float:
    return float(np.linalg.norm(_vector(weights, names)))


def _relative(now: Weights, then: Weights) -> float:
    return float(np.linalg.norm(_vector(now, then) - _vector(then, then)) / np.linalg.norm(_vector(then, then)))


def _cosine(now: Weights, then: Weights) -> float:
    a, b = _vector(now, then), _vector(then, then)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def _turn(now: Weights, then: Weights, earlier: Weights) -> float | None:
    names = [name for name in then if name in earlier]
    update = np.concatenate([(now[n] - then[n]).ravel() for n in names])
    last = np.concatenate([(then[n] - earlier[n]).ravel() for n in names])
    # Both updates as a whole: over what each of them can be told of.
    if not update.any() or not last.any():
        return None
    return float(update @ last / np.linalg.norm(update) / np.linalg.norm(last))


def as_json(text: str) -> Any:
    """Newest first."""
    return json.loads(text)
