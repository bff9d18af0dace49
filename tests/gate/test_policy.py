"""Reading a policy: what holds for which file, and what is said of a wrong one."""

from __future__ import annotations

import pytest
from gating import gate, model, staged
from gitrepo import Repo

from diffai.errors import UsageError
from diffai.globs import name_matches, path_matches
from diffai.policy.reading import parse_policy
from diffai.policy.rules import DEFAULTS, Policy


def parse(text: str, prefix: tuple[str, ...] = ()) -> Policy:
    policy = parse_policy(text.encode(), ".diffai.toml", prefix)
    assert policy is not None
    return policy


@pytest.mark.parametrize(
    ("path", "glob", "matches"),
    [
        ("m.pt", "*.pt", True), ("a/b/m.pt", "*.pt", True), ("a/m.pt", "a/*.pt", True), ("x/a/m.pt", "a/*.pt", False),
        ("a/b/m.pt", "a/*.pt", False), ("a/b/m.pt", "a/**/*.pt", True), ("a/m.pt", "a/**/*.pt", True),
        ("a/b/c.pt", "a/**", True), ("a/b/c.pt", "a/", True), ("ab/c.pt", "a/", False), ("x/m.pt", "**/m.pt", True),
        ("m.pt", "**/m.pt", True), ("m.pt", "/m.pt", True), ("x/m.pt", "/m.pt", False), ("m1.pt", "m[0-9].pt", True),
        ("mx.pt", "m[!0-9].pt", True), ("m1.pt", "m[!0-9].pt", False), ("m.PT", "*.pt", False), ("a.pt", "?.pt", True),
        ("m+.pt", "m+.pt", True), ("a\nb.pt", "*.pt", True), ("m[.pt", "m[.pt", True),
    ],
)  # fmt: skip
def test_path_globs(path: str, glob: str, matches: bool) -> None:
    assert path_matches(path, [glob]) is matches


def test_name_globs_match_whole_names_and_dots() -> None:
    assert name_matches("encoder.layer.0.weight", ["encoder.*"])
    assert not name_matches("my.encoder.weight", ["encoder.*"])


def test_defaults_forbid_architecture_nan_and_pickles() -> None:
    effective = Policy().for_path("m.pt")
    assert effective.level("structure.added") == effective.level("structure.renamed") == "forbid"
    assert effective.values["forbid_nan"] and effective.values["forbid_unsafe_pickle"]
    assert effective.level("dtype") == effective.level("metadata.changed") == "allow"
    assert effective.origin("dtype") == "default"


def test_later_rules_beat_earlier_ones_key_by_key_and_say_where() -> None:
    policy = parse(
        """
        [gate]
        structure = "warn"
        frozen = ["backbone.*"]

        [[gate.rule]]
        paths = ["adapters/**"]
        structure = { added = "allow", removed = "forbid" }

        [[gate.rule]]
        paths = ["*.pt"]
        dtype = "forbid"
        max_size = "2m"
        """
    )
    effective = policy.for_path("adapters/x.pt")
    assert effective.level("structure.added") == "allow"
    assert effective.level("structure.removed") == "forbid"
    assert effective.level("structure.reshaped") == "warn"
    assert effective.values["max_size"] == 2 << 20
    assert effective.frozen == ("backbone.*",)
    assert effective.origin("structure.added") == ".diffai.toml:8 (rule 1)"
    assert effective.origin("dtype") == ".diffai.toml:12 (rule 2)"
    assert effective.origin("frozen") == ".diffai.toml:4"
    assert policy.for_path("other.safetensors").level("structure.added") == "warn"


def test_a_renamed_file_keeps_the_rules_of_its_old_path() -> None:
    policy = parse('[[gate.rule]]\npaths = ["prod/"]\nmax_size = 1\n')
    assert policy.for_path("prod/m.pt", "attic/m.pt").values["max_size"] == 1


