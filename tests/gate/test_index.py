"""The gate on what is about to be committed, through real commits."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import pytest
from gating import EVIL, diffai, gate, gate_json, model, staged
from gitrepo import Repo, lfs_pointer


@pytest.fixture
def base(repo: Repo) -> Repo:
    """A repository with one model in its first commit."""
    repo.commit({"models/m.safetensors": model(4), "README.md": "hello\n"})
    return repo


def rules(report: dict[str, object]) -> list[str]:
    models = report["models"]
    assert isinstance(models, list)
    return [violation["rule"] for entry in models for violation in entry["violations"]]


def test_values_pass_and_structure_is_refused(base: Repo) -> None:
    staged(base, {"models/m.safetensors": model(4, scale=2)})
    passed = gate(base)
    assert passed.returncode == 0 and "1 changed model keeps the policy (HEAD -> the index)" in passed.stdout
    staged(base, {"models/m.safetensors": model(5)})
    refused = gate(base)
    assert refused.returncode == 1
    assert "models/m.safetensors: REFUSED" in refused.stdout
    assert "~ head.weight: shape=[4, 2] -> [5, 2]" in refused.stdout
    assert "diffai gate approve models/m.safetensors --why" in refused.stdout


def test_only_the_index_counts_not_the_work_tree(base: Repo) -> None:
    base.write({"models/m.safetensors": model(5)})
    assert gate(base).returncode == 0
    staged(base, {"models/m.safetensors": model(4, scale=2)})
    base.write({"models/m.safetensors": model(5)})
    assert gate(base).returncode == 0


def test_the_first_commit_of_a_repository(repo: Repo) -> None:
    staged(repo, {"m.safetensors": model(4)})
    assert gate_json(repo)["models"][0]["status"] == "added"
    staged(repo, {"m.safetensors": model(4, nan=True)})
    report = gate_json(repo)
    assert report["exit_code"] == 1 and rules(report) == ["forbid_nan"]


def test_deleted_renamed_moved_and_converted_models_are_seen(base: Repo) -> None:
    base.commit({"b/x.safetensors": model(4, scale=3), "b/y.safetensors": model(4, scale=4)})
    base.git("rm", "-q", "models/m.safetensors")
    base.git("mv", "b/x.safetensors", "b/renamed.safetensors")
    base.git("rm", "-q", "b/y.safetensors")
    staged(base, {"c/y.safetensors": model(6, scale=4)})
    report = gate_json(base)
    seen = {entry["path"]: (entry["status"], entry["outcome"]) for entry in report["models"]}
    assert seen == {
        "models/m.safetensors": ("deleted", "warn"),
        "b/renamed.safetensors": ("renamed", "pass"),
        "c/y.safetensors": ("renamed", "refused"),
    }
    assert report["exit_code"] == 1


def test_a_renamed_model_limited_to_its_new_path_is_still_a_rename(base: Repo) -> None:
    base.git("mv", "models/m.safetensors", "models/n.safetensors")
    assert gate_json(base, "models/n.safetensors")["models"][0]["status"] == "renamed"
    assert gate_json(base, "README.md")["models"] == []


def test_paths_are_relative_to_the_working_directory(base: Repo) -> None:
    staged(base, {"models/m.safetensors": model(5)})
    assert gate(base, "m.safetensors", cwd=base.top / "models").returncode == 1
    assert gate(base, "../README.md", cwd=base.top / "models").returncode == 0
    assert gate(base, "models").returncode == 1
    slip = gate(base, "models/n.safetensors")
    assert slip.returncode == 2 and "no such file, and none that changed" in slip.stderr


def test_a_text_file_of_a_models_name_is_no_model(base: Repo) -> None:
    staged(base, {"notes.bin": "just text\n", "a.pt": ""})
    assert gate(base).returncode == 0 and gate_json(base)["models"] == []


def test_a_broken_model_cannot_be_judged_and_fails(base: Repo) -> None:
    staged(base, {"models/m.safetensors": model(4)[:-3]})
    done = gate(base)
    assert done.returncode == 2 and "NOT JUDGED" in done.stdout
    staged(base, {".diffai.toml": '[[gate.rule]]\npaths = ["models/"]\non_missing = "warn"\n'})
    assert gate(base).returncode == 0


def test_a_policy_is_read_from_the_index_and_its_change_reported(base: Repo) -> None:
    base.write({".diffai.toml": '[gate]\nstructure = "warn"\n'})
    staged(base, {"models/m.safetensors": model(5)})
    first = gate(base)
    assert first.returncode == 0 and ".diffai.toml:2" in first.stdout
    base.git("add", ".diffai.toml")
    base.write({".diffai.toml": '[gate]\nstructure = "forbid"\n'})
    second = gate(base)
    assert second.returncode == 0 and "the policy itself changes (.diffai.toml)" in second.stdout


def test_a_wrong_policy_is_an_error_also_without_a_model(base: Repo) -> None:
    staged(base, {".diffai.toml": '[gate]\nstructur = "warn"\n'})
    done = gate(base)
    assert done.returncode == 2
    assert done.stderr == "diffai: .diffai.toml:2: unknown key structur; did you mean structure?\n"


def test_files_with_other_names_are_included_by_the_policy(base: Repo) -> None:
    base.commit({"w/model.weights": model(4), ".diffai.toml": '[gate]\ninclude = ["*.weights"]\n'})
    staged(base, {"w/model.weights": model(5)})
    assert gate(base).returncode == 1


def test_off_is_honoured_and_printed(base: Repo) -> None:
    staged(base, {"models/m.safetensors": model(5)})
    done = gate(base, env={"DIFFAI_GATE": "off"})
    assert (done.returncode, done.stdout) == (0, "")
    assert "switched off by DIFFAI_GATE=off" in done.stderr


def test_explain_says_where_each_value_comes_from(base: Repo) -> None:
    rule = '[[gate.rule]]\npaths = ["models/"]\nfrozen = ["backbone.*"]\n'
    base.commit({".diffai.toml": f'[gate]\ndtype = "warn"\n{rule}'})
    done = gate(base, "--explain", "models/m.safetensors")
    assert done.returncode == 0
    assert "  dtype                 warn          .diffai.toml:2\n" in done.stdout
    assert "  frozen                [backbone.*]  .diffai.toml:5 (rule 1)\n" in done.stdout
    assert "  structure             forbid        default\n" in done.stdout


def test_lfs_models_are_judged_by_their_objects(base: Repo) -> None:
    base.lfs_track("*.safetensors")
    base.commit({"lfs.safetensors": model(4)})
    staged(base, {"lfs.safetensors": model(5)})
    assert base.git("cat-file", "-p", ":lfs.safetensors").startswith("version https://git-lfs")
    assert rules(gate_json(base, "lfs.safetensors")) == ["structure.reshaped"]


def test_a_missing_lfs_object_warns_in_a_hook_and_can_be_made_to_fail(base: Repo) -> None:
    pointer = lfs_pointer(hashlib.sha256(b"gone").hexdigest(), 5_000_000)
    staged(base, {"models/m.safetensors": pointer})
    done = gate(base)
    assert done.returncode == 0 and "NOT JUDGED: LFS object not downloaded (5.0 MB" in done.stdout
    assert gate(base, "--on-missing", "fail").returncode == 2
    staged(base, {".diffai.toml": '[gate]\non_missing = "fail"\n'})
    assert gate(base).returncode == 2
    staged(base, {".diffai.toml": "[gate]\nmax_size = 1000\n"})
    assert "max_size: 5.0 MB is larger" in gate(base).stdout  # a pointer tells the size


def test_the_new_side_is_judged_alone_where_the_old_object_is_gone(repo: Repo) -> None:
    repo.commit({"m.safetensors": lfs_pointer("0" * 64, 100)})
    staged(repo, {"m.safetensors": model(4, nan=True)})
    report = gate_json(repo)
    assert rules(report) == ["forbid_nan"]
    assert "only the new side was judged" in report["models"][0]["not_judged"]
    assert report["exit_code"] == 1


def test_dvc_pointers_of_models_are_not_passed_over(base: Repo) -> None:
    pointer = "outs:\n- md5: 1b9b4e1c6e0f1a3b8d0f6a1c2d3e4f50\n  size: 100\n  hash: md5\n  path: {}\n"
    staged(base, {"m.pt.dvc": pointer.format("m.pt"), "data.csv.dvc": pointer.format("data.csv")})
    report = gate_json(base)
    assert [entry["path"] for entry in report["models"]] == ["m.pt"]
    assert report["models"][0]["outcome"] == "not judged" and report["exit_code"] == 0


def test_shards_are_one_model_and_resharding_is_no_change(base: Repo) -> None:
    import json
    import struct

    import safetensors_writer

    def shard(name: str, count: int) -> bytes:
        return safetensors_writer.build({name: ("F32", (count,), struct.pack(f"<{count}f", *range(count)))})

    def index(one: str, two: str) -> str:
        return json.dumps({"metadata": {}, "weight_map": {"a": one, "b": two}})

    names = [f"big/model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    short = [name.rpartition("/")[2] for name in names]
    base.commit({names[0]: shard("a", 3), names[1]: shard("b", 4),
                 "big/model.safetensors.index.json": index(*short)})  # fmt: skip
    staged(base, {names[1]: shard("b", 5)})
    report = gate_json(base)
    assert [(m["path"], m["outcome"]) for m in report["models"]] == [("big/model.safetensors", "refused")]
    base.git("reset", "-q", "--hard")
    base.git("rm", "-q", "-r", "big")
    both = safetensors_writer.build({
        "a": ("F32", (3,), struct.pack("<3f", *range(3))), "b": ("F32", (4,), struct.pack("<4f", *range(4))),
    })  # fmt: skip
    staged(base, {"big/model.safetensors": both})
    assert [(m["path"], m["outcome"]) for m in gate_json(base)["models"]] == [("big/model.safetensors", "pass")]


def test_a_hundred_models_in_one_commit(repo: Repo) -> None:
    repo.commit({f"m/{n}.safetensors": model(4) for n in range(100)})
    staged(repo, {f"m/{n}.safetensors": model(5 if n == 42 else 4, scale=2) for n in range(100)})
    report = gate_json(repo)
    assert len(report["models"]) == 100
    assert [m["path"] for m in report["models"] if m["outcome"] == "refused"] == ["m/42.safetensors"]
    assert [m["path"] for m in report["models"]][:3] == ["m/0.safetensors", "m/1.safetensors", "m/2.safetensors"]


def test_two_models_by_hand(base: Repo, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(model(4))
    (tmp_path / "b.safetensors").write_bytes(model(5))
    pair = ("--old", str(tmp_path / "a.safetensors"), "--new", str(tmp_path / "b.safetensors"))
    assert gate(base, *pair).returncode == 1
    assert gate(base, *pair, cwd=tmp_path).returncode == 1  # outside of a repository, too
    base.write({".diffai.toml": '[gate]\nstructure = "allow"\n'})
    assert gate(base, *pair).returncode == 0
    assert gate(base, "--old", "HEAD:models/m.safetensors", "--new", "models/m.safetensors").returncode == 0
    assert gate(base, "--old", "a").returncode == 2


def test_paths_with_odd_characters(repo: Repo) -> None:
    name = "sp ace/ümlaut\n:(top)*.safetensors"
    repo.commit({name: model(4)})
    staged(repo, {name: model(5)})
    done = gate(repo, name)
    assert done.returncode == 1 and "\\n:(top)*" in done.stdout
    assert gate(repo).returncode == 1


def test_an_unsafe_pickle_is_refused(repo: Repo) -> None:
    import io
    import pickle
    import zipfile

    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, ("true",)

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Bad()}, protocol=2))
        archive.writestr("archive/version", "3\n")
    staged(repo, {"m.pt": content.getvalue()})
    report = gate_json(repo)
    assert rules(report)[:1] == ["forbid_unsafe_pickle"], report


def test_how_to_proceed_names_every_refused_model(repo: Repo) -> None:
    repo.commit({"m/a b.safetensors": model(4), "m/n.safetensors": model(4), "ok.safetensors": model(4)})
    staged(repo, {"m/a b.safetensors": model(5), "m/n.safetensors": model(4, nan=True), "m/-x.pt": EVIL,
                  "ok.safetensors": model(4, scale=2)})  # fmt: skip
    done = gate(repo)
    assert done.returncode == 1
    assert done.stdout.partition("How to proceed:\n")[2].splitlines() == [
        "  m/-x.pt  (forbid_unsafe_pickle)",
        "    look       diffai show :m/-x.pt",
        "  m/a b.safetensors  (structure.reshaped)",
        "    meant?     diffai gate approve 'm/a b.safetensors' --why '...'",
        "    look       diffai HEAD:'m/a b.safetensors' :'m/a b.safetensors'",
        "  m/n.safetensors  (forbid_nan)",
        "    look       diffai HEAD:m/n.safetensors :m/n.safetensors",
        "  allowed?   edit .diffai.toml (there is none yet: these are the defaults)",
        "  skip once  DIFFAI_GATE=off git commit ...",
    ]
    for line in done.stdout.splitlines():
        if line.strip().startswith("look"):  # what it says works
            words = shlex.split(line.strip().removeprefix("look"))
            assert diffai(*words[1:], cwd=repo.top).returncode == 0


def test_the_approval_is_named_from_where_the_user_is(repo: Repo) -> None:
    repo.commit({"m/-a.safetensors": model(4)})
    staged(repo, {"m/-a.safetensors": model(5)})
    line = next(line for line in gate(repo, cwd=repo.top / "m").stdout.splitlines() if "meant?" in line)
    words = shlex.split(line.strip().removeprefix("meant?"))
    assert words[:4] == ["diffai", "gate", "approve", "./-a.safetensors"]
    assert diffai(*words[1:], cwd=repo.top / "m").returncode == 0
    assert "m/-a.safetensors: open" in gate(repo, "approve", "--list").stdout


def test_what_moved_is_looked_at_by_both_names(repo: Repo) -> None:
    repo.commit({"a/m.safetensors": model(4)})
    repo.git("mv", "a", "b")
    staged(repo, {"b/m.safetensors": model(5)})
    assert "look       diffai HEAD:a/m.safetensors :b/m.safetensors" in gate(repo).stdout
