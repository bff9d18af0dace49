"""Low-rank adapters against the products that their factors make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffai import compare
from diffai.analyses.change_kind import change_kind
from diffai.comparison.adapters import scale_of
from diffai.comparison.result import ModelDiff, ProductChange
from diffai.views.lines import product_line

Array = np.ndarray[Any, Any]
MODULE = "base_model.model.layers.0.q_proj"


def adapter(folder: Path, tensors: dict[str, Array], **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "adapter_model.safetensors")
    if config:
        told = {"peft_type": "LORA", "base_model_name_or_path": "org/base", **config}
        (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def factors(seed: int, rank: int = 4, outputs: int = 50, inputs: int = 5000) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((rank, inputs)).astype(np.float32)
    return a, rng.standard_normal((outputs, rank)).astype(np.float32)


def pair(a: Array, b: Array, module: str = MODULE) -> dict[str, Array]:
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}


def only(diff: ModelDiff) -> ProductChange:
    (change,) = diff.products
    return change


@pytest.mark.parametrize(("ranks", "rslora"), [((4, 4), False), ((4, 8), False), ((4, 8), True)])
def test_figures_are_those_of_the_product_that_is_never_made(
    tmp_path: Path, ranks: tuple[int, int], rslora: bool
) -> None:
    (a0, b0), (a1, b1) = factors(1, ranks[0]), factors(2, ranks[1])
    old = adapter(tmp_path / "a", pair(a0, b0), r=ranks[0], lora_alpha=16, use_rslora=rslora)
    new = adapter(tmp_path / "b", pair(a1, b1), r=ranks[1], lora_alpha=32, use_rslora=rslora)
    change = only(compare(old, new))
    divisors = [np.sqrt(rank) if rslora else rank for rank in ranks]
    before = 16 / divisors[0] * b0.astype(np.float64) @ a0
    now = 32 / divisors[1] * b1.astype(np.float64) @ a1
    assert change.name == "layers.0.q_proj" and change.ranks == ranks
    assert change.old_l2 == pytest.approx(np.linalg.norm(before))
    assert change.new_l2 == pytest.approx(np.linalg.norm(now))
    assert change.relative_l2 == pytest.approx(np.linalg.norm(now - before) / np.linalg.norm(before))
    cosine = (before * now).sum() / np.linalg.norm(before) / np.linalg.norm(now)
    assert change.cosine == pytest.approx(cosine, abs=1e-9)


def test_factors_turned_by_an_invertible_matrix_are_the_same_adapter(tmp_path: Path) -> None:
    a, b = factors(1)
    turn = np.random.default_rng(3).standard_normal((4, 4))
    other = pair((turn @ a).astype(np.float32), (b @ np.linalg.inv(turn)).astype(np.float32))
    diff = compare(adapter(tmp_path / "a", pair(a, b), lora_alpha=8), adapter(tmp_path / "b", other, lora_alpha=8))
    change = only(diff)
    assert change.relative_l2 is not None and change.relative_l2 < 1e-5
    assert change.cosine == pytest.approx(1.0)
    assert all("changed" in factor.status for factor in diff.tensors), "the files differ, and that is said too"


def test_a_small_update_is_not_lost_among_the_digits_of_the_product(tmp_path: Path) -> None:
    a, b = (part.astype(np.float64) for part in factors(1))
    moved = b + 1e-9 * np.random.default_rng(5).standard_normal(b.shape)
    diff = compare(adapter(tmp_path / "a", pair(a, b), lora_alpha=8), adapter(tmp_path / "b", pair(a, moved), lora_alpha=8))
    expected = np.linalg.norm((moved - b) @ a) / np.linalg.norm(b @ a)
    assert only(diff).relative_l2 == pytest.approx(expected, rel=1e-6)


def test_a_fresh_adapter_has_a_zero_product_and_no_relative_size(tmp_path: Path) -> None:
    a, b = factors(1)
    old, new = adapter(tmp_path / "a", pair(a, 0 * b), lora_alpha=8), adapter(tmp_path / "b", pair(a, b), lora_alpha=8)
    change = only(compare(old, new))
    assert change.old_l2 == 0 and change.relative_l2 is None and change.cosine is None
    assert "was zero" in product_line(change)


def test_another_alpha_is_another_adapter_though_no_factor_changed(tmp_path: Path) -> None:
    a, b = factors(1)
    old, new = (adapter(tmp_path / str(alpha), pair(a, b), lora_alpha=alpha) for alpha in (8, 16))
    diff = compare(old, new)
    assert diff.differs and diff.equal is False
    assert only(diff).relative_l2 == pytest.approx(1.0) and only(diff).scales == (2, 4)
    assert [change.key for change in diff.metadata] == ["lora_alpha"]
    kind = change_kind(diff)
    assert kind is not None and kind.phrase == "adapter rescaled (1 product)"


def test_base_model_and_revision_are_shown_and_the_order_of_modules_means_nothing(tmp_path: Path) -> None:
    a, b = factors(1)
    old = adapter(tmp_path / "a", pair(a, b), lora_alpha=8, revision="v1", target_modules=["q", "v"])
    new = adapter(tmp_path / "b", pair(a, b), lora_alpha=8, revision="v2", target_modules=["v", "q"],
                  base_model_name_or_path="org/other")  # fmt: skip
    assert [change.key for change in compare(old, new).metadata] == ["base_model_name_or_path", "revision"]


def test_without_a_configuration_the_scale_is_said_to_be_unknown(tmp_path: Path) -> None:
    (a0, b0), (a1, b1) = factors(1), factors(2)
    change = only(compare(adapter(tmp_path / "a", pair(a0, b0)), adapter(tmp_path / "b", pair(a1, b1))))
    assert change.scales == (None, None)
    assert change.l2 == pytest.approx(np.linalg.norm(b1.astype(np.float64) @ a1 - b0.astype(np.float64) @ a0))
    assert "its scale is not known" in product_line(change)


def test_patterns_of_alpha_are_names_or_their_ends_and_nothing_else_is_followed() -> None:
    beside: dict[str, Any] = {"lora_alpha": 8, "alpha_pattern.q_proj": 32}
    assert scale_of(beside, "layers.0.q_proj", 4) == 8
    assert scale_of(beside, "layers.0.v_proj", 4) == 2
    assert scale_of(beside, "layers.0.xq_proj", 4) == 2
    assert scale_of({**beside, "alpha_pattern.(a+)+$": 1}, "layers.0.v_proj", 4) is None
    assert scale_of({}, "layers.0.v_proj", 4) is None


def test_convolutions_and_embeddings_are_products_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def some(seed: int) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {
            "conv.lora_A.weight": rng.standard_normal((2, 3, 3, 3)).astype(np.float32),
            "conv.lora_B.weight": rng.standard_normal((8, 2, 1, 1)).astype(np.float32),
            "wte.lora_embedding_A": rng.standard_normal((2, 100)).astype(np.float32),
            "wte.lora_embedding_B": rng.standard_normal((16, 2)).astype(np.float32),
            "modules_to_save.head.weight": rng.standard_normal((3, 3)).astype(np.float32),
        }

    old, new = some(int(rng.integers(9))), some(77)
    diff = compare(adapter(tmp_path / "a", old, lora_alpha=2), adapter(tmp_path / "b", new, lora_alpha=2))
    found = {change.name: change.l2 for change in diff.products}
    product = [
        t["conv.lora_B.weight"].reshape(8, 2).astype(np.float64) @ t["conv.lora_A.weight"].reshape(2, 27)
        for t in (old, new)
    ]
    assert found["conv"] == pytest.approx(np.linalg.norm(product[1] - product[0]))
    table = [t["wte.lora_embedding_B"].astype(np.float64) @ t["wte.lora_embedding_A"] for t in (old, new)]
    assert found["wte"] == pytest.approx(np.linalg.norm(table[1] - table[0]))
    assert "modules_to_save.head.weight" in {change.name for change in diff.changes}


def test_dora_without_its_base_is_left_to_its_factors(tmp_path: Path) -> None:
    (a0, b0), (a1, b1) = factors(1), factors(2)
    magnitude = {f"{MODULE}.lora_magnitude_vector": np.ones(50, np.float32)}
    old = adapter(tmp_path / "a", {**pair(a0, b0), **magnitude}, lora_alpha=8)
    new = adapter(tmp_path / "b", {**pair(a1, b1), **magnitude}, lora_alpha=8)
    diff = compare(old, new)
    assert diff.products == () and diff.totals.changed == 2


def test_a_factor_that_is_not_finite_has_no_figures(tmp_path: Path) -> None:
    (a0, b0), (a1, b1) = factors(1), factors(2)
    a1[0, 0] = np.nan
    change = only(compare(adapter(tmp_path / "a", pair(a0, b0)), adapter(tmp_path / "b", pair(a1, b1))))
    assert (change.l2, change.relative_l2, change.cosine) == (None, None, None)
    assert "not finite" in product_line(change)


def test_the_program_shows_products_and_factors_on_request(tmp_path: Path) -> None:
    import subprocess
    import sys

    import jsonschema

    (a0, b0), (a1, b1) = factors(1), factors(2, 8)
    old = adapter(tmp_path / "a", pair(a0, b0), lora_alpha=8)
    new = adapter(tmp_path / "b", pair(a1, b1), lora_alpha=8)

    same = adapter(tmp_path / "c", pair(*factors(3)), lora_alpha=8)

    def run(*words: str, new: Path = new) -> str:
        argv = [sys.executable, "-m", "diffai", str(old), str(new), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    text = run()
    assert "~ layers.0.q_proj: B·A·scale relative L2" in text and "rank 4 -> 8, scale 2 -> 1" in text
    assert "lora_A.weight: shape=[4, 5000] -> [8, 5000]" in text, "reshaped factors stay structural"
    report = json.loads(run("--format", "json"))
    import diffai.views as views

    schema = Path(views.__path__[0], "report.schema.json").read_text()
    jsonschema.validate(report, json.loads(schema))
    assert report["products"][0]["new_rank"] == 8
    assert report["kind"] == "model", "a folder with an adapter and its configuration is one model"
    assert "lora_A" not in run(new=same) and "~ layers.0.q_proj: B·A·scale" in run(new=same)
    assert "~ base_model.model.layers.0.q_proj.lora_A.weight: " in run("-v", new=same)
    for format_ in ("markdown", "table"):
        assert "rel L2 of B·A·scale" in run("--format", format_)
