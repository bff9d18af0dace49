"""Nothing that comes with a clone silences a difference, and a filter that chooses nothing is no answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo, isolate
from program import diffai
from safetensors.numpy import save

import diffai as api
from diffai.errors import UsageError

OLD = {"classifier.weight": np.arange(1, 7, dtype="f4"), "encoder.bias": np.ones(3, "f4"), "encoder.gain": np.ones(3, "f4")}
NEW = OLD | {"classifier.weight": OLD["classifier.weight"] * 2, "encoder.bias": OLD["encoder.bias"] * 3}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    isolate(monkeypatch, tmp_path / "home")
    repo = Repo.init(tmp_path / "repository")
    repo.commit({"a.safetensors": save(OLD), "b.safetensors": save(NEW)})
    return repo


PAIR = ("a.safetensors", "b.safetensors")


def configured(repo: Repo, text: str) -> None:
    repo.write({".diffai.toml": f"[compare]\n{text}\n"})


HIDING = {
    "epsilon = 1e300": "9 values differ within compare.epsilon = 1e+300 (.diffai.toml:2)",
    "rtol = 5": "9 values differ within compare.rtol = 5 (.diffai.toml:2)",
    'ignore = ["*"]': "3 tensors or keys ignored by '*' (.diffai.toml:2)",
    'ignore = ["classifier.*", "*.bias"]': "1 tensor or key ignored by 'classifier.*' (.diffai.toml:2); 1 tensor or key "
    "ignored by '*.bias' (.diffai.toml:2)",
}


@pytest.mark.parametrize("setting", HIDING)
def test_what_a_committed_setting_hides_is_counted_with_value_and_file(repo: Repo, setting: str) -> None:
    configured(repo, setting)
    done = diffai(*PAIR, cwd=repo.top)
    first, *rest = done.stdout.splitlines()
    assert first == f"! hidden by settings of the repository: {HIDING[setting]}"
    others = {"*": "Nothing else was compared"}.get(setting[11:12], "No differences found in the other 1 tensor")
    assert rest == [others]
    assert "hidden by settings" in diffai(*PAIR, "--format", "markdown", cwd=repo.top).stdout
    report = json.loads(diffai(*PAIR, "--format", "json", cwd=repo.top).stdout)
    assert report["equal"] is None
    assert all(".diffai.toml:2" in entry["reason"] for entry in report["not_compared"]) and report["not_compared"]
    quiet = diffai(*PAIR, "-q", cwd=repo.top)
    assert quiet.stdout == "" and quiet.stderr.splitlines() == [first]


def test_what_differs_besides_is_shown_below_what_is_hidden(repo: Repo) -> None:
    configured(repo, 'ignore = ["classifier.*"]\nepsilon = 0.5')
    done = diffai(*PAIR, "--exit-code", cwd=repo.top)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [
        "! hidden by settings of the repository: 1 tensor or key ignored by 'classifier.*' (.diffai.toml:2)",
        "Model Changes:",
    ]
    assert "encoder.bias" in done.stdout


def test_of_a_directory_too(repo: Repo) -> None:
    for side, values in (("x", OLD), ("y", NEW)):
        repo.write({f"{side}/m.safetensors": save(values), f"{side}/same.safetensors": save(OLD)})
    configured(repo, "epsilon = 1e300")
    done = diffai("x", "y", cwd=repo.top)
    assert "hidden by settings of the repository: 9 values differ within compare.epsilon = 1e+300" in done.stdout
    assert "1 unchanged, 1 unchanged but for what settings hide" in done.stdout
    assert "9 values differ within" in diffai("x", "y", "-q", cwd=repo.top).stderr


def test_the_users_own_settings_are_the_users(repo: Repo) -> None:
    for words in (("--epsilon", "1e300"), ("--config", ".other.toml")):
        repo.write({".other.toml": "[compare]\nepsilon = 1e300\n"})
        done = diffai(*PAIR, *words, "--exit-code", cwd=repo.top)
        assert (done.returncode, done.stdout) == (0, "No differences found (within epsilon tolerance)\n")
    configured(repo, "epsilon = 1e300")
    repo.config("diffai.trustRepository", "true")
    done = diffai(*PAIR, "--exit-code", cwd=repo.top)
    assert (done.returncode, done.stdout) == (0, "No differences found (within epsilon tolerance)\n")
    assert json.loads(diffai(*PAIR, "--format", "json", cwd=repo.top).stdout)["equal"] is True


def test_under_git_no_committed_epsilon_counts_without_trust(repo: Repo) -> None:
    diffai("install", cwd=repo.top)
    repo.write({"a.safetensors": save(NEW)})
    configured(repo, "epsilon = 1e300")
    assert "~ classifier.weight" in repo.git("diff", "a.safetensors")
    repo.config("diffai.trustRepository", "true")
    assert "No differences found (within epsilon tolerance)" in repo.git("diff", "a.safetensors")
    repo.git("config", "--unset", "diffai.trustRepository")
    configured(repo, 'ignore = ["*"]')
    assert "! hidden by settings of the repository: 3 tensors or keys ignored by '*' (.diffai.toml:2)" in repo.git(
        "diff", "a.safetensors"
    )


@pytest.mark.parametrize(("dtype", "roundoff"), [("f4", 2.0**-24), ("f2", 2.0**-11), ("f8", 2.0**-53)])
def test_under_git_a_committed_rtol_counts_up_to_the_unit_roundoff(repo: Repo, dtype: str, roundoff: float) -> None:
    diffai("install", cwd=repo.top)
    ones = np.full(4, 1 + 2 * roundoff, dtype)  # the next value above 1
    step = ones * 1
    step[0] = 1
    repo.commit({"a.safetensors": save({"w": ones})})
    repo.write({"a.safetensors": save({"w": step})})
    configured(repo, "rtol = 10")
    assert "~ w" in repo.git("diff", "a.safetensors")  # one step is twice the roundoff
    assert "rtol = 10 (.diffai.toml:2)" in diffai("HEAD", "--", "a.safetensors", cwd=repo.top).stdout
    repo.config("diffai.trustRepository", "true")
    assert "No differences found (within epsilon tolerance)" in repo.git("diff", "a.safetensors")


# ---------------------------------------------------------------- filters that choose nothing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--path", "clasifier"), "--path clasifier selects no tensor; did you mean classifier?"),
        (("--path", "encoder.bais"), "--path encoder.bais selects no tensor; did you mean encoder.bias?"),
        (("--filter", r"^encodr\.bias$"), r"--filter ^encodr\.bias$ selects no tensor; did you mean encoder.bias?"),
        (("--filter", "zzzzzz"), "--filter zzzzzz selects no tensor\n"),
    ],
)
def test_a_filter_that_selects_nothing_is_a_usage_error(repo: Repo, words: tuple[str, str], said: str) -> None:
    for more in ((), ("-q",), ("--output", "json")):
        done = diffai(*PAIR, *words, *more, cwd=repo.top)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    repo.write({"b.safetensors": save(OLD)})  # also where nothing differs
    assert diffai(*PAIR, *words, "-q", cwd=repo.top).returncode == 2
    if words[0] == "--filter":
        done = diffai("show", "a.safetensors", *words, cwd=repo.top)
        assert done.returncode == 2 and said in done.stderr


def test_one_side_or_one_model_is_enough(repo: Repo, tmp_path: Path) -> None:
    repo.write({"c.safetensors": save({"other": np.ones(2, "f4")})})
    done = diffai("a.safetensors", "c.safetensors", "--path", "other", cwd=repo.top)
    assert done.returncode == 0 and "+ other" in done.stdout
    for side in ("x", "y"):
        repo.write({f"{side}/m.safetensors": save(OLD), f"{side}/n.safetensors": save({"other": np.ones(2, "f4")})})
    assert diffai("x", "y", "--path", "other", "-q", cwd=repo.top).returncode == 0
    done = diffai("x", "y", "--path", "othre", "-q", cwd=repo.top)
    assert done.returncode == 2 and "did you mean other?" in done.stderr


def test_a_model_without_tensors_is_no_mistake_of_the_filter(repo: Repo) -> None:
    repo.write({"a.safetensors": save({}), "b.safetensors": save({})})
    assert diffai(*PAIR, "--path", "x", cwd=repo.top).returncode == 0


def test_the_api_says_it_too() -> None:
    with pytest.raises(UsageError, match="did you mean classifier"):
        api.compare(OLD, NEW, api.CompareOptions(path="clasifier"))


# ---------------------------------------------------------------- equal, and the exit code


def test_two_unreadable_files_that_differ_are_not_equal(repo: Repo) -> None:
    repo.write({"a.safetensors": b"\x08\0\0\0\0\0\0\0{broken}", "b.safetensors": b"\x08\0\0\0\0\0\0\0{brokem}"})
    report = json.loads(diffai(*PAIR, "--format", "json", cwd=repo.top).stdout)
    assert report["equal"] is None and report["not_compared"]
    assert diffai(*PAIR, "-q", cwd=repo.top).returncode == 2
    repo.write({"b.safetensors": (repo.top / "a.safetensors").read_bytes()})
    assert diffai(*PAIR, "-q", cwd=repo.top).returncode == 0


def test_a_directory_whose_other_files_differ_is_different(repo: Repo) -> None:
    for side in ("x", "y"):
        repo.write({f"{side}/m.safetensors": save(OLD), f"{side}/config.json": f'{{"side": "{side}"}}'})
    assert diffai("x", "y", "-q", cwd=repo.top).returncode == 1
    assert diffai("x", "y", cwd=repo.top).returncode == 0
    assert json.loads(diffai("x", "y", "--format", "json", cwd=repo.top).stdout)["equal"] is False


def test_values_over_the_limit_are_not_known_to_be_equal(repo: Repo) -> None:
    repo.config("diffai.maxBytes", "10")
    assert diffai(*PAIR, cwd=repo.top).returncode == 0
    assert diffai(*PAIR, "-q", cwd=repo.top).returncode == 2
    assert diffai(*PAIR, "--shape-only", "-q", cwd=repo.top).returncode == 0


# ---------------------------------------------------------------- the configuration of older guides


def test_the_configuration_of_older_guides_changes_what_is_shown_and_nothing_else(repo: Repo) -> None:
    usual = {words: diffai(*words, cwd=repo.top).returncode for words in ((*PAIR, "-q"), ("a.safetensors",) * 2 + ("-q",))}
    repo.write({".diffai.toml": (
        '[project]\nname = "resnet"\n[pytorch]\nshow_structure = true\nfilter_small_changes = true\nthreshold = 1e9\n'
        '[output]\nformat = "enhanced"\ncolor = true\nmax_tensor_display = 1\n'
    )})  # fmt: skip
    assert "Model Changes" in diffai(*PAIR, cwd=repo.top).stdout
    for words, code in usual.items():
        assert diffai(*words, cwd=repo.top).returncode == code
    assert json.loads(diffai(*PAIR, "--format", "json", cwd=repo.top).stdout)["equal"] is False
    for words in (("show", "a.safetensors"), ("check", "a.safetensors"), ("log", "--", "a.safetensors"), ("gate",)):
        done = diffai(*words, cwd=repo.top)
        assert done.returncode == 0 and done.stderr == ""


def test_the_words_for_text_and_for_the_table(repo: Repo) -> None:
    text, table, enhanced = (diffai(*PAIR, "--format", w, cwd=repo.top).stdout for w in ("text", "table", "enhanced"))
    assert text == diffai(*PAIR, cwd=repo.top).stdout and text.startswith("Model Changes:")
    assert table == enhanced and "rel L2" in table and "Model Changes:" not in table
