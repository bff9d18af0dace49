"""Which way a recorded metric is better, by its name: the one table that every comparison of metrics uses.

A name is taken apart into words (``eval/macro_f1``, ``valAcc``, ``test.top1-acc``, ``ndcg@10``). A name that no word of
the table is in, or words of both directions, has no known direction, and that is said rather than guessed.
"""

from __future__ import annotations

import math
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Direction = Literal["lower", "higher", ""]
    Verdict = Literal["better", "worse", "equal", "unknown"]
else:
    Direction = Verdict = str

_LOWER_WORDS = """
loss error err errors perplexity ppl mae mse rmse mape smape msle rmsle medae wer cer mer nll bce logloss fid kid
lpips latency fpr fnr eer fdr brier ece mce deviance regret bpb bpc bits_per_byte bits_per_character
cross_entropy crossentropy edit_distance false_positive_rate false_negative_rate hinge hausdorff hd95
kl_divergence log_loss pinball
"""
_HIGHER_WORDS = """
accuracy acc f1 f2 f05 fbeta fscore auc auroc auprc auprg aupr ap map map50 map75 precision recall bleu sacrebleu
rouge rouge1 rouge2 rougel rougelsum meteor chrf r2 ndcg mrr iou miou dice jaccard psnr ssim kappa
mcc matthews spearman spearmanr pearson pearsonr kendall exact_match em win_rate hit_rate hits hit
specificity sensitivity tpr tnr reward throughput silhouette ari nmi ami v_measure homogeneity completeness
explained_variance bertscore comet top1 top3 top5 top10 gini samples_per_second steps_per_second
tokens_per_second pass sqnr snr sdr sisdr pesq stoi likelihood log_likelihood correlation
"""
_LOWER = frozenset(_LOWER_WORDS.split())
_HIGHER = frozenset(_HIGHER_WORDS.split())
_WORD = re.compile(r"[^0-9A-Za-z]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 200
_LONGEST_PHRASE = 3


def direction(name: str) -> Direction:
    """Whether a metric is better when it is lower or higher; "" where its name does not say.

    >>> direction("eval_loss"), direction("val/macro-F1"), direction("neg_mean_squared_error"), direction("epoch")
    ('lower', 'higher', 'higher', '')
    """
    words = _words(name[-_LONGEST:])
    phrases = {
        "_".join(words[start : start + length])
        for length in range(1, _LONGEST_PHRASE + 1)
        for start in range(len(words) - length + 1)
    }
    lower, higher = not _LOWER.isdisjoint(phrases), not _HIGHER.isdisjoint(phrases)
    if lower == higher:
        return ""
    if "neg" in words:  # as scikit-learn calls what it turns round: neg_mean_squared_error
        lower = not lower
    return "lower" if lower else "higher"


def better(name: str, old: float, new: float) -> Verdict:
    """What became of a metric, judged by the direction of its name; NaN is worse than a number.

    >>> better("accuracy", 0.91, 0.9), better("loss", 0.3, 0.2), better("score", 1.0, 2.0)
    ('worse', 'better', 'unknown')
    """
    if old == new or (math.isnan(old) and math.isnan(new)):
        return "equal"
    way = direction(name)
    if not way:
        return "unknown"
    if math.isnan(old) or math.isnan(new):
        return "worse" if math.isnan(new) else "better"
    return "better" if (new < old) == (way == "lower") else "worse"


def _words(name: str) -> list[str]:
    """Words in lower case; one in mixed case stays whole where the table has it so (``rougeL``, ``mAP``)."""
    found: list[str] = []
    for word in _WORD.split(name):
        low = word.lower()
        if low in _LOWER or low in _HIGHER:
            found.append(low)
        elif word:
            found += [part.lower() for part in _CAMEL.split(word)]
    return found
