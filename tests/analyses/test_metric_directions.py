from __future__ import annotations

import math

import pytest

from diffai.analyses.metric_directions import better, direction


@pytest.mark.parametrize(
    "name",
    ["loss", "eval_loss", "val/loss", "train.nll", "perplexity", "test_MAE", "rmse", "mean_squared_error", "wer",
     "cross_entropy", "crossEntropy", "bits_per_byte", "valLoss", "metrics.eval.cer", "false_positive_rate", "error@1"],
)  # fmt: skip
def test_errors_and_losses_are_better_lower(name: str) -> None:
    assert direction(name) == "lower"


@pytest.mark.parametrize(
    "name",
    ["accuracy", "val_acc", "macro avg.f1-score", "AUC", "roc_auc", "bleu", "rougeL", "mAP", "r2", "ndcg@10", "top1-acc",
     "valAcc", "neg_mean_squared_error", "exact_match", "pass@1", "eval_samples_per_second", "test/mAP50"],
)  # fmt: skip
def test_scores_are_better_higher(name: str) -> None:
    assert direction(name) == "higher"


@pytest.mark.parametrize("name", ["", "epoch", "lr", "score", "accuracy_loss", "lossy_compression", "step", "lossless"])
def test_of_other_names_nothing_is_claimed(name: str) -> None:
    assert direction(name) == ""


def test_a_metric_is_judged_by_its_direction() -> None:
    assert better("loss", 1.0, 0.5) == "better"
    assert better("accuracy", 1.0, 0.5) == "worse"
    assert better("score", 1.0, 0.5) == "unknown"
    assert better("score", 1.0, 1.0) == "equal"


def test_nan_is_worse_than_a_number_in_either_direction() -> None:
    for name in ("loss", "accuracy"):
        assert better(name, 0.5, math.nan) == "worse"
        assert better(name, math.nan, 0.5) == "better"
        assert better(name, math.nan, math.nan) == "equal"
