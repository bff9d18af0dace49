"""Settings: precedence, where a mistake stands, limits that a clone cannot lift, the import budget."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffai.config import KEYS, Settings, load_settings, parse_size, read_git_config, repository_root
from diffai.errors import UsageError


def load(root: Path, **kwargs: object) -> Settings:
    return load_settings(str(root), root=str(root), **kwargs)  # type: ignore[arg-type]


def write(root: Path, text: str, name: str = ".diffai.toml") -> Path:
    path = root / name
    path.write_text(text, "utf-8")
    return path


def error(root: Path, text: str, name: str = ".diffai.toml") -> str:
    write(root, text, name)
    with pytest.raises(UsageError) as caught:
        load(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository with a space"
    root.mkdir()
    git(root, "init", "-q")
    return root


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings()
    assert {settings.origin(key.field) for key in KEYS} == {"default"}


def test_each_field_is_a_key_and_has_a_docstring_entry() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} - {"origins", "committed", "not_applied", "analyses"}
    assert fields == {key.field for key in KEYS}
    assert not [name for name in fields if name not in (Settings.__doc__ or "")]
    hash(Settings())


def test_every_toml_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
[project]
name = "lenet"
[pytorch]
show_structure = true
tensor_details = true
filter_small_changes = true
threshold = 1e-4
[output]
format = "json"
color = "never"
max_tensor_display = 12
[compare]
epsilon = 1          # an integer is a number too
rtol = 0.5
include = ["*.pt"]
exclude = ["old/*"]
ignore = ["ema.*"]
[gate]
anything = {goes = 1}
[[gate.rule]]
frozen = ["a"]
[analyses]
auto = true
""",
    )
    settings = load(tmp_path)
    assert (settings.project_name, settings.threshold, settings.format) == ("lenet", 1e-4, "json")
    assert settings.show_structure and settings.tensor_details and settings.filter_small_changes
    assert (settings.color, settings.max_tensor_display) == ("never", 12)
    assert (settings.epsilon, settings.rtol) == (1.0, 0.5) and isinstance(settings.epsilon, float)
    assert (settings.include, settings.exclude, settings.ignore) == (("*.pt",), ("old/*",), ("ema.*",))
    assert settings.origin("project_name") == ".diffai.toml:3"
    assert settings.origin("ignore") == ".diffai.toml:18"
    assert settings.origin("threads") == "default"


def test_precedence(tmp_path: Path) -> None:
    write(tmp_path, "[tool.diffai.compare]\nepsilon = 1\nrtol = 1\nexclude = ['p']\n", "pyproject.toml")
    assert load(tmp_path).origin("epsilon") == "pyproject.toml:2"
    write(tmp_path, "[compare]\nepsilon = 2\nexclude = []\n")
    settings = load(tmp_path)
    assert (settings.epsilon, settings.rtol, settings.exclude) == (2, 1, ())
    assert settings.origin("exclude") == ".diffai.toml:3"
    settings = load(tmp_path, git_config={"epsilon": ["9", "3"]})
    assert (settings.epsilon, settings.origin("epsilon")) == (3, "git config diffai.epsilon")
    settings = load(tmp_path, git_config={"epsilon": ["3"]}, options={"epsilon": 4.0, "rtol": None, "ignore": ()})
    assert (settings.epsilon, settings.origin("epsilon")) == (4, "option --epsilon")
    assert settings.rtol == 1


def test_search_goes_up_to_the_root_and_not_beyond(tmp_path: Path) -> None:
    root = tmp_path / "root"
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    write(tmp_path, "[compare]\nepsilon = 1\n")
    write(tmp_path, "[tool.diffai.compare]\nepsilon = 1\n", "pyproject.toml")
    assert load_settings(str(deep), root=str(root)).origin("epsilon") == "default"
    write(root, "[compare]\nepsilon = 2\n")
    settings = load_settings(str(deep), root=str(root))
    assert (settings.epsilon, settings.origin("epsilon")) == (2, ".diffai.toml:2")
    write(root / "a", "[compare]\nrtol = 3\n")  # the nearest file alone counts
    settings = load_settings(str(deep), root=str(root))
    assert (settings.epsilon, settings.origin("rtol")) == (0, os.path.join("a", ".diffai.toml") + ":2")


