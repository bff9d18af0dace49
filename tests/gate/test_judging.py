"""Each rule of a policy against a change that breaks it and one that keeps it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffai import api
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import CompareOptions, ValueChange
from diffai.frozen import replace
from diffai.model import Absent
from diffai.models.inputs import open_input
from diffai.policy.judging import Case, Judgement, judge, judge_size
from diffai.policy.reading import parse_policy
from diffai.policy.rules import Policy
from diffai.policy.structure import StructureChange, fingerprint, structure_change

OLD = {"enc.w": np.arange(8, dtype="f4").reshape(2, 4), "head.w": np.ones((3, 2), "f4"), "head.b": np.ones(3, "f4")}


def verdict(policy: str, new: dict[str, Any] | None, old: dict[str, Any] | None = None, **case: Any) -> dict[str, Any]:
    """Violations by rule."""
    parsed = parse_policy(policy.encode(), "p", ()) or Policy()
    sides = [open_input(side) if side is not None else Input("", state=Absent()) for side in (old or OLD, new)]
    diff = compare_models(*sides, CompareOptions(update_size=True))
    found = judge(Case(diff, case.pop("status", "changed"), {}, **case), parsed.for_path("m.safetensors")).violations
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
    assert "relative L2 of the changed tensors 0.5 is more than" in str(verdict("[gate]\nmax_relative_l2 = 0.4", moved)["max_relative_l2"])
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
    diff = compare_models(Input("", state=Absent()), open_input(bad), CompareOptions(update_size=True))
    found = judge(Case(diff, "added", {}), parsed.for_path("m")).violations
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
    found = judge(Case(diff, "changed", {"epoch": "2"}), policy.for_path("m")).violations
    assert [(v.rule, v.level, v.values[0].key) for v in found] == [
        ("metadata.removed", "forbid", "license"), ("metadata.changed", "warn", "epoch"),
    ]  # fmt: skip


def test_size_of_a_pointer() -> None:
    policy = parse_policy(b"[gate]\nmax_size = 999", "p", ())
    assert policy is not None
    assert judge_size(999, policy.for_path("m")) == ()
    assert judge_size(1000, policy.for_path("m"))[0].message == "1.0 kB is larger than max_size = 999 bytes"


def test_the_fingerprint_is_of_the_structure_alone() -> None:
    def fingerprints(new: dict[str, Any]) -> StructureChange:
        sides = [open_input(OLD), open_input(new)]
        return structure_change(compare_models(*sides), *(side.checkpoint for side in sides))

    a = fingerprints(changed(head_w=np.zeros((3, 2), "f4")))
    assert a.old == a.new and a.old.startswith("sha256:")
    b = fingerprints(changed(head_w=np.zeros((2, 3), "f4")))
    assert b.old == a.old != b.new
    c = fingerprints(changed(head_w=np.zeros((3, 2), "f2")))
    assert c.new not in (a.old, b.new)
    specs = api.open_checkpoint(OLD).tensors
    assert fingerprint(specs.values()) == fingerprint(reversed(list(specs.values()))) == a.old
    assert fingerprint(specs.values(), {"1": "Tanh"}) not in (a.old, fingerprint(specs.values(), {}, {"1": "Tanh"}))


def test_the_size_of_an_update_is_over_all_parameters() -> None:
    moved = changed(enc_w=OLD["enc.w"] * np.float32(1.5))  # the rest of 9 elements of 1 is part of the norm
    size = 0.5 * float(np.linalg.norm(OLD["enc.w"]))
    size /= float(np.hypot(np.linalg.norm(OLD["enc.w"]), 3))
    assert verdict(f"[gate]\nmax_update = {size + 1e-6}", moved) == {}
    broken = verdict(f"[gate]\nmax_update = {size - 1e-6}", moved)["max_update"]
    assert broken.message.startswith("update size 0.4") and [c.name for c in broken.changes] == ["enc.w"]
    assert "all zero" in verdict("[gate]\nmax_update = 9", {"w": np.ones(3, "f4")}, {"w": np.zeros(3, "f4")})["max_update"].message
    assert verdict("[gate]\nmax_update = 0", OLD) == {}


def test_buffers_are_no_part_of_an_update() -> None:
    old = {**OLD, "bn.running_mean": np.zeros(2, "f4"), "bn.num_batches_tracked": np.array(1)}
    new = {**OLD, "bn.running_mean": np.ones(2, "f4"), "bn.num_batches_tracked": np.array(5000)}
    assert verdict("[gate]\nmax_update = 0.001\nmax_relative_l2 = 0.001", new, old) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", ["max_update", "max_relative_l2"])
def test_a_parameter_that_becomes_non_finite_breaks_every_limit(rule: str, value: float) -> None:
    lost = changed(enc_w=np.full_like(OLD["enc.w"], value))
    broken = verdict(f"[gate]\nforbid_nan = false\n{rule} = 1e30", lost)
    assert list(broken) == [rule] and "became NaN or infinite" in broken[rule].message
    one = OLD["enc.w"].copy()
    one[1, 1] = value
    assert list(verdict(f"[gate]\nforbid_nan = false\n{rule} = 1e30", changed(enc_w=one))) == [rule]
    assert verdict(f"[gate]\n{rule} = 1e30", {**OLD, "enc.w": one}, {**OLD, "enc.w": one}) == {}


def test_nan_that_becomes_inf_is_refused_and_what_heals_is_not() -> None:
    nan, inf = OLD["enc.w"].copy(), OLD["enc.w"].copy()
    nan[0, 0], inf[0, 0] = np.nan, np.inf
    message = verdict("", changed(enc_w=inf), changed(enc_w=nan))["forbid_nan"].message
    assert message == "1 Inf in enc.w (of another kind before)"
    assert verdict("", OLD, changed(enc_w=nan)) == {}
    more = nan.copy()
    more[1, 1] = np.nan
    assert "2 NaN in enc.w (more than before)" in verdict("", changed(enc_w=more), changed(enc_w=nan))["forbid_nan"].message
    assert verdict("", changed(enc_w=nan), changed(enc_w=more)) == {}
    moved = OLD["enc.w"].copy()
    moved[1, 1] = np.nan
    assert verdict("", changed(enc_w=moved), changed(enc_w=nan)) == {}


def test_a_new_model_with_nan_in_a_buffer_is_refused_and_a_mask_is_not() -> None:
    buffer = {**OLD, "bn.running_mean": np.array([np.nan, 1], "f4")}
    assert "forbid_nan" in verdict("", buffer, status="added") and "forbid_nan" in verdict("", buffer)
    mask = {**OLD, "attn.mask": np.array([[0, -np.inf], [0, 0]], "f4")}
    assert "forbid_nan" not in verdict("", mask)


def judgement(policy: str, new: dict[str, Any], old: dict[str, Any]) -> Judgement:
    parsed = parse_policy(policy.encode(), "p", ())
    assert parsed is not None
    diff = compare_models(open_input(old), open_input(new), CompareOptions(update_size=True))
    return judge(Case(diff, "changed", {}), parsed.for_path("m"))


def test_what_the_policy_loosens_is_named() -> None:
    bad = changed(enc_w=np.full_like(OLD["enc.w"], np.nan), head_x=np.ones(1, "f4"))
    found = judgement("[gate]\nforbid_nan = false\nstructure = {added = 'allow'}\nmetadata = 'allow'", bad, OLD)
    assert found.violations == ()
    assert [(v.rule, v.level, v.origin) for v in found.allowed] == [
        ("structure.added", "allow", "p:3"), ("forbid_nan", "allow", "p:2"),
    ]  # fmt: skip
    assert judgement("[gate]\nforbid_nan = false", changed(head_w=np.zeros((3, 2), "f4")), OLD).allowed == ()


def test_an_update_of_a_minority_of_the_parameters_is_not_judged() -> None:
    wide = changed(enc_w=np.ones((2, 40), "f4"))
    policy = "[gate]\nstructure = 'allow'\nmax_update = 0.5"
    assert judgement(policy, wide, OLD).unjudged == (
        "max_update = 0.5: 9 of 89 parameters have a partner of the same shape",)  # fmt: skip
    assert judgement(policy, {"y": np.ones(3, "f4")}, {"x": np.zeros((2, 5), "f4")}).unjudged
    assert judgement(policy, OLD, OLD).unjudged == ()


def test_classes_and_graph_are_structure() -> None:
    plain = api.compare(OLD, OLD)
    change = ValueChange("Sequential.1", "changed", "torch.nn.Tanh", "torch.nn.Sigmoid")
    for facet, rule in (("classes", "structure.classes"), ("graph", "structure.graph")):
        diff = replace(plain, **{facet: (change,)})
        broken = judge(Case(diff, "changed", {}), Policy().for_path("m")).violations
        assert [(v.rule, v.level, v.approvable, v.values) for v in broken] == [(rule, "forbid", True, (change,))]
        policy = parse_policy(f"[gate]\nstructure = {{{facet} = 'warn'}}".encode(), "p", ())
        assert policy is not None
        assert [v.level for v in judge(Case(diff, "changed", {}), policy.for_path("m")).violations] == ["warn"]
