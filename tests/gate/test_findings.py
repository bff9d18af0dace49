"""Rules about findings, metrics and noise: refused, warned of, or not judged, through real git and the program."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from dvcrepo import DvcRepo, md5
from gating import diffai, gate, gate_json, model, staged
from gitrepo import Repo


def rules(repo: Repo, *arguments: str) -> dict[str, Any]:
    (entry,) = gate_json(repo, *arguments)["models"]
    return {violation["rule"]: violation["level"] for violation in entry["violations"]}


def policy(repo: Repo, text: str, files: dict[str, bytes | str] | None = None) -> None:
    """Commit a policy with the first version of everything."""
    repo.commit({".diffai.toml": f"[gate]\n{text}\n", "m.safetensors": model(4), **(files or {})})


def test_a_forbidden_finding_refuses_from_its_severity_up(repo: Repo) -> None:
    policy(repo, 'forbid_nan = false\nforbid_findings = ["anomaly_detection:critical"]')
    staged(repo, {"m.safetensors": model(4, scale=1.01)})
    assert rules(repo) == {}
    staged(repo, {"m.safetensors": model(4, nan=True)})
    assert rules(repo) == {"forbid_findings": "forbid"}
    done = gate(repo)
    assert done.returncode == 1 and "anomaly_detection (critical): non-finite: head.weight" in done.stdout
    repo.git("commit", "-q", "-m", "NaN")
    for command in (("gate", "--base", "HEAD~1"), ("ci", "--base", "HEAD~1")):
        assert diffai(*command, cwd=repo.top).returncode == 1


def test_a_finding_below_the_severity_passes_and_a_warned_one_is_only_said(repo: Repo) -> None:
    policy(repo, 'forbid_findings = ["anomaly_detection:critical"]\nwarn_findings = ["anomaly-detection"]')
    staged(repo, {"m.safetensors": model(4, scale=30)})  # grew to thirty times its norm: a warning
    assert rules(repo) == {"warn_findings": "warn"}
    assert gate(repo).returncode == 0


def test_what_is_forbidden_is_not_warned_of_as_well(repo: Repo) -> None:
    policy(repo, 'forbid_findings = ["anomaly_detection"]\nwarn_findings = ["anomaly_detection:info"]')
    staged(repo, {"m.safetensors": model(4, scale=30)})
    assert rules(repo) == {"forbid_findings": "forbid"}


def test_thresholds_of_the_repository_have_no_say(repo: Repo) -> None:
    policy(repo, 'forbid_findings = ["risk_assessment", "anomaly_detection"]\n[analyses.anomaly_detection]\nshift = 1e9')
    staged(repo, {"m.safetensors": model(4, scale=30)})
    assert rules(repo) == {"forbid_findings": "forbid"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('forbid_findings = ["anomaly_detektion"]', "did you mean anomaly_detection?"),
        ('warn_findings = ["anomaly_detection:fatal"]', "there is no severity 'fatal'"),
        ("forbid_findings = 'risk_assessment'", "a list of findings"),
        ("max_metric_drop = -1", 'a share of at least 0, such as 0.02 or "2%"'),
        ("min_sqnr_db = true", "a finite number"),
    ],
)
def test_a_wrong_rule_is_an_error_that_names_what_was_meant(repo: Repo, text: str, said: str) -> None:
    policy(repo, text)
    staged(repo, {"m.safetensors": model(5)})
    done = gate(repo)
    assert done.returncode == 2 and said in done.stderr and ".diffai.toml:2" in done.stderr


def test_a_metric_in_the_model_may_drop_by_a_share(repo: Repo) -> None:
    repo.commit({".diffai.toml": '[gate]\nmax_metric_drop = "2%"\n', "m.safetensors": model(metadata={"val_acc": "0.9"})})
    staged(repo, {"m.safetensors": model(scale=2, metadata={"val_acc": "0.89"})})
    assert rules(repo) == {}
    staged(repo, {"m.safetensors": model(scale=2, metadata={"val_acc": "0.85"})})
    assert rules(repo) == {"max_metric_drop": "forbid"}
    assert "val_acc 0.9 -> 0.85 (5.6% worse)" in gate(repo).stdout
    staged(repo, {"m.safetensors": model(scale=2, metadata={"val_acc": "0.95"})})
    assert rules(repo) == {}


def test_metrics_beside_a_model_are_those_of_its_own_commit(repo: Repo) -> None:
    policy(repo, "max_metric_drop = 0.01", {"metrics.json": '{"val": {"loss": 0.5}}'})
    staged(repo, {"m.safetensors": model(scale=2), "metrics.json": '{"val": {"loss": 0.6}}'})
    repo.write({"metrics.json": '{"val": {"loss": 0.1}}'})  # of the work tree, which is not what is committed
    assert rules(repo) == {"max_metric_drop": "forbid"}
    repo.git("commit", "-q", "-m", "worse")
    staged(repo, {"m.safetensors": model(scale=3)})
    assert rules(repo) == {}
    assert rules(repo, "--base", "HEAD~1") == {"max_metric_drop": "forbid"}


def test_metrics_beside_the_pointer_of_a_model_count(repo: Repo) -> None:
    dvc = DvcRepo(repo)
    for scale, loss in ((1.0, 0.5), (2.0, 0.9)):
        address = dvc.object(model(scale=scale))
        text = f"outs:\n- md5: {address}\n  hash: md5\n  path: m.safetensors\n"
        repo.commit({"m.safetensors.dvc": text, "metrics.json": json.dumps({"loss": loss}),
                     ".diffai.toml": "[gate]\nmax_metric_drop = 0.1\n"})  # fmt: skip
    assert rules(repo, "--base", "HEAD~1") == {"max_metric_drop": "forbid"}


def test_metrics_that_are_not_recorded_are_not_judged(repo: Repo) -> None:
    policy(repo, "max_metric_drop = 0.01")
    staged(repo, {"m.safetensors": model(scale=2)})
    (entry,) = gate_json(repo)["models"]
    assert entry["outcome"] == "not judged"
    assert entry["not_judged"] == "max_metric_drop = 0.01: no metric is recorded on both sides"
    assert gate(repo, "--on-missing", "fail").returncode == 2


def test_a_metric_that_is_gone_is_not_judged_though_another_is_there(repo: Repo) -> None:
    both = {"val_loss": "0.5", "val_acc": "0.9"}
    repo.commit({".diffai.toml": "[gate]\nmax_metric_drop = 0\n", "m.safetensors": model(metadata=both)})
    staged(repo, {"m.safetensors": model(scale=2, metadata={"val_loss": "0.4"})})
    (entry,) = gate_json(repo)["models"]
    assert entry["not_judged"] == "max_metric_drop = 0: val_acc is not recorded on the new side"


def test_a_metric_of_no_known_direction_is_not_judged(repo: Repo) -> None:
    policy(repo, "max_metric_drop = 0.01", {"metrics.json": '{"oomph": 1.0}'})
    staged(repo, {"m.safetensors": model(scale=2), "metrics.json": '{"oomph": 0.2}'})
    (entry,) = gate_json(repo)["models"]
    assert "whether oomph is better when it is higher is not known" in entry["not_judged"]


@pytest.mark.parametrize(("least", "broken"), [(40, {}), (200, {"min_sqnr_db": "forbid"})])
def test_the_noise_of_a_cast_has_a_limit(repo: Repo, least: int, broken: dict[str, str]) -> None:
    third = struct.unpack("<f", struct.pack("<f", 1 / 3))[0]
    policy(repo, f"min_sqnr_db = {least}", {"m.safetensors": model(scale=third)})
    staged(repo, {"m.safetensors": model(scale=third, dtype="F16")})
    assert rules(repo) == broken


def test_a_lossless_cast_has_no_noise(repo: Repo) -> None:
    policy(repo, "min_sqnr_db = 1000", {"m.safetensors": model(dtype="F16")})
    staged(repo, {"m.safetensors": model()})
    assert rules(repo) == {}


def test_findings_about_values_that_are_far_away_are_not_judged(repo: Repo, tmp_path: Path) -> None:
    DvcRepo(repo, config="[core]\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n")
    for data in (model(), model(scale=2)):
        path = tmp_path / "remote" / "files" / "md5" / md5(data)[:2] / md5(data)[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        toml = '[gate]\nforbid_nan = false\nforbid_findings = ["anomaly_detection"]\n'
        pointer = f"outs:\n- md5: {md5(data)}\n  hash: md5\n  path: m.safetensors\n"
        repo.commit({"m.safetensors.dvc": pointer, ".diffai.toml": toml})
    repo.config("diffai.remote", "header")
    (entry,) = gate_json(repo, "--base", "HEAD~1")["models"]
    assert entry["outcome"] == "not judged" and "only headers are read" in entry["not_judged"]
    assert "anomaly_detection: not computed" in entry["not_judged"]
    repo.config("diffai.remote", "full")
    assert gate_json(repo, "--base", "HEAD~1")["models"][0]["outcome"] == "pass"


def test_nobody_approves_a_finding(repo: Repo) -> None:
    policy(repo, 'forbid_findings = ["risk_assessment"]')
    staged(repo, {"m.safetensors": model(5)})
    assert set(rules(repo)) == {"structure.reshaped", "forbid_findings"}
    assert gate(repo, "approve", "m.safetensors", "--why", "wanted").returncode == 0
    repo.git("add", ".diffai")
    assert gate(repo).returncode == 1 and "forbid_findings" in gate(repo).stdout


def test_a_new_model_has_no_metric_that_could_drop(repo: Repo) -> None:
    repo.commit({".diffai.toml": "[gate]\nmax_metric_drop = 0\nmin_sqnr_db = 50\n"})
    staged(repo, {"m.safetensors": model()})
    (entry,) = gate_json(repo)["models"]
    assert entry["outcome"] == "pass"


def test_the_comment_of_a_pull_request_names_the_rule(repo: Repo) -> None:
    policy(repo, 'forbid_nan = false\nforbid_findings = ["anomaly_detection:critical"]')
    repo.commit({"m.safetensors": model(nan=True)})
    assert diffai("ci", "--base", "HEAD~1", "--comment", "comment.md", cwd=repo.top).returncode == 1
    text = (repo.top / "comment.md").read_text("utf-8")
    assert "`forbid_findings`" in text and "anomaly\\_detection (critical)" in text
