"""The workflows of docs/workflows.md run as they are written there, with the real programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from gitrepo import Repo
from program import DIFFAI, diffai
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "docs" / "workflows.md", ROOT / "docs" / "older-guides.md"]
BLOCKS = {
    found[1]: found[3]
    for page in PAGES
    for found in re.finditer(r"<!-- workflow: (\w+) -->\n```(\w+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
}
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


def tensors(shift: float = 0.0, classes: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    names = ["encoder.attention.weight", "encoder.mlp.weight", "classifier.bias"]
    made = {name: rng.normal(size=shape).astype("f4") for name, shape in zip(names, [(8, 8), (8, 8), (8,)], strict=True)}
    made["classifier.weight"] = rng.normal(size=(classes, 8)).astype("f4") + np.float32(shift)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(tensors(), tmp_path / "baseline.safetensors")
    save_file(tensors(0.5), tmp_path / "candidate.safetensors")
    for script in EXAMPLES.glob("*.py"):
        shutil.copy(script, tmp_path)
    return tmp_path


def run(block: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a block of the page as a shell does; python and diffai are those of this environment."""
    path = os.pathsep.join([str(DIFFAI.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["sh", "-c", block], cwd=folder, env={**os.environ, "PATH": path, **environment},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_the_epoch_loop_prints_the_four_lines(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    step = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(4):
        torch.save(model.state_dict(), tmp_path / "checkpoints" / f"epoch_{epoch}.pth")
        step.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8) % 3).backward()
        step.step()
    done = run(BLOCKS["epochs"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    count = sum(parameter.numel() for parameter in model.parameters())
    each = re.findall(
        rf"Model Changes:\n  No structural changes\n  Parameters: {count:,} -> {count:,} \(0% change\)\n"
        r"  Weight updates: [\d.]+% of parameters modified\n",
        done.stdout,
    )
    assert len(each) == 3 and "".join(each) == done.stdout


def test_the_four_lines_are_those_of_folded_models_too(tmp_path: Path) -> None:
    names = [f"layers.{n}.weight" for n in range(60)]
    save_file({name: np.ones(4, "f4") for name in names}, tmp_path / "a.safetensors")
    save_file({name: np.full(4, 2, "f4") for name in names}, tmp_path / "b.safetensors")
    done = diffai("a.safetensors", "b.safetensors", "--show-structure", "--diff-only", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "Model Changes:", "  No structural changes", "  Parameters: 240 -> 240 (0% change)",
        "  Weight updates: 100% of parameters modified",
    ]  # fmt: skip


def test_the_branches_of_if(folder: Path) -> None:
    done = run(BLOCKS["if"], folder)
    assert done.stdout.startswith("Model Changes:\n  No structural changes\n") and done.returncode == 0
    shutil.copy(folder / "baseline.safetensors", folder / "candidate.safetensors")
    assert run(BLOCKS["if"], folder).stdout == "the same model\n"


def test_quiet_with_show_structure_answers_for_structure_alone(folder: Path) -> None:
    assert run(BLOCKS["structure"], folder).stdout == "the same architecture\n"
    save_file(tensors(0.5), folder / "candidate.safetensors", metadata={"step": "7"})
    assert run(BLOCKS["structure"], folder).stdout == "the same architecture\n"
    save_file(tensors(0.5, classes=5), folder / "candidate.safetensors")
    assert run(BLOCKS["structure"], folder).stdout == ""
    words = ("baseline.safetensors", "candidate.safetensors", "-q", "--show-structure")
    assert diffai(*words, cwd=folder).returncode == 1
    (folder / "candidate.safetensors").write_bytes(b"\xff" * 2000)
    assert diffai(*words, cwd=folder).returncode == 2


def test_training_state_is_no_structure(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict()}, tmp_path / "a.pt")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "b.pt")
    assert diffai("a.pt", "b.pt", "--quiet", "--show-structure", cwd=tmp_path).returncode == 0
    assert diffai("a.pt", "b.pt", "--quiet", cwd=tmp_path).returncode == 1


def test_a_setting_of_the_repository_never_changes_the_exit_code(folder: Path) -> None:
    (folder / ".diffai.toml").write_text(BLOCKS["configuration"], "utf-8")
    for words, code in (((), 0), (("--quiet",), 1), (("--quiet", "--show-structure"), 0)):
        done = diffai("baseline.safetensors", "candidate.safetensors", *words, cwd=folder)
        assert done.returncode == code, (words, done.stderr)
    shown = diffai("baseline.safetensors", "candidate.safetensors", "--format", "text", cwd=folder).stdout
    assert shown.startswith("Model Changes:\n  No structural changes\n") and "~ classifier" not in shown


def test_the_table_leaves_out_small_changes_and_counts_them_as_the_text_does(folder: Path) -> None:
    (folder / ".diffai.toml").write_text(BLOCKS["configuration"].replace("show_structure = true\n", ""), "utf-8")
    shifted = tensors(0.5)
    for name in ("encoder.mlp.weight", "classifier.bias"):
        shifted[name] = shifted[name] * np.float32(1.0001)
    save_file(shifted, folder / "candidate.safetensors")
    for words in ((), ("-v",), ("--tensor-details",), ("--format", "text")):
        done = diffai("baseline.safetensors", "candidate.safetensors", *words, cwd=folder)
        rows = [line.split()[0] for line in done.stdout.splitlines() if re.match(r"\s*(~ )?(classifier|encoder)", line)]
        assert {"encoder.mlp.weight", "classifier.bias"}.isdisjoint(rows), (words, done.stdout)
        assert "(2 small changes below relative L2 0.001 hidden (filter_small_changes))" in done.stdout
        assert "classifier.weight" in done.stdout
    for name in ("classifier.weight",):
        shifted[name] = tensors()[name]
    save_file(shifted, folder / "candidate.safetensors")
    done = diffai("baseline.safetensors", "candidate.safetensors", cwd=folder)
    assert "(2 small changes below relative L2 0.001 hidden (filter_small_changes))" in done.stdout


def test_parts_of_a_model(folder: Path) -> None:
    outputs = []
    for line in BLOCKS["part"].splitlines():
        done = run(line, folder)
        assert done.returncode == 0, (line, done.stderr)
        outputs.append(done.stdout)
    attention, classifier, older, tolerant, shapes, checked = outputs
    assert "No differences found" in attention
    assert classifier == older and "~ classifier.weight" in classifier
    assert "~ classifier.weight" in tolerant and "values were not compared" in shapes
    assert checked
    typo = diffai("baseline.safetensors", "candidate.safetensors", "--path", "clasifier", "-q", cwd=folder)
    assert typo.returncode == 2 and "classifier" in typo.stderr


@pytest.mark.parametrize(
    "words",
    [("--format", "safetensors"), ("-f", "safetensors"), ("--stream",), ("--threads", "8"), ("--recursive",), ("--format", "enhanced")],
    ids=" ".join,
)
def test_options_of_older_guides(folder: Path, words: tuple[str, ...]) -> None:
    done = diffai(*words, "baseline.safetensors", "candidate.safetensors", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "") and "classifier.weight" in done.stdout


def test_directories_without_r(folder: Path) -> None:
    for side, shift in (("a", 0.0), ("b", 0.5)):
        (folder / side / "inner").mkdir(parents=True)
        save_file(tensors(shift), folder / side / "inner" / "m.safetensors")
    plain, recursive = diffai("a", "b", cwd=folder), diffai("a", "b", "-r", cwd=folder)
    assert plain.stdout == recursive.stdout and "classifier.weight" in plain.stdout


def test_int8_against_float_is_compared_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(16, 32)).astype("f4")
    scale = (np.abs(weight).max(axis=1, keepdims=True) / 127).astype("f4")
    codes = np.round(weight / scale).astype("i1")
    save_file({"fc.weight": weight}, tmp_path / "float.safetensors")
    save_file({"fc.weight": codes, "fc.weight_scale": scale}, tmp_path / "int8.safetensors")
    tolerant = diffai("float.safetensors", "int8.safetensors", "--epsilon", "0.1", cwd=tmp_path)
    exact = diffai("float.safetensors", "int8.safetensors", cwd=tmp_path)
    assert "values changed" not in tolerant.stdout and "decoded" in exact.stdout, exact.stdout + tolerant.stdout


def with_shape_hook(repo: Repo) -> None:
    """A model is committed, and the hook is in place."""
    repo.commit({"readme.txt": b"x"})
    save_file(tensors(), repo.top / "a model.safetensors")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "model")
    hook = repo.top / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / "pre-commit-shapes.sh", hook)
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)


