"""``diffai OLD NEW`` as users type it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import safetensors_writer as writer
import yaml
from gitrepo import Repo
from planted import base, changed, noise, put
from program import DIFFAI, diffai
from safetensors.numpy import save_file

ONE, TWO = writer.simple(1), writer.simple(2)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    arrays = base()
    arrays["gone.weight"] = np.arange(6, dtype="f4")
    save_file(arrays, old, metadata={"epoch": "1"})
    other = changed(noise(0.1))
    other["come.weight"] = np.array([1, np.nan, np.inf], "f4")
    other["model.embed_tokens.weight"] = np.zeros((120, 32), "f4")
    other["model.layers.0.norm.weight"] = other["model.layers.0.norm.weight"].astype("f2")
    save_file(other, new, metadata={"epoch": "2"})
    return old, new


def schema(name: str) -> dict[str, Any]:
    text = resources.files("diffai.views").joinpath(f"{name}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(loaded)
    return loaded


def strict(text: str) -> Any:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_change_list_is_valid_strict_and_ordered(pair: tuple[Path, Path]) -> None:
    records = strict(diffai(*pair, "--output", "json").stdout)
    jsonschema.validate(records, schema("changes"))
    kinds = [next(iter(record)) for record in records]
    assert kinds.count("TensorStatsChanged") == 20
    assert {"TensorAdded": kinds.count("TensorAdded"), "TensorRemoved": kinds.count("TensorRemoved")} == {
        "TensorAdded": 1,
        "TensorRemoved": 1,
    }
    assert records[-1] == {"MetadataChanged": ["epoch", "1", "2"]}
    (added,) = [r["TensorAdded"] for r in records if "TensorAdded" in r]
    assert added[0] == "come.weight"
    assert (added[1]["nan_count"], added[1]["pos_inf_count"], added[1]["mean"]) == (1, 1, 1.0)
    cast = [r for r in records if "TensorDtypeChanged" in r]
    assert cast == [{"TensorDtypeChanged": ["model.layers.0.norm.weight", "F32", "F16"]}]
    (shape,) = [r["TensorShapeChanged"] for r in records if "TensorShapeChanged" in r]
    assert shape == ["model.embed_tokens.weight", [100, 32], [120, 32]]


def test_the_change_list_says_beside_it_that_values_were_not_compared(tmp_path: Path) -> None:
    for side, value in (("a", 0.0), ("b", 1.0)):
        (tmp_path / side).mkdir()
        for name in ("m", "n"):
            save_file({"w": np.full(3, value, "f4"), "v": np.zeros(3, "f4")}, tmp_path / side / f"{name}.safetensors")
    said = "tensor pairs: only headers were read (--shape-only): values were not compared"
    for old, new, count in (("a/m.safetensors", "b/m.safetensors", 2), ("a", "b", 4)):
        words = (old, new, "--shape-only")
        done = diffai(*words, "--output", "json", cwd=tmp_path)
        assert (done.returncode, strict(done.stdout), done.stderr) == (0, [], f"diffai: {count} {said}\n")
        assert strict(diffai(*words, "--format", "json", cwd=tmp_path).stdout)["equal"] is None
    assert diffai("a", "b", "--output", "json", cwd=tmp_path).stderr == ""


def test_yaml_says_the_same(pair: tuple[Path, Path]) -> None:
    for option in ("--output", "--format"):
        assert yaml.safe_load(diffai(*pair, option, "yaml").stdout) == strict(diffai(*pair, option, "json").stdout)


def test_the_report_is_valid_and_its_integers_are_integers(pair: tuple[Path, Path]) -> None:
    report = strict(diffai(*pair, "--format", "json").stdout)
    jsonschema.validate(report, schema("report"))
    comparison = report["comparison"]
    assert comparison["param_diff"] == report["param_diff"] == 120 * 32 - 100 * 32 + 3 - 6
    assert (comparison["structure_changes"], comparison["dtype_changes"], comparison["metadata_changes"]) == (3, 1, 1)
    assert comparison["significant_changes"] == 20
    assert {t["name"] for t in report["tensors"]} >= {"come.weight", "gone.weight"}
    assert report["old"]["parameters"] == 27904 + 6


def test_equal_models(pair: tuple[Path, Path]) -> None:
    old, _ = pair
    assert diffai(old, old).stdout == "No differences found\n"
    assert diffai(old, old, "--output", "json").stdout == "[]\n"
    report = strict(diffai(old, old, "--format", "json").stdout)
    jsonschema.validate(report, schema("report"))
    assert report["equal"] is True


def test_directory_outputs_are_valid(tmp_path: Path) -> None:
    for side, seeds in (("a", {"x": 1, "y": 1, "gone": 3}), ("b", {"x": 1, "y": 2, "come": 4})):
        (tmp_path / side).mkdir()
        for name, seed in seeds.items():
            (tmp_path / side / f"{name}.safetensors").write_bytes(writer.simple(seed))
    (tmp_path / "b" / "bad.safetensors").write_bytes(ONE[:40])
    (tmp_path / "a" / "bad.safetensors").write_bytes(ONE)
    done = diffai(tmp_path / "a", tmp_path / "b", "--output", "json")
    assert done.returncode == 2
    records = strict(done.stdout)
    jsonschema.validate(records, schema("changes"))
    assert {"FileAdded": ["come.safetensors"]} in records
    assert {"FileRemoved": ["gone.safetensors"]} in records
    assert [r["TensorStatsChanged"][0] for r in records if "TensorStatsChanged" in r] == [
        "y.safetensors:a.bias",
        "y.safetensors:a.weight",
    ]
    report = strict(diffai(tmp_path / "a", tmp_path / "b", "--format", "json").stdout)
    jsonschema.validate(report, schema("report"))
    assert [f["path"] for f in report["files"] if f["status"] == "unreadable"] == ["bad.safetensors"]


@pytest.mark.parametrize(
    ("options", "equal", "different"),
    [((), 0, 0), (("--exit-code",), 0, 1), (("-q",), 0, 1), (("--quiet", "--exit-code"), 0, 1)],
)
def test_exit_codes(tmp_path: Path, options: tuple[str, ...], equal: int, different: int) -> None:
    one, two, bad = tmp_path / "1.safetensors", tmp_path / "2.safetensors", tmp_path / "bad.safetensors"
    one.write_bytes(ONE)
    two.write_bytes(TWO)
    bad.write_bytes(ONE[:30])
    assert diffai(one, one, *options).returncode == equal
    done = diffai(one, two, *options)
    assert done.returncode == different
    assert bool(done.stdout) is ("-q" not in options and "--quiet" not in options)
    assert diffai(one, bad, *options).returncode == 2
    assert diffai(one, tmp_path / "nowhere", *options).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a",), "only one model given"),
        (("a", "b", "c"), "3 words given"),
        (("a", "b", "--output", "json", "--format", "json"), "exclude each other"),
        (("a", "b", "--output", "xml"), "expected json or yaml"),
        (("a", "b", "--format", "jsn"), "did you mean json?"),
        (("a", "b", "--diff-onyl"), "--diff-only"),
        (("a", "b", "--epsilon", "-1"), "--epsilon"),
        (("a", "b", "--filter", "("), "regular expression"),
        (("nowhere.pt", "b"), "no such file"),
        (("s3://bucket/a.pt", "b"), "URLs of this scheme are not read"),
        (("HEAD:x", "b"), "not in a git repository"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    tmp_path: Path, home: Path, arguments: tuple[str, ...], words: str
) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(ONE)
    done = diffai(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_tolerance_filters_and_paths(tmp_path: Path) -> None:
    save_file(base(), tmp_path / "a.safetensors")
    save_file(changed(put(0.5)), tmp_path / "b.safetensors")

    def run(*options: str) -> str:
        return diffai("a.safetensors", "b.safetensors", *options, cwd=tmp_path).stdout

    assert "1 of 1,024" in run("-v")
    assert run("--epsilon", "1").startswith("No differences found (within epsilon tolerance)")
    assert run("--filter", "mlp").startswith("No differences found\n")
    assert "(16 tensors or keys outside --path model.layers.1)" in run("--path", "model.layers.1")
    assert "ignored by --ignore-keys-regex q_proj" in run("--ignore-keys-regex", "q_proj")
    assert "relative L2" in run("--verbose", "--no-color", "--stream", "--threads", "1", "-r")


def test_format_as_older_recipes_have_it_names_the_input(pair: tuple[Path, Path]) -> None:
    old, new = pair
    assert "Model Changes:" in diffai(old, new, "--format", "safetensors").stdout
    wrong = diffai(old, new, "--input-format", "torch")
    assert wrong.returncode == 2
    assert "unreadable" in wrong.stdout
    assert "did you mean safetensors" in diffai(old, new, "--input-format", "safetensor").stderr


def test_across_containers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    arrays = base()
    save_file(arrays, tmp_path / "m.safetensors")
    torch.save({"state_dict": {k: torch.from_numpy(v) for k, v in arrays.items()}, "epoch": 3}, tmp_path / "m.pt")
    text = diffai("m.pt", "m.safetensors", cwd=tmp_path).stdout
    assert "~ " not in text.replace("~ epoch", "")
    assert "- epoch: 3" in text
    assert "Format: torch zip -> safetensors" in text


def test_revisions(repo: Repo) -> None:
    repo.commit({"m.safetensors": ONE, "sub/n.safetensors": ONE, "t.txt": "x"}, "one")
    repo.commit({"m.safetensors": TWO, "t.txt": "y"}, "two")
    repo.git("tag", "v2")
    repo.commit({"sub/n.safetensors": TWO}, "three")
    repo.git("mv", "m.safetensors", "moved.safetensors")
    repo.commit({}, "four")

    def run(*words: str, cwd: Path | None = None) -> str:
        done = diffai(*words, cwd=cwd or repo.top)
        assert done.returncode == 0, done.stderr
        return done.stdout

    changed_line = "~ a.weight: mean=1.3125->2.3125"
    assert changed_line in run("HEAD~3", "HEAD~2", "--", "m.safetensors")
    assert changed_line in run("HEAD~3..v2", "--", "m.safetensors")
    assert changed_line in run("HEAD~3", "--", "sub/n.safetensors")
    assert changed_line in run("HEAD~3", "HEAD", "--", "n.safetensors", cwd=repo.top / "sub")
    assert run("HEAD", "HEAD", "--", "sub/n.safetensors") == "No differences found\n"
    everything = run("HEAD~3", "HEAD~1", "--")
    assert everything.count(changed_line) == 2
    assert "2 model files: 2 changed; other files: 1 differ" in everything
    assert "m.safetensors -> moved.safetensors" in run("HEAD~1", "HEAD", "-v", "--")
    assert changed_line in run("HEAD~3:m.safetensors", "moved.safetensors")
    assert changed_line in run("HEAD~3:./n.safetensors", "n.safetensors", cwd=repo.top / "sub")
    for words, expected in (
        (("nope", "--", "m.safetensors"), "no such revision"),
        (("HEAD", "--", "nowhere.pt"), "neither revision has this path"),
        (("--output=x", "--", "m.safetensors"), "--output"),
        (("a", "b", "c", "--"), "at most two"),
    ):
        done = diffai(*words, cwd=repo.top)
        assert (done.returncode, expected in done.stderr) == (2, True), done.stderr


def test_check_is_also_a_flag(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(ONE)
    assert diffai("--check", "m.safetensors", cwd=tmp_path).stdout.startswith("m.safetensors: ok")


def test_a_file_named_like_a_command(tmp_path: Path) -> None:
    (tmp_path / "show").write_bytes(ONE)
    assert diffai("./show", "show", cwd=tmp_path).stdout == "No differences found\n"


def test_configuration_file_and_option_precedence(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(ONE)
    (tmp_path / "b.safetensors").write_bytes(TWO)
    (tmp_path / ".diffai.toml").write_text("[compare]\nepsilon = 5.0\n[output]\nformat = 'json'\n")
    report = strict(diffai("a.safetensors", "b.safetensors", cwd=tmp_path).stdout)
    assert report["equal"] is None  # a file of the clone hides that they differ
    assert (
        "~ a.weight"
        in diffai("a.safetensors", "b.safetensors", "--epsilon", "0", "--format", "text", cwd=tmp_path).stdout
    )
    (tmp_path / ".diffai.toml").write_text("[compare]\nepsilom = 5.0\n")
    done = diffai("a.safetensors", "b.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert ".diffai.toml:2" in done.stderr
    assert "epsilon" in done.stderr


def test_a_closed_pipe_is_quiet(pair: tuple[Path, Path]) -> None:
    old, new = pair
    done = subprocess.run(
        ["bash", "-c", f"'{DIFFAI}' '{old}' '{new}' --format json | head -c 10"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_a_full_disk_is_one_line(pair: tuple[Path, Path]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    old, new = pair
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [str(DIFFAI), str(old), str(new)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no space left" in done.stderr.lower()


def reads(pid: int, name: str) -> bool:
    """Whether a process has a file of this name open: it is past its start then, where an interrupt is Python's."""
    try:
        return any(os.readlink(link).endswith(name) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it has just closed one, or ended
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="sees open files as Linux shows them")
def test_interrupt_exits_130(tmp_path: Path) -> None:
    count = 400_000_000
    header = writer.raw({"w": writer.entry("U8", [count], 0, count)})
    for name, last in (("a", b"\0"), ("b", b"\1")):
        with open(tmp_path / f"{name}.safetensors", "wb") as file:
            file.write(header)
            file.truncate(len(header) + count - 1)
            file.seek(0, 2)
            file.write(last)
    process = subprocess.Popen(
        [str(DIFFAI), "a.safetensors", "b.safetensors"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not reads(process.pid, "b.safetensors"):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("the comparison was over before the signal came")
    assert process.returncode == 130
    assert "Traceback" not in err


def test_help_teaches(tmp_path: Path) -> None:
    text = diffai("--help").stdout
    assert all(word in text for word in ("OLD NEW", "install", "doctor", "demo", "REV:path"))
    assert "Exit codes" in diffai("diff", "--help").stdout
    assert diffai("--version").stdout.startswith("diffai ")
    assert "_diffai_completion" in diffai("completion", "bash").stdout


def test_many_tensor_names_with_packing(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        tensors = {f"t.{i}": ("F32", (1,), struct.pack("<f", i + seed)) for i in range(5000)}
        (tmp_path / name).write_bytes(writer.build(tensors))
    lines = diffai("a", "b", cwd=tmp_path).stdout.splitlines()
    assert lines[3].startswith("  ~ t.[0-4999]  x5000  relative L2 ")


def test_stat_is_one_line_a_model(tmp_path: Path, home: Path) -> None:
    for side, scale in (("a", 1), ("b", 2)):
        (tmp_path / side).mkdir()
        for name in ("x", "y"):
            values = np.arange(1, 9, dtype="f4") * (scale if name == "x" else 1)
            save_file({"w.weight": values}, tmp_path / side / f"{name}.safetensors")
    (tmp_path / "b" / "only.safetensors").write_bytes(ONE)
    done = diffai("a", "b", "--stat", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("only.safetensors: added") and "update size 1" in lines[1], lines
    assert lines[1].startswith("x.safetensors: ") and lines[2].startswith("3 model files: 1 changed") and len(lines) == 3
    one = diffai("a/x.safetensors", "b/x.safetensors", "--stat", "--exit-code", cwd=tmp_path)
    assert one.returncode == 1 and len(one.stdout.splitlines()) == 1
    table = diffai("a", "b", "--stat", "--format", "table", cwd=tmp_path).stdout.splitlines()
    assert table[0].split()[0] == "model" and len(table) == 4
