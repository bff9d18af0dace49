"""Each rule of a policy against a change that breaks it and one that keeps it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffai import api
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions
from diffai.model import Absent
from diffai.models.inputs import open_input
from diffai.policy.judging import Case, judge, judge_size
from diffai.policy.reading import parse_policy
from diffai.policy.rules import Policy
from diffai.policy.structure import fingerprint, structure_change

OLD = {"enc.w": np.arange(8, dtype="f4").reshape(2, 4), "head.w": np.ones((3, 2), "f4"), "head.b": np.ones(3, "f4")}


def verdict(policy: str, new: dict[str, Any] | None, old: dict[str, Any] | None = None, **case: Any) -> dict[str, Any]:
    """Violations by rule."""
    parsed = parse_policy(policy.encode(), "p", ()) or Policy()
    sides = [open_input(side) if side is not None else Input("", state=Absent()) for side in (old or OLD, new)]
    diff = compare_models(*sides, CompareOptions())
    found = judge(Case(diff, case.pop("status", "changed"), {}, **case), parsed.for_path("m.safetensors"))
    return {v.rule: v for v in found}


def changed(**tensors: Any) -> dict[str, Any]:
    """OLD with some tensors replaced; None removes one."""
    merged = {**OLD, **{name.replace("_", ".", 1): value for name, value in tensors.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def test_values_may_change_by_default() -> None:
    assert verdict("", changed(head_w=np.zeros((3, 2), "f4"))) == {}


def test_each_kind_of_structure_is_a_rule_of_its_own() -> None:
    assert list(verdict("", changed(head_x=np.ones(2, "f4")))) == ["structure.added"]
    assert list(verdict("", changed(head_b=None))) == ["structure.removed"]
    assert list(verdict("", changed(head_w=np.ones((4, 2), "f4")))) == ["structure.reshaped"]
    renamed = changed(enc_w=None) | {"encoder.w": OLD["enc.w"]}
    assert list(verdict("", renamed)) == ["structure.renamed"]
    assert verdict('[gate]\nstructure = {renamed = "allow"}', renamed) == {}
    assert verdict('[gate]\nstructure = "warn"', renamed)["structure.renamed"].level == "warn"


def test_dtype() -> None:
    half = changed(enc_w=OLD["enc.w"].astype("f2"))
    assert verdict("", half) == {}
    broken = verdict('[gate]\ndtype = "forbid"', half)["dtype"]
    assert broken.message == "1 tensor cast (F32 to F16)" and broken.approvable


@pytest.mark.parametrize(
    "new",
    [
        changed(enc_w=OLD["enc.w"] + 1), changed(enc_w=None), changed(enc_w=OLD["enc.w"].astype("f8")),
        changed(enc_w=None) | {"encoder.w": OLD["enc.w"]}, changed(enc_w=OLD["enc.w"].reshape(4, 2)),
        changed(enc_w=np.where(OLD["enc.w"] == 0, np.float32(-0.0), OLD["enc.w"])),
    ],
    ids=["changed", "removed", "lossless cast", "renamed", "reshaped", "minus zero"],
)  # fmt: skip
def test_frozen_means_no_bit(new: dict[str, Any]) -> None:
    policy = '[gate]\nstructure = "allow"\nfrozen = ["enc.*"]'
    assert "frozen" in verdict(policy, new)
    assert not verdict(policy, new)["frozen"].approvable


def test_frozen_leaves_the_rest_alone() -> None:
    assert verdict('[gate]\nfrozen = ["enc.*"]', changed(head_w=np.zeros((3, 2), "f4"))) == {}


def test_protected_means_shape_and_dtype_not_values() -> None:
    policy = '[gate]\nstructure = "allow"\nprotected = ["head.*"]'
    assert verdict(policy, changed(head_w=np.zeros((3, 2), "f4"))) == {}
    assert "protected" in verdict(policy, changed(head_w=np.zeros((4, 2), "f4")))
    assert "protected" in verdict(policy, changed(head_w=np.ones((3, 2), "f8")))


def test_parameter_change_absolute_and_percent() -> None:
    more = changed(head_x=np.ones(2, "f4"))  # 17 -> 19, 11.8 %
    allow = '[gate]\nstructure = "allow"\nmax_param_change = '
    assert verdict(allow + "2", more) == {}
    assert "19: a change of 2 is more than" in verdict(allow + "1", more)["max_param_change"].message
    assert verdict(allow + '"12%"', more) == {}
    assert "11.8%" in verdict(allow + '"11%"', more)["max_param_change"].message


def test_relative_l2_of_the_whole_update() -> None:
    moved = changed(enc_w=OLD["enc.w"] * np.float32(1.5))
    assert verdict("[gate]\nmax_relative_l2 = 0.5", moved) == {}
    assert "relative L2 of the changed tensors 0.5 is more than" in verdict("[gate]\nmax_relative_l2 = 0.4", moved)["max_relative_l2"].message
    zero = {"w": np.zeros(3, "f4")}
    broken = verdict("[gate]\nmax_relative_l2 = 9", {"w": np.ones(3, "f4")}, zero)
    assert "all zero" in broken["max_relative_l2"].message


def test_nan_and_inf_that_appear_are_refused_and_those_that_were_there_are_not() -> None:
    bad = OLD["enc.w"].copy()
    bad[0, 0], bad[0, 1] = np.nan, np.inf
    assert verdict("", changed(enc_w=bad))["forbid_nan"].message == "1 NaN and 1 Inf in enc.w"
    assert verdict("[gate]\nforbid_nan = false", changed(enc_w=bad)) == {}
    worse = bad.copy()
    worse[1, 1] = 7
    assert verdict("", {**OLD, "enc.w": worse}, {**OLD, "enc.w": bad}) == {}


def test_a_new_model_is_judged_by_itself() -> None:
    bad = {"w": np.array([np.nan, 1], "f4")}
    policy = '[gate]\nmodels = {added = "warn"}\nfrozen = ["*"]\nrequire_metadata = ["license"]\nmax_size = 7\n'
    policy += "require_safetensors = true"
    parsed = parse_policy(policy.encode(), "p", ())
    assert parsed is not None
    diff = compare_models(Input("", state=Absent()), open_input(bad), CompareOptions())
    found = judge(Case(diff, "added", {}), parsed.for_path("m"))
    assert {v.rule for v in found} == {
        "models.added", "forbid_nan", "require_metadata", "max_size", "require_safetensors",
    }  # fmt: skip
    assert [v.level for v in found][-1] == "warn"


def test_a_deleted_model_warns_and_refuses_where_tensors_are_guarded() -> None:
    assert verdict("", None, status="deleted")["models.deleted"].level == "warn"
    assert "frozen" in verdict('[gate]\nfrozen = ["enc.*"]', None, status="deleted")
    assert verdict('[gate]\nmodels = {deleted = "allow"}', None, status="deleted") == {}


def test_only_the_new_side_is_judged_where_the_old_one_is_not_here() -> None:
    assert verdict("", changed(head_x=np.ones(2, "f4")), alone=True) == {}


def test_metadata_levels() -> None:
    import safetensors_writer

    old = safetensors_writer.build({}, {"license": "mit", "epoch": "1"})
    new = safetensors_writer.build({}, {"epoch": "2"})
    diff = api.compare(old, new)
    policy = parse_policy(b'[gate]\nmetadata = {removed = "forbid", changed = "warn"}', "p", ())
    assert policy is not None
    found = judge(Case(diff, "changed", {"epoch": "2"}), policy.for_path("m"))
    assert [(v.rule, v.level, v.values[0].key) for v in found] == [
        ("metadata.removed", "forbid", "license"), ("metadata.changed", "warn", "epoch"),
    ]  # fmt: skip


def test_size_of_a_pointer() -> None:
    policy = parse_policy(b"[gate]\nmax_size = 999", "p", ())
    assert policy is not None
    assert judge_size(999, policy.for_path("m")) == ()
    assert judge_size(1000, policy.for_path("m"))[0].message == "1.0 kB is larger than max_size = 999 bytes"


def test_the_fingerprint_is_of_the_structure_alone() -> None:
    a = structure_change(api.compare(OLD, changed(head_w=np.zeros((3, 2), "f4"))))
    assert a.old == a.new and a.old.startswith("sha256:")
    b = structure_change(api.compare(OLD, changed(head_w=np.zeros((2, 3), "f4"))))
    assert b.old == a.old != b.new
    c = structure_change(api.compare(OLD, changed(head_w=np.zeros((3, 2), "f2"))))
    assert c.new not in (a.old, b.new)
    specs = api.open_checkpoint(OLD).tensors
    assert fingerprint(specs.values()) == fingerprint(reversed(list(specs.values()))) == a.old
