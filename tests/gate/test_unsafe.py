"""Pickles under the gate: judged in any clothes, and permitted by exact names of the base's policy alone."""

from __future__ import annotations

import pickle

import pytest
import torch_files
from gating import EVIL, gate, gate_json, model, staged
from gitrepo import Repo


def built(module: str, name: str) -> bytes:
    """A torch file that constructs ``module.name``."""
    pickled = pickle.PROTO + b"\x02" + f"c{module}\n{name}\n)R.".encode()
    return torch_files.zipped({"data.pkl": pickled, "version": b"3\n"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("new.pt", EVIL),
        ("m.pkl", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."),
        ("m.pth.tar", EVIL),
        ("deep/m.PICKLE", EVIL),
        ("new.pt", b"(S'id'\nios\nsystem\n."),
        ("m.pkl", b"(S'id'\nios\nsystem\n."),
        ("m.ckpt", b"\x80\x02]q\x00.cos\nsystem\n(S'id'\ntR."),
    ],
)
def test_a_pickle_in_any_clothes_is_judged(repo: Repo, name: str, content: bytes) -> None:
    repo.commit({"a.txt": "a"})
    staged(repo, {name: content})
    done = gate(repo)
    assert done.returncode == 1 and "forbid_unsafe_pickle" in done.stdout, done.stdout + done.stderr


def test_a_name_is_permitted_by_the_base_alone(repo: Repo) -> None:
    policy = '[gate]\nallow_globals = ["mypkg.model.Net"]\n'
    repo.commit({"a.txt": "a"})
    staged(repo, {"m.pt": built("mypkg.model", "Net"), ".diffai.toml": policy})
    assert "forbid_unsafe_pickle" in gate(repo).stdout  # the policy permits nothing before it is committed
    repo.git("commit", "-q", "-m", "both")
    assert gate(repo, "--base", "HEAD~1").returncode == 1
    repo.git("reset", "-q", "--soft", "HEAD~1")
    repo.git("reset", "-q", "m.pt")
    repo.git("commit", "-q", "-m", "the policy")
    staged(repo, {"m.pt": built("mypkg.model", "Net")})
    done = gate(repo)
    assert done.returncode == 0
    assert "allowed by .diffai.toml:2, though not by default: forbid_unsafe_pickle in m.pt" in done.stdout
    repo.git("commit", "-q", "-m", "the model")
    assert gate(repo, "--base", "HEAD~1").returncode == 0
    staged(repo, {"m.pt": built("mypkg.model", "Net2")})
    assert gate(repo).returncode == 1


@pytest.mark.parametrize("names", ['["os.*"]', '["system"]', '["os:system"]', '"os.system"', "[1]"])
def test_permitted_names_are_exact(repo: Repo, names: str) -> None:
    staged(repo, {"m.safetensors": model(4), ".diffai.toml": f"[gate]\nallow_globals = {names}\n"})
    done = gate(repo)
    assert done.returncode == 2 and "a list of exact names" in done.stderr


def test_what_is_permitted_is_no_attribute_walk(repo: Repo) -> None:
    walk = b"\x80\x04\x8c\x05mypkg\x8c\x0aNet.method\x93."
    repo.commit({".diffai.toml": '[gate]\nallow_globals = ["mypkg.Net", "mypkg.Net.method"]\n'})
    staged(repo, {"m.pkl": walk})
    assert gate_json(repo)["models"][0]["outcome"] == "refused"