def test_outside_a_repository_the_search_ends_at_a_folder_open_to_others(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    mine = shared / "mine"
    below = mine / "below"
    below.mkdir(parents=True)
    shared.chmod(0o777)
    write(shared, "[compare]\nepsilon = 1\n")
    assert load_settings(str(below), root=None).epsilon == 0
    write(mine, "[compare]\nepsilon = 2\n")
    assert load_settings(str(below), root=None).epsilon == 2


def test_named_file(tmp_path: Path) -> None:
    write(tmp_path, "[compare]\nepsilon = 1\n")
    other = write(tmp_path, "[compare]\nrtol = 1\n", "other.toml")
    settings = load(tmp_path, file=str(other))
    assert (settings.epsilon, settings.rtol, settings.origin("rtol")) == (0, 1, f"{other}:2")
    project = write(tmp_path, "[tool.diffai.output]\ncolor = true\n", "pyproject.toml")
    assert load(tmp_path, file=str(project)).color == "auto"
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path, file=str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# x\n[compare]\nepsilom = 1", ".diffai.toml:3: unknown key epsilom in [compare]; did you mean ep"),
        ("[compar]\nepsilon = 1\n", ".diffai.toml:1: unknown table [compar]; did you mean compare?"),
        ("epsilon = 1\n", ".diffai.toml:1: unknown key epsilon outside of any table; it belongs in [compare]"),
        ("[output]\n\nmax_header = 1\n", "git config diffai.maxHeader"),
        ("[pytorch]\nthreads = 1\n", "git config diffai.threads"),
        ("[compare]\nepsilon = 'a'\n", ".diffai.toml:2: compare.epsilon must be a finite number"),
        ("[compare]\nepsilon = -1\n", "at least 0, not -1"),
        ("[compare]\nepsilon = nan\n", "finite"),
        ("[compare]\nrtol = inf\n", "finite"),
        ("[compare]\nrtol = true\n", "not true"),
        ("[compare]\nignore = 'x'\n", "compare.ignore must be a list of strings, not 'x'"),
        ("[compare]\nignore = [1]\n", "list of strings"),
        ("[output]\nformat = 'xml'\n", "output.format must be one of auto, text, table, markdown, html, json, yaml, enhanced, unified, cli, not 'xml'"),
        ("[output]\ncolor = 'red'\n", "one of auto, always, never"),
        ("[output]\nmax_tensor_display = 1.5\n", "whole number"),
        ("[pytorch]\nshow_structure = 1\n", "true or false, not 1"),
        ("compare = {epsilon = 'a'}\n", ".diffai.toml:1: compare.epsilon"),
        ("compare.epsilon = 'a'\n", ".diffai.toml:1: compare.epsilon"),
        ("project = 3\n", ".diffai.toml:1: project must be a table"),
        ("[compare\n", "not valid TOML"),
        ("a = " + "[" * 5000 + "\n", "nested too deeply"),
        ("[compare]\nepsilon = " + "9" * 5000 + "\n", ".diffai.toml"),
        ('[compare]\n"\\u001b[31m" = 1\n', "'\\x1b[31m'"),
        ("#" * (1 << 20) + "\n", "larger than"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    message = error(tmp_path, text)
    assert said in message
    assert message.isprintable() and len(message) < 300


def test_mistake_in_pyproject(tmp_path: Path) -> None:
    text = "[project]\nname = 'x'\n\n[tool.diffai.output]\ncolour = 'never'\n"
    expected = "pyproject.toml:5: unknown key colour in [output]; did you mean color?"
    assert error(tmp_path, text, "pyproject.toml") == expected
    assert "must be a table" in error(tmp_path, "[tool]\ndiffai = 1\n", "pyproject.toml")


def test_a_pyproject_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "[project\nthis is broken", "pyproject.toml")
    assert load(tmp_path) == Settings()
    write(tmp_path, "[project]\ndependencies = ['diffai']\n", "pyproject.toml")
    assert load(tmp_path) == Settings()


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / ".diffai.toml").write_bytes(b"# \xff\n")
    with pytest.raises(UsageError, match="not UTF-8 at byte 2"):
        load(tmp_path)


def test_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    secret = write(tmp_path, "[compare]\nepsilon = 1\n", "secret.toml")
    (root / "pyproject.toml").symlink_to(secret)
    assert load(root) == Settings()
    (root / ".diffai.toml").symlink_to(secret)
    with pytest.raises(UsageError, match="leads out of the repository"):
        load(root)
    (root / ".diffai.toml").unlink()
    write(root, "[compare]\nepsilon = 2\n", "inside.toml")
    (root / ".diffai.toml").symlink_to("inside.toml")
    assert load(root).epsilon == 2


def test_a_folder_or_fifo_of_that_name(tmp_path: Path) -> None:
    (tmp_path / ".diffai.toml").mkdir()
    with pytest.raises(UsageError, match="directory"):
        load(tmp_path)
    (tmp_path / ".diffai.toml").rmdir()
    os.mkfifo(tmp_path / ".diffai.toml")
    assert load(tmp_path) == Settings()  # reads as empty, does not hang


