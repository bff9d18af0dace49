"""Models that were truly trained: what is said of a full training, of a head alone, of an adapter that was merged."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from trained_models import RANK, resnets, transformers

import diffai
from diffai.finding import Finding


def found(name: str, old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=[name]).findings
    return finding


@pytest.mark.parametrize("dtype", ["f4", "f2", ml_dtypes.bfloat16])
def test_an_adapter_that_was_trained_and_merged_has_its_rank(dtype: object) -> None:
    old, new = ({name: array.astype(dtype) for name, array in transformers()[k].items()} for k in ("base", "LoRA"))
    finding = found("low_rank", old, new)
    rows = finding.fields["updates"]
    assert finding.fields["low_rank"] == len(rows) == 4
    assert finding.fields["rank_max"] == RANK
    if dtype == "f4":  # a weak direction can be lost in the rounding of fewer bits
        assert {row["rank"] for row in rows} == {RANK}


@pytest.mark.parametrize(("models", "matrices"), [(transformers, 10), (resnets, 6)])
def test_a_full_training_is_no_low_rank(models: object, matrices: int) -> None:
    trained = models()
    finding = found("low_rank", trained["base"], trained["full"])
    assert (finding.fields["low_rank"], finding.fields["matrices"]) == (0, matrices)


def test_the_parts_that_were_frozen_are_told() -> None:
    base, head = transformers()["base"], transformers()["head"]
    finding = found("transfer_learning", base, head)
    kept = sum(array.size for name, array in base.items() if not name.startswith("head"))
    assert finding.fields["frozen"] == kept
    assert [row["frozen_share"] for row in finding.fields["by_depth"]] == [1.0, 1.0]
    assert finding.text.endswith("moved: head")
    assert found("transfer_learning", resnets()["base"], resnets()["new head"]).text == "all parameters frozen; new: fc"


def test_training_on_keeps_layers_like_themselves_and_neighbours_near() -> None:
    base, full = transformers()["base"], transformers()["full"]
    similarity = found("similarity_matrix", base, full)
    assert similarity.fields["least_cka"] > 0.9 and similarity.fields["like_others"] == ()
    embedding = found("embedding_analysis", base, full).fields["embeddings"][0]
    assert 0 < embedding["drift_mean"] < 0.01 and embedding["neighbours_kept"] > 0.9
    assert found("clustering_change", base, full).severity == "info"


def test_the_noise_of_half_precision_is_that_of_its_bits() -> None:
    old = transformers()["base"]
    finding = found("quantization_analysis", old, {name: array.astype("f2") for name, array in old.items()})
    assert 65 < finding.fields["worst_sqnr_db"] <= finding.fields["sqnr_db"] < 80
    assert finding.fields["compression"] == 2


def test_buffers_take_no_part_in_parameters() -> None:
    base, full = resnets()["base"], resnets()["full"]
    finding = found("param_efficiency_analysis", base, full)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    expected = sum(array.size for name, array in base.items() if not name.endswith(buffers))
    assert finding.fields["new"]["parameters"] == expected
