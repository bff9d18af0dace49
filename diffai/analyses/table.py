"""The table of analyses: one row each, whose module is loaded when it is used."""

from __future__ import annotations

from diffai.analyses.row import (
    ADDITIONAL,
    ADVANCED,
    ARCHITECTURE,
    EXPERIMENT,
    GROUPS,
    LEARNING,
    MLOPS,
    Analysis,
    Key,
    record_of,
)
from diffai.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffai.comparison.result import ModelDiff
    from diffai.finding import Finding

__all__ = ["ANALYSES", "EXPERIMENT", "GROUPS", "Analysis", "Key", "find", "nearest", "record_of", "row_of"]

RUN_FILES = (
    "trainer_state.json", "metrics.json", "all_results.json", "eval_results.json", "train_results.json",
    "results.json", "training_args.json", "hparams.json", "hparams.yaml", "params.yaml", "config.json",
    "adapter_config.json",
)  # fmt: skip
"""Files beside a model that say how its training went; see :mod:`diffai.analyses.training_files`."""

ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        "change_kind", "change_kind", group=ADDITIONAL,
        help="The kind of the change in words; with --base, whether it lies between old and base.",
    ),
    Analysis("look_first", "look_first"),
    Analysis("non_finite", "nonfinite"),
    Analysis("update_size", "update"),
    Analysis("structure", "structure"),
    Analysis("cast", "casts"),
    Analysis("training_state", "training"),
    Analysis("rename", "renames"),
    Analysis("quantized_pair", "quantized_pairs"),
    Analysis(
        "learning_progress", "learning", needs=("diff", "norms", "training", "siblings"), group=LEARNING,
        siblings=RUN_FILES,
        help="Size of the step, share of elements that moved, and the trend of the recorded metric.",
        keys=(
            Key("metric", "", "the recorded metric that decides; none: the first, validation before training", "text"),
            Key("stable", 0.01, "relative change of the metric up to which it is stable", looser="higher"),
        ),
    ),
    Analysis(
        "convergence_analysis", "convergence", needs=("diff", "norms", "training", "siblings"), group=LEARNING,
        siblings=RUN_FILES, help="Converged, stable or diverging, and how evenly the tensors moved.",
    ),
    Analysis(
        "anomaly_detection", "anomalies", needs=("diff", "training"), group=LEARNING,
        help="Values that are not finite, explosions, vanished gradients, jumps of distributions, dead units.",
        keys=(
            Key("shift", 1.0, "move of a mean from which on it is one, in old standard deviations", looser="higher"),
            Key("spread", 3.0, "ratio of two standard deviations from which on it is one", looser="higher"),
            Key("least", 0.1, "share of the old root mean square that either must move by, too", looser="higher"),
        ),
    ),
    Analysis(
        "gradient_analysis", "gradients", needs=("diff", "training"), group=LEARNING,
        help="Norms of gradients by tensor, from the optimizer's first moment where it is kept.",
    ),
    Analysis(
        "memory_analysis", "memory", group=ARCHITECTURE,
        help="Bytes of weights by dtype, and estimates of what inference and training take.",
        keys=(
            Key("inference_factor", 1.2, "memory of inference over bytes of weights"),
            Key("training_bytes", 16.0, "bytes a trainable parameter takes in training with mixed-precision Adam"),
        ),
    ),
    Analysis(
        "deployment_readiness", "diffai.policy.readiness", needs=("diff", "siblings"), group=MLOPS,
        siblings=("config.json",),
        help="A checklist: finite, safe, valid, the same interface, size, metadata; ready, or what blocks.",
        keys=(
            Key("max_bytes", 0, "size of the file that is allowed, in bytes; 0 = any", "count", "higher"),
            Key("interface", True, "whether another interface blocks", "flag"),
        ),
    ),
    Analysis(
        "regression_test", "diffai.policy.regression", needs=("diff", "training", "siblings"), group=MLOPS,
        siblings=RUN_FILES, help="Passed or failed by the rules of the gate and by the recorded metrics.",
        keys=(Key("max_drop", 0.01, "share of its old value by which a metric may become worse", looser="higher"),),
    ),
    Analysis(
        "risk_assessment", "diffai.policy.risk", needs=("diff", "training", "siblings"), group=MLOPS,
        siblings=RUN_FILES, help="High, medium or low, with the evidence that decided.",
        keys=(Key("max_drop", 0.01, "share of its old value by which a metric may become worse", looser="higher"),),
    ),
    Analysis(
        "hyperparameter_impact", "hyperparameters", needs=("diff", "training", "siblings"), group=MLOPS,
        siblings=RUN_FILES, help="Recorded hyper-parameters that differ, beside the update of each parameter group.",
    ),
    Analysis(
        "learning_rate_analysis", "learning_rates", needs=("diff", "training", "siblings"), group=MLOPS,
        siblings=RUN_FILES, help="Recorded learning rates, the place in their schedule, Adam's effective step.",
    ),
    Analysis(
        "alert_on_degradation", "diffai.policy.degradation", needs=("diff", "training", "siblings"), group=MLOPS,
        siblings=RUN_FILES, help="Fires on a worse recorded metric, new NaN or Inf, or readiness that was lost.",
        keys=(Key("max_drop", 0.01, "share of its old value by which a metric may become worse", looser="higher"),),
    ),
    Analysis(
        "metric_comparison", "metrics", needs=("training", "siblings"), group=ADDITIONAL, siblings=RUN_FILES,
        help="Recorded metrics of both sides: old, new, change, better or worse.",
    ),
    Analysis(
        "architecture_comparison", "architecture", automatic=False, needs=("diff", "siblings"), group=ARCHITECTURE,
        help="What kind of network each side is, with the evidence; layers, parameters by module, what differs.",
        siblings=("config.json",),
    ),
    Analysis(
        "inference_speed_estimate", "compute", automatic=False, needs=("diff", "siblings"), group=ARCHITECTURE,
        help="FLOPs a token or position and their ratio; times where the machine is given.",
        keys=(
            Key("tflops", 0.0, "arithmetic that the machine sustains, in 10^12 FLOP/s; 0 = not given"),
            Key("gb_per_s", 0.0, "bandwidth of its memory, in 10^9 bytes/s; 0 = not given"),
        ),
        siblings=("config.json",),
    ),
    Analysis(
        "performance_impact_estimate", "impact", needs=("diff", "siblings"), group=MLOPS,
        help="Ratios of parameters, bytes, FLOPs, memory and time.",
        keys=(Key("notice", 1.5, "ratio above which it is a notice", looser="higher"),),
        siblings=("config.json",),
    ),
    Analysis(
        "change_summary", "summary", group=ADDITIONAL,
        help="Where the update is: by module and kind of layer, top ten, how few tensors carry most of it.",
        keys=(
            Key("share", 0.8, "share of the squared update for which the fewest tensors are counted"),
            Key("top", 10, "tensors that are named", kind="count"),
        ),
    ),
    Analysis(
        "size_reduction", "size_reduction", automatic=False, flag="--show-size-reduction", group=ADDITIONAL,
        help="Bytes on disk and in memory, by dtype and module, of both sides.",
    ),
    Analysis(
        "review_friendly", "review", automatic=False, group=EXPERIMENT,
        help="What a reviewer should look at first, by severity, in plain sentences.",
    ),
    Analysis(
        "param_efficiency_analysis", "param_efficiency", automatic=False, needs=("second pass",), group=ARCHITECTURE,
        help="Share of parameters that are not zero, parameters per MB, stable rank of the matrices.",
        keys=(Key("products", 30, "multiplications a side that are spent on singular values, in billions", "count"),),
    ),
    Analysis(
        "embedding_analysis", "embedding_analysis", automatic=False, needs=("second pass", "siblings"), group=ADVANCED,
        help="How far rows of embeddings turned, and whether they kept their neighbours.",
        keys=(
            Key("neighbours", 10, "nearest rows that are looked at", "count"),
            Key("sample", 2048, "rows among which neighbours are looked for", "count"),
        ),
        siblings=("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model"),
    ),
    Analysis(
        "similarity_matrix", "similarity_matrix", automatic=False, needs=("second pass",), group=ADVANCED,
        help="Linear CKA of every layer of one side with every one of the other.",
        keys=(Key("layers", 64, "layers of either side that are looked at", "count"),),
    ),
    Analysis(
        "clustering_change", "clustering_change", automatic=False, needs=("second pass",), group=ADVANCED,
        help="Whether rows of embeddings fall into the same clusters (adjusted Rand index).",
        keys=(
            Key("sample", 4096, "rows that are clustered", "count"),
            Key("choice_sample", 512, "rows on which the number of clusters is chosen", "count"),
            Key("most_clusters", 10, "greatest number of clusters that is tried", "count"),
            Key("clear_silhouette", 0.1, "silhouette from which on clusters are called clear"),
            Key("changed_below", 0.9, "adjusted Rand index below which clear clusters have changed", looser="lower"),
        ),
    ),
    Analysis(
        "attention_analysis", "attention_analysis", automatic=False, needs=("second pass", "siblings"), group=ADVANCED,
        help="Norms of queries, keys, values and outputs by layer and head, and how far each moved.",
        siblings=("config.json",),
    ),
    Analysis(
        "head_importance", "head_importance", automatic=False, needs=("second pass", "siblings"), group=ADVANCED,
        help="Heads by the norm of what they can write (OV circuit), and how their order changed.",
        siblings=("config.json",),
    ),
    Analysis(
        "attention_pattern_diff", "attention_pattern_diff", automatic=False, needs=("second pass", "siblings"),
        group=ADVANCED, help="Cosine of the QK circuits of each head: whether it attends to something else.",
        siblings=("config.json",),
    ),
    Analysis(
        "low_rank", "low_rank", automatic=False, needs=("second pass",), group=ADVANCED,
        help="Updates of low rank (a merged LoRA), told from noise, and intruder dimensions.",
        keys=(
            Key("matrices", 256, "matrices that are looked at, those first that moved most", "count"),
            Key("intruder_directions", 10, "first singular vectors of the new side that are looked at", "count"),
            Key("intruder_cosine", 0.5, "cosine with a singular vector of the old side that makes it no intruder"),
        ),
    ),
    Analysis(
        "transfer_learning", "transfer_learning", group=ADVANCED,
        help="Share of the parameters that stayed as they were, by depth.",
    ),
    Analysis(
        "tied_weights", "tied_weights", automatic=False, needs=("second pass", "siblings"), group=ADVANCED,
        help="Weights stored once under two names, or twice with equal values.", siblings=("config.json",),
    ),
    Analysis(
        "bit_distance", "bit_distance", automatic=False, needs=("second pass",), group=ADVANCED,
        help="Share of the stored bits that differ.",
    ),
    Analysis(
        "quantization_analysis", "quantization_analysis", automatic=False, needs=("second pass",), group=ADDITIONAL,
        help="What storing weights in fewer bits saved and cost, also between a model and its quantized sibling.",
        keys=(Key("low_sqnr_db", 10.0, "signal to noise in dB below which a tensor is a warning", looser="lower"),),
    ),
    Analysis(
        "show_distribution", "show_distribution", automatic=False, needs=("second pass",), group=ADDITIONAL,
        help="Histograms of tensors that moved; Kolmogorov-Smirnov, PSI, Jensen-Shannon.",
        keys=(
            Key("bins", 32, "bars of a histogram", "count"),
            Key("tensors", 1000, "tensors that are looked at, those first that moved most", "count"),
            Key("shifted_ks", 0.1, "statistic of Kolmogorov and Smirnov from which on a tensor is called shifted"),
        ),
    ),
)  # fmt: skip


def row_of(name: str) -> Analysis:
    """The row of this name; dashes are as good as underscores.

    Raises:
        UsageError: there is no such analysis; the text names the nearest.
    """
    wanted = name.replace("-", "_")
    for row in ANALYSES:
        if row.name == wanted:
            return row
    raise UsageError(f"there is no analysis {name!r}{nearest(wanted, [row.name for row in ANALYSES])}")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the end of an error: the known word that was probably meant, or all of them."""
    import difflib

    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def find(diff: ModelDiff, names: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Findings in the order of the table: of the analyses of these names, or of all automatic ones.

    What was found while the checkpoints were open (``diff.findings``) stands for itself.

    Raises:
        UsageError: there is no such analysis.
    """
    wanted = {row_of(name).name for name in names}
    known = {found.name: found for found in diff.findings}
    every = []
    for row in ANALYSES:
        if row.name in known:
            every += [known[row.name]] if not wanted or row.name in wanted else []
        elif row.name in wanted if wanted else row.automatic and not diff.analysed:
            found = row.find(diff)
            every += [found] if found is not None else []
    return tuple(every)
