"""What looks wrong is found at its threshold, and its neighbour just below it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from controls import Arrays, base, noise

import diffai
from diffai.analyses.anomalies import Anomaly, anomalies
from diffai.comparison.result import CompareOptions

SMALL = noise(base())
WIDE = {f"w{n}.weight": np.random.default_rng(n).normal(0.5, 0.1, (8, 8)).astype("f4") for n in range(3)}


def found(old: Any, new: Any, **limits: float) -> dict[tuple[str, str], Anomaly]:
    return {(each.kind, each.tensor): each for each in anomalies(diffai.compare(old, new), **limits)}


@pytest.mark.parametrize(("move", "shifted"), [(0.08, False), (0.12, True), (-0.12, True)])
def test_a_mean_that_moved_by_more_than_a_deviation(move: float, shifted: bool) -> None:
    new = {**WIDE, "w1.weight": WIDE["w1.weight"] + np.float32(move)}
    assert (("distribution shift", "w1.weight") in found(WIDE, new)) == shifted
    assert ("distribution shift", "w1.weight") not in found(WIDE, new, shift=2)


@pytest.mark.parametrize(("factor", "shifted"), [(2.8, False), (3.2, True), (0.4, False), (0.3, True)])
def test_a_deviation_beyond_three_times_either_way(factor: float, shifted: bool) -> None:
    middle = WIDE["w1.weight"].mean()
    new = {**WIDE, "w1.weight": ((WIDE["w1.weight"] - middle) * factor + middle).astype("f4")}
    assert (("distribution shift", "w1.weight") in found(WIDE, new)) == shifted
    assert ("distribution shift", "w1.weight") not in found(WIDE, new, spread=5)


def test_constants_buffers_and_small_tensors_have_no_distribution() -> None:
    old = {**WIDE, "norm.weight": np.ones(64, "f4"), "short.weight": WIDE["w0.weight"][0], "b.running_var": np.ones(64, "f4")}
    new = {**WIDE, "norm.weight": np.full(64, 3, "f4"), "short.weight": WIDE["w0.weight"][0] + np.float32(5),
           "b.running_var": np.full(64, 5, "f4")}  # fmt: skip
    assert not any(kind == "distribution shift" for kind, _ in found(old, new))


def test_what_began_near_zero_does_not_explode() -> None:
    old = {**WIDE, "w0.bias": np.full(8, 1e-6, "f4")}
    assert found(old, {**WIDE, "w0.bias": np.full(8, 0.01, "f4")}) == {}


def test_an_explosion_has_its_figures() -> None:
    new = {**WIDE, "w2.weight": WIDE["w2.weight"] * np.float32(20)}
    each = found(WIDE, new)["explosion", "w2.weight"]
    assert each.severity == "warning" and "(20 x)" in each.text
    new["w2.weight"] = WIDE["w2.weight"].copy()
    new["w2.weight"][0, 0] = 5000
    assert found(WIDE, new)["explosion", "w2.weight"].severity == "critical"


def test_a_tensor_that_hardly_moved_while_its_kind_and_its_layer_did() -> None:
    still = {**SMALL, "layers.3.mlp.weight": base()["layers.3.mlp.weight"]}
    each = found(base(), still)["vanishing", "layers.3.mlp.weight"]
    assert "while 5 of its kind moved" in each.text and each.basis == "fact"
    frozen = {**SMALL, **{n: a for n, a in base().items() if "mlp.weight" in n and n[7] in "12345"}}
    assert not any(kind == "vanishing" for kind, _ in found(base(), frozen))  # most of a kind: that is a choice
    alone = {**SMALL, **{n: a for n, a in base().items() if n.startswith("layers.3.")}}
    assert not any(kind == "vanishing" for kind, _ in found(base(), alone))  # a whole layer is a line of its own


def checkpoints(folder: Path, dead: str = "") -> tuple[Path, Path]:
    """Two steps of Adam over six layers, of which one may get no gradient."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(*(torch.nn.Linear(6, 6, bias=False) for _ in range(6)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for name in ("a.pt", "b.pt"):
        optimizer.zero_grad()
        net(torch.randn(4, 6)).square().sum().backward()
        if dead:
            net.get_parameter(dead).grad = torch.zeros(6, 6)
        optimizer.step()
        torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, folder / name)
    return folder / "a.pt", folder / "b.pt"


def test_a_first_moment_of_zero_is_a_gradient_that_vanished(tmp_path: Path) -> None:
    each = found(*checkpoints(tmp_path, "2.weight"))["vanishing", "2.weight"]
    assert (each.basis == "estimate" and "first moment" in each.text) or "hardly moved" in each.text
    (said,) = diffai.compare(*checkpoints(tmp_path, "2.weight"), analyses=["anomaly_detection"]).findings
    assert said.severity == "warning" and said.fields["layers"] == ("2.weight",)
    assert found(*checkpoints(tmp_path)) == {}


def test_dead_rows_are_looked_for_when_asked() -> None:
    new = {name: array.copy() for name, array in SMALL.items()}
    new["layers.1.mlp.weight"][[2, 5]] = 0
    (said,) = diffai.compare(base(), new, analyses=["anomaly_detection"]).findings
    rows = {(row["type"], row["tensor"]): row["text"] for row in said.fields["anomalies"]}  # type: ignore[union-attr,index]
    assert rows["dead units", "layers.1.mlp.weight"] == "2 of 32 rows are all zero, and were not before"
    assert found(base(), new) == {}


def test_rows_that_were_dead_before_are_none() -> None:
    old: Arrays = {name: array.copy() for name, array in base().items()}
    new = {name: array.copy() for name, array in SMALL.items()}
    old["layers.1.mlp.weight"][2] = new["layers.1.mlp.weight"][2] = 0
    (said,) = diffai.compare(old, new, analyses=["anomaly_detection"]).findings
    assert said.fields["anomalies"] == ()


def test_values_that_were_not_compared_are_not_found_sound() -> None:
    diff = diffai.compare(base(), SMALL, CompareOptions(shape_only=True), analyses=["anomaly_detection"])
    assert diff.findings[0].status == "not computed"


def test_a_shift_is_large_beside_the_tensor_itself_too() -> None:
    rng = np.random.default_rng(5)
    norm = {"norm.weight": rng.normal(1.01, 0.005, 256).astype("f4")}
    far = {"norm.weight": norm["norm.weight"] + np.float32(0.02)}
    wide = {"norm.weight": ((norm["norm.weight"] - 1.01) * 5 + 1.01).astype("f4")}
    assert not found(norm, far) and not found(norm, wide)
    assert ("distribution shift", "norm.weight") in found(norm, far, least=0.01)
    assert ("distribution shift", "norm.weight") in found(norm, {"norm.weight": norm["norm.weight"] + np.float32(0.2)})