@needs_jq
def test_the_pre_commit_hook_refuses_a_changed_shape(repo: Repo) -> None:
    with_shape_hook(repo)
    save_file(tensors(0.5), repo.top / "a model.safetensors")
    repo.git("add", "-A")
    assert run("git commit -qm values", repo.top).returncode == 0
    save_file(tensors(0.5, classes=5), repo.top / "a model.safetensors")
    repo.git("add", "-A")
    done = run("git commit -qm shapes", repo.top)
    assert done.returncode == 1
    assert done.stderr == (
        "a model.safetensors: 1 tensors changed their shape; git commit --no-verify lets it pass\n"
    )


@pytest.mark.parametrize("which", ["old", "new"])
def test_the_pre_commit_hook_stops_where_a_side_cannot_be_read(repo: Repo, which: str) -> None:
    with_shape_hook(repo)
    if which == "old":
        (repo.top / "a model.safetensors").write_bytes(b"\xff" * 200)
        repo.git("add", "-A")
        repo.git("commit", "-qm", "broken", "--no-verify")
        save_file(tensors(), repo.top / "a model.safetensors")
    else:
        (repo.top / "a model.safetensors").write_bytes(b"\xff" * 200)
    repo.git("add", "-A")
    done = run("git commit -qm next", repo.top)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("a model.safetensors: not compared: is of no format that diffai knows (200 bytes, xxh3:")
    assert line.endswith("; git commit --no-verify lets it pass")