def test_pyproject_prefix() -> None:
    policy = parse('[tool.diffai.gate]\ndtype = "warn"\n', ("tool", "diffai"))
    assert policy.for_path("m.pt").origin("dtype") == ".diffai.toml:2"


def test_no_gate_table_is_no_policy() -> None:
    assert parse_policy(b"[compare]\nepsilon = 1\n", "x") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[gate]\nstruture = "warn"', ".diffai.toml:2: unknown key struture; did you mean structure?"),
        ('[gate]\n\nstructure = "forbit"', ".diffai.toml:3: structure must be one of allow, warn, forbid"),
        ('[gate]\nstructure = "forbit"', "did you mean forbid?"),
        ('[gate]\nstructure = {addd = "warn"}', ".diffai.toml:2: unknown key addd in structure; did you mean added?"),
        ('[gate.structure]\nadded = "no"', ".diffai.toml:2: structure.added must be one of allow, warn, forbid"),
        ("[gate]\ndtype = 3", ".diffai.toml:2: dtype must be one of allow, warn, forbid, not 3"),
        ('[gate]\nfrozen = "x.*"', "frozen must be a list of globs"),
        ("[gate]\nmax_param_change = -1", "max_param_change must be a number of parameters"),
        ('[gate]\nmax_param_change = "x%"', "max_param_change must be"),
        ("[gate]\nmax_param_change = true", "not true"),
        ("[gate]\nmax_relative_l2 = nan", "max_relative_l2 must be a finite number"),
        ('[gate]\nmax_size = "2 apples"', 'max_size must be a size in bytes, such as 500000000 or "500m"'),
        ("[gate]\nforbid_nan = 1", "forbid_nan must be true or false, not 1"),
        ('[gate]\non_missing = "ignore"', "on_missing must be warn or fail"),
        ('[gate]\nask = "yes"', ".diffai.toml:2: ask must be true or false"),
        ('[[gate.rule]]\ndtype = "warn"', ".diffai.toml:1: this rule has no paths"),
        ('[[gate.rule]]\npaths = []', "paths must be a list of globs"),
        ('[[gate.rule]]\npaths = ["a"]\nask = true', ".diffai.toml:3: ask holds for the whole gate"),
        ('[[gate.rule]]\npaths = ["a"]\n[[gate.rule]]\npaths = ["b"]\nx = 1', ".diffai.toml:5: unknown key x"),
        ('[gate.rule]\npaths = ["a"]', "rules are written as [[gate.rule]]"),
        ("gate = 3", ".diffai.toml:1: must be a table"),
        ("[gate", ".diffai.toml: not valid TOML"),
        ("a = " + "[" * 5000, ".diffai.toml: n"),
    ],
)
def test_a_wrong_policy_names_line_key_and_nearest(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert said in str(error.value)


def test_lines_are_right_behind_lists_that_go_over_lines() -> None:
    policy = parse('[gate]\nfrozen = [\n  "a",\n  [\n'.replace("  [\n", '  "b = 1",\n') + ']\ndtype = "warn"\n')
    assert policy.for_path("m").origin("dtype") == ".diffai.toml:6"


def test_every_default_is_a_known_key() -> None:
    from diffai.policy.rules import KEYS

    assert {key.partition(".")[0] for key in DEFAULTS} == set(KEYS)


def test_a_glob_of_a_clone_hangs_no_commit(repo: Repo) -> None:
    globs = '["' + "*a" * 60 + '*b"]'
    repo.commit({".diffai.toml": f"[gate]\ninclude = {globs}\nfrozen = {globs}\n"
                 f"[[gate.rule]]\npaths = {globs}\ndtype = 'warn'\n"})  # fmt: skip
    staged(repo, {"a" * 120: "no model", "a" * 120 + ".safetensors": model(4)})
    assert gate(repo).returncode == 0
    staged(repo, {".diffai.toml": f'[gate]\ninclude = ["{"a" * 1001}"]\n'})
    done = gate(repo)
    assert done.returncode == 2 and "globs of at most 1,000 characters" in done.stderr