def test_git_config(repository: Path) -> None:
    for name, value in [
        ("epsilon", "1e-6"), ("rtol", "0.25"), ("color", "false"), ("foldAbove", "7"), ("shapeOnly", "yes"),
        ("tensorDetails", "on"), ("showStructure", "0"), ("maxTensorDisplay", "1k"), ("threads", "2"),
        ("maxBytes", "2g"), ("maxHeader", "5M"), ("maxSpool", "1024"), ("include", "*.pt"),
        ("exclude", "x\ny"), ("installedBy", "someone"),
    ]:  # fmt: skip
        git(repository, "config", f"diffai.{name}", value)
    git(repository, "config", "--add", "diffai.ignore", "ema.*")
    git(repository, "config", "--add", "diffai.ignore", "opt.*")
    deep = repository / "deep"
    deep.mkdir()
    config, root = read_git_config(str(deep))
    assert root == str(repository)
    settings = load_settings(str(deep), root=root, git_config=config)
    assert (settings.epsilon, settings.rtol, settings.color, settings.fold_above) == (1e-6, 0.25, "never", 7)
    assert settings.shape_only and settings.tensor_details and not settings.show_structure
    assert (settings.max_tensor_display, settings.threads) == (1024, 2)
    assert (settings.max_bytes, settings.max_header, settings.max_spool) == (2 << 30, 5 << 20, 1024)
    assert (settings.include, settings.exclude, settings.ignore) == (("*.pt",), ("x\ny",), ("ema.*", "opt.*"))
    assert settings.origin("max_bytes") == "git config diffai.maxBytes"


def test_git_config_key_without_a_value_is_true(repository: Path) -> None:
    with (repository / ".git" / "config").open("a") as stream:
        stream.write("[diffai]\n\tshapeOnly\n\ttensorDetails =\n")
    config, root = read_git_config(str(repository))
    settings = load_settings(str(repository), root=root, git_config=config)
    assert settings.shape_only is True
    assert settings.tensor_details is False
    assert settings.origin("tensor_details") == "git config diffai.tensorDetails"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epsilon", "much", "git config diffai.epsilon must be a finite number of at least 0, not 'much'"),
        ("shapeonly", "maybe", "git config diffai.shapeOnly must be true or false, not 'maybe'"),
        ("maxbytes", "2x", "git config diffai.maxBytes must be a size"),
        ("threads", "-1", "git config diffai.threads must be a whole number"),
        ("color", "red", "git config diffai.color must be one of"),
    ],
)
def test_git_config_mistakes(tmp_path: Path, name: str, value: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, git_config={name: [value]})
    assert said in str(caught.value)


def test_git_cannot_read_its_configuration(repository: Path) -> None:
    (repository / ".git" / "config").write_text("[broken\n")
    with pytest.raises(UsageError, match=r"git config: fatal: bad config line 1"):
        read_git_config(str(repository))


def test_without_git_or_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repository_root(str(tmp_path)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_config(str(tmp_path)) == ({}, None)


def test_linked_worktree_has_its_own_root(repository: Path, tmp_path: Path) -> None:
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "x")
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    assert repository_root(str(tmp_path / "linked")) == str(tmp_path / "linked")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("7", 7), ("1k", 1024), ("2M", 2 << 20), (" 3g ", 3 << 30), ("1t", 1 << 40)]
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5g", "1kb", "²", "9" * 30])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


HEAVY = ("numpy", "click", "yaml", "git", "rich", "pathlib", "tomllib", "difflib", "subprocess")


def loaded_by(code: str) -> set[str]:
    program = f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    # -S: what site hooks of the environment load is not ours to answer for.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    result = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def test_import_budget(tmp_path: Path) -> None:
    code = "from diffai.config import load_settings\n"
    code += f"load_settings({str(tmp_path)!r}, root={str(tmp_path)!r}, git_config={{'epsilon': ['1']}})"
    assert not loaded_by(code) & set(HEAVY)
    write(tmp_path, "[project]\nname = 'x'\n", "pyproject.toml")
    assert not loaded_by(code) & set(HEAVY)
    write(tmp_path, "[compare]\nrtol = 1\n")
    assert loaded_by(code) & set(HEAVY) == {"tomllib"}


def test_import_budget_of_git_config(repository: Path) -> None:
    loaded = loaded_by(f"from diffai.config import read_git_config\nread_git_config({str(repository)!r})")
    assert loaded & set(HEAVY) == set()


