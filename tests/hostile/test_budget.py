"""Any file below 10 MB costs at most 10 s and 500 MB, or ends in a state that names the limit."""

from __future__ import annotations

import os
import random
import subprocess
from itertools import islice
from pathlib import Path

import pytest
from bombs import FLOATS, WEIGHT, bombs
from ceiling import SECONDS, cost_of
from mutations import files as mutated_files
from torch_files import state, zipped

from diffai.config.keys import KEYS, Settings
from diffai.errors import LimitError
from diffai.formats.base import Budget, Limits, limits_of

GOOD = zipped({"data.pkl": state({"w": WEIGHT}), "data/0": FLOATS, "version": b"3\n"})
PARTS = 4
# What took most time or memory of all; benchmarks/fuzz.py and DIFFAI_FUZZ=1 try every one.
COSTLIEST = (
    "calls of the call before, twice", "lists of the list before, twice", "empty sets", "stubs", "many globals",
    "dict of a dict again and again", "memo of everything", "names of 65 kB", "tensors that look alike",
    "zip of 2,000 members of 100 kB", "zip that spools 60 MB", "legacy of many storages", "pickles with a call in a row",
    "depth of 2,000,000", "many tensors of stride 0", "texts in calls",
)
NUMBERS = ("max_steps", "max_values", "max_made", "max_names", "max_members", "max_inflation", "max_depth")


@pytest.mark.parametrize("part", range(PARTS))
def test_check_stays_below_the_ceiling(part: int, tmp_path: Path) -> None:
    chosen = bombs() if os.environ.get("DIFFAI_FUZZ") else {name: bombs()[name] for name in COSTLIEST}
    for name, data in list(chosen.items())[part::PARTS]:
        assert len(data) < 10_000_000, name
        (tmp_path / "bomb.pt").write_bytes(data)
        cost = cost_of(["check", "bomb.pt"], tmp_path)
        assert not cost.over, (name, cost.seconds, cost.megabytes, cost.status, cost.output[-500:])


@pytest.mark.parametrize("part", range(PARTS))
def test_a_comparison_and_show_stay_below_it_too(part: int, tmp_path: Path) -> None:
    (tmp_path / "good.pt").write_bytes(GOOD)
    for name, data in list(bombs().items())[part::PARTS * 6]:
        (tmp_path / "bomb.pt").write_bytes(data)
        for arguments in (["show", "bomb.pt"], ["good.pt", "bomb.pt"]):
            cost = cost_of(arguments, tmp_path)
            assert not cost.over, (name, arguments, cost)


def test_a_bomb_does_not_stop_git_diff(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(tmp_path), *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    git("init", "-q")
    subprocess.run(["diffai", "install", "--local"], cwd=tmp_path, check=False, capture_output=True)
    names = ("lists of the list before, twice", "empty sets", "zip of 2,000 members of 100 kB", "stubs")
    for number, name in enumerate(names):
        (tmp_path / f"m{number}.pt").write_bytes(GOOD)
        git("add", f"m{number}.pt")
        (tmp_path / f"m{number}.pt").write_bytes(bombs()[name])
    shown = git("diff")
    assert "diffai.max" in shown


def test_each_number_of_the_budget_has_its_key_and_says_it() -> None:
    assert limits_of(Settings()) == Limits(allow_torch=False)
    keys = {key.field: key for key in KEYS}
    budget = Budget(Limits(max_steps=1, max_values=1, max_made=1, max_names=1, max_members=1, max_depth=1))
    spend = {"max_steps": budget.step, "max_values": budget.value, "max_made": budget.make, "max_names": budget.name,
             "max_members": budget.member, "max_depth": budget.deep}  # fmt: skip
    for field in NUMBERS:
        assert keys[field].git
        assert not keys[field].toml  # no clone can lift its own limit
        with pytest.raises(LimitError, match=f"limit diffai.{keys[field].git}"):
            budget.inflate(1, 1 << 40) if field == "max_inflation" else spend[field](5)


def test_a_limit_is_lifted_by_the_key_it_names(tmp_path: Path) -> None:
    deep = b"\x80\x02}X\x01\0\0\0w" + WEIGHT + b"sX\x01\0\0\0d" + b"]" * 300 + b"a" * 299 + b"s."
    data = zipped({"data.pkl": deep, "data/0": FLOATS, "version": b"3\n"})
    (tmp_path / "m.pt").write_bytes(data)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert "limit diffai.maxDepth" in cost_of(["check", "m.pt"], tmp_path).output
    subprocess.run(["git", "-C", str(tmp_path), "config", "diffai.maxDepth", "1000"], check=True)
    assert cost_of(["check", "m.pt"], tmp_path).status == 0


FAULTS = {
    "16 open files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))",
    "64 open files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "300 MB of addresses": "import resource; resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_starved_process_ends_in_a_state_and_no_crash(fault: str, tmp_path: Path) -> None:
    large = zipped({"data.pkl": state({"w": WEIGHT}), "data/0": FLOATS, "version": b"3\n", "extra/x": bytes(3_000_000)})
    (tmp_path / "good.pt").write_bytes(GOOD)
    (tmp_path / "large.pt").write_bytes(large)
    (tmp_path / "bomb.pt").write_bytes(bombs()["empty dictionaries"])
    (tmp_path / "packed.pt").write_bytes(zipped({"data.pkl": state({"w": WEIGHT}), "data/0": FLOATS}, compression=8))
    for arguments in (["show", "good.pt"], ["check", "large.pt"], ["good.pt", "bomb.pt"], ["good.pt", "packed.pt"]):
        cost = cost_of(arguments, tmp_path, limits=FAULTS[fault])
        assert cost.status in (0, 1, 2), (arguments, cost)
        assert "Traceback" not in cost.output, (arguments, cost.output[-800:])
        assert cost.output


def test_mutated_files_stay_below_the_ceiling(tmp_path: Path) -> None:
    rng = random.Random(7)
    for number, (_, data) in enumerate(islice(mutated_files(rng.randrange(1 << 30)), 200)):
        (tmp_path / f"m{number}.pt").write_bytes(data)
    names = [f"m{number}.pt" for number in range(200)]
    cost = cost_of(["check", *names], tmp_path)
    assert cost.status in (1, 2)
    assert cost.seconds < SECONDS
    assert "Traceback" not in cost.output