def test_the_post_commit_hook_logs_the_number_of_changes(repo: Repo) -> None:
    hook = repo.top / ".git" / "hooks" / "post-commit"
    hook.parent.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / "post-commit-log.py", hook)
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    for shift in (0.0, 0.5):
        save_file(tensors(shift), repo.top / "m.safetensors")
        assert run("git add -A && git commit -qm step", repo.top).returncode == 0
    lines = (repo.top / ".git" / "model-changes.log").read_text().splitlines()
    assert [line.split("\t")[1:] for line in lines] == [["m.safetensors", "1"]]


def test_the_post_commit_hook_says_why_a_commit_was_not_compared(repo: Repo) -> None:
    save_file(tensors(), repo.top / "m.safetensors")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "model")
    (repo.top / "m.safetensors").write_bytes(b"\xff" * 200)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "broken")
    done = run(f"{sys.executable} {EXAMPLES / 'post-commit-log.py'}", repo.top)
    assert (done.returncode, done.stderr) == (0, "")
    _, name, changes = (repo.top / ".git" / "model-changes.log").read_text().rstrip("\n").split("\t")
    assert name == "m.safetensors" and changes.startswith("not compared: unreadable safetensors: header length")


def test_the_scripts_take_either_json(folder: Path) -> None:
    done = run(BLOCKS["scripts"], folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "parameters +0, 0 structural changes" in done.stdout
    drawn = ElementTree.parse(folder / "changes.svg").getroot()
    assert "classifier.weight" in "".join(drawn.itertext())
    report = diffai("baseline.safetensors", "candidate.safetensors", "--format", "json", cwd=folder)
    (folder / "report.json").write_text(report.stdout)
    by_report = run("python visualize_comparison.py r.svg --input report.json && python check_param_changes.py report.json", folder)
    assert by_report.returncode == 0, by_report.stderr
    assert (folder / "r.svg").read_bytes() == (folder / "changes.svg").read_bytes()
    png = run("python visualize_comparison.py r.png --input report.json", folder)
    assert png.returncode == 0 and (folder / "r.png").read_bytes().startswith(b"\x89PNG"), png.stderr


def test_the_check_refuses_what_grew(folder: Path) -> None:
    save_file(tensors(classes=5), folder / "candidate.safetensors")
    for kind in ("--output", "--format"):
        done = run(f"diffai baseline.safetensors candidate.safetensors {kind} json | python check_param_changes.py", folder)
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            "parameters +8, 1 structural change", "refused: more than 0 parameters came or went",
            "refused: the structure changed (--allow-structure accepts it)",
        ]  # fmt: skip
    allowed = "diffai baseline.safetensors candidate.safetensors --output json | python check_param_changes.py"
    assert run(f"{allowed} --max-param-diff 8 --allow-structure", folder).returncode == 0
    assert run("echo nothing | python check_param_changes.py", folder).returncode == 2


def test_names_of_tensors_are_inert_in_the_chart(folder: Path) -> None:
    for file, factor in (("x", 1), ("y", 2)):
        save_file({"<script>&\"": np.ones(4, "f4") * factor}, folder / f"{file}.safetensors")
    done = run("diffai x.safetensors y.safetensors --output json | python visualize_comparison.py c.svg", folder)
    assert done.returncode == 0 and "<script>" not in (folder / "c.svg").read_text()


def test_the_report_has_what_the_trackers_read(folder: Path) -> None:
    report = json.loads(diffai("baseline.safetensors", "candidate.safetensors", "--format", "json", cwd=folder).stdout)
    assert report["param_diff"] == 0
    assert {"structure_changes", "tensors_changed", "update_size", "update_cosine"} <= report["comparison"].keys()


@pytest.mark.parametrize("tracker", ["mlflow", "wandb", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_named_in_one_line(folder: Path, tracker: str) -> None:
    (folder / f"{tracker}.py").write_text(f"raise ModuleNotFoundError(name={tracker!r})\n", "utf-8")
    where = ["--logdir", "runs"] if tracker == "tensorboard" else []
    script = f"{tracker}_log_changes.py"
    words = [sys.executable, script, "baseline.safetensors", "candidate.safetensors", *where]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{script}: {tracker} is not installed: pip install {tracker}\n"


def test_a_tracker_is_told_why_nothing_was_compared(folder: Path) -> None:
    (folder / "mlflow.py").write_text("", "utf-8")
    (folder / "candidate.safetensors").write_bytes(b"\xff" * 200)
    done = run("python mlflow_log_changes.py baseline.safetensors candidate.safetensors", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not compared: new side: unreadable safetensors: header length")