# ---------------------------------------------------------------- what a clone can do with its file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".".join(["a"] * 20_000) + " = 1", "line-1: a key of more than 32 dotted parts"),
        ("a = {" + ".".join(["b"] * 20_000) + " = 1}", "line-1: a key of more than 32 dotted parts"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("[compare]\nepsilon = 0x" + "f" * 900_000, "line-2: compare.epsilon must be a finite number"),
        ("[compare]\na" + " " * 400_000 + "= 1", "line-2: unknown key a in [compare]"),
        ("[compare]\nepsilon = 1" + " " * 400_000 + "\nx = 3", "line-3: unknown key x in [compare]"),
        ('a = """\n' + '"' + '\\"' * 450_000 + '\n"""', "line-1: unknown key a"),
        ('a = """' + '\\"""' * 200_000, "not valid TOML"),
        ("a = '" + "'" * 900_000, "not valid TOML"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) > 100 else value,
)
def test_no_text_of_a_clone_takes_long_or_much_memory(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    code = (
        "import resource, sys\nfrom diffai.config import load_settings\n"
        "resource.setrlimit(resource.RLIMIT_AS, (500 << 20,) * 2)\nresource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "try:\n    load_settings('.', root='.')\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith("UsageError .diffai.toml")
    assert said.replace("line-", ".diffai.toml:") in done.stdout


def test_dots_and_brackets_in_strings_and_comments_are_none(tmp_path: Path) -> None:
    dots = ".".join("a" * 100) + "[" * 50
    write(tmp_path, f'# {dots}\n[project]\nname = """\n"{dots}\\"\n"""\n# {dots}\n[compare]\nignore = [\'{dots}\']\n')
    assert load(tmp_path).ignore == (dots,)


def test_the_file_of_older_guides(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[project]\nname = "resnet"\n[pytorch]\nshow_structure = true\ntensor_details = false\n'
        'filter_small_changes = true\nthreshold = 1e-6\n[output]\nformat = "enhanced"\ncolor = true\n'
        "max_tensor_display = 20\n[analyses]\nauto = true\n",
    )
    settings = load(tmp_path)
    assert (settings.format, settings.color, settings.project_name) == ("table", "auto", "resnet")
    assert settings.show_structure and settings.filter_small_changes and settings.threshold == 1e-6


def test_the_page_is_a_format(tmp_path: Path) -> None:
    (tmp_path / ".diffai.toml").write_text('[output]\nformat = "html"\n')
    assert load(tmp_path).format == "html"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[analyses]\nauto = 1\n", ".diffai.toml:2: analyses.auto must be true or false"),
        ("[analyses]\naut = true\n", ".diffai.toml:2: unknown key aut in [analyses]; did you mean auto?"),
        ("[pytroch]\n", ".diffai.toml:1: unknown table [pytroch]; did you mean pytorch?"),
        ("epsilon = 1\n", ".diffai.toml:1: unknown key epsilon outside of any table; it belongs in [compare]"),
    ],
)
def test_unknown_sections_are_errors(tmp_path: Path, text: str, said: str) -> None:
    assert error(tmp_path, text).startswith(said)


def test_what_a_clone_set_is_told_from_what_the_user_set(tmp_path: Path) -> None:
    file = write(tmp_path, '[compare]\nepsilon = 1\nrtol = 0.5\nignore = ["*"]\n')
    settings = load(tmp_path, git_config={"rtol": ["0.1"]})
    assert settings.committed == {"epsilon", "ignore"}
    assert settings.committed_origin("epsilon") == ".diffai.toml:2" and settings.committed_origin("rtol") == ""
    assert load(tmp_path, options={"epsilon": 2.0}).committed == {"rtol", "ignore"}
    assert load(tmp_path, file=str(file)).committed == frozenset()  # --config: the user named it


def test_under_git_no_committed_epsilon_counts_unless_the_user_trusts_the_repository(tmp_path: Path) -> None:
    write(tmp_path, "[compare]\nepsilon = 1e300\n")
    settings = load(tmp_path, by_git=True)
    assert settings.epsilon == 0 and settings.committed == frozenset()
    (note,) = settings.not_applied
    assert (note.key, note.value, note.origin) == ("compare.epsilon", "1e+300", ".diffai.toml:2")
    trusted = load(tmp_path, by_git=True, git_config={"trustrepository": ["true"]})
    assert trusted.epsilon == 1e300 and not trusted.not_applied
    own = load(tmp_path, by_git=True, git_config={"epsilon": ["0.25"]})
    assert own.epsilon == 0.25 and not own.not_applied
    assert "each user sets this one" in error(tmp_path, "[compare]\ntrust_repository = true\n")
