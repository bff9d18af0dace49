"""What is recorded of a training: out of checkpoints that torch and its trainers really write, and files beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import diffai
from diffai.analyses import gradients, slots
from diffai.analyses.table import RUN_FILES
from diffai.analyses.training_files import FILES, LARGEST, parse
from diffai.analyses.training_run import is_best, run_of, split_of
from diffai.comparison.result import ModelDiff

OPTIMIZERS: dict[str, Any] = {
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=1e-3),
}


class Net(torch.nn.Module):
    """Two layers of one shape, so that shapes alone do not tell their slots apart, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(6, 6)
        self.body = torch.nn.Linear(6, 6)
        self.norm = torch.nn.LayerNorm(6)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.norm(self.body(self.stem(x).relu())))
        return found


def step(net: Net, optimizer: Any, times: int = 1) -> None:
    for seed in range(times):
        optimizer.zero_grad()
        net(torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
        optimizer.step()


def pair(folder: Path, make: Any, groups: Any = None) -> tuple[ModelDiff, Net, Any]:
    """Two checkpoints of one training, five steps apart; the comparison, and the net and optimizer at its end."""
    torch.manual_seed(0)
    net = Net()
    optimizer = make(groups(net) if groups else net.parameters())
    for name, count in (("a.pt", 2), ("b.pt", 5)):
        step(net, optimizer, count)
        state = {"epoch": count, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, folder / name)
    return diffai.compare(folder / "a.pt", folder / "b.pt"), net, optimizer


def owner(net: Net, optimizer: Any, number: int) -> str:
    """The name of the parameter that torch gives a number."""
    every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return next(name for name, parameter in net.named_parameters() if parameter is every[number])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_slots_are_those_of_the_parameters_that_torch_means(kind: str, tmp_path: Path) -> None:
    diff, net, optimizer = pair(tmp_path, OPTIMIZERS[kind])
    found = slots.slots(diff, "new")
    mapped = [slot for slot in found.slots if slot.parameter]
    assert mapped and not found.reason
    assert all(slot.parameter == owner(net, optimizer, slot.number) for slot in mapped)


def by_decay(net: Net) -> list[dict[str, Any]]:
    """The usual two groups: matrices with weight decay, biases and norms without."""
    named = list(net.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for _, p in named if p.ndim == 1], "weight_decay": 0.0, "lr": 2e-3},
    ]


def without_stem(net: Net) -> list[dict[str, Any]]:
    return [{"params": [p for name, p in net.named_parameters() if not name.startswith("stem")]}]


@pytest.mark.parametrize("groups", [by_decay, without_stem])
def test_slots_of_groups_are_mapped_within_them(groups: Any, tmp_path: Path) -> None:
    diff, net, optimizer = pair(tmp_path, OPTIMIZERS["AdamW"], groups)
    found = slots.slots(diff, "new").of("exp_avg")
    assert found and all(slot.parameter == owner(net, optimizer, slot.number) for slot in found)


def test_slots_that_fit_in_no_order_are_not_mapped(tmp_path: Path) -> None:
    def shuffled(net: Net) -> list[torch.nn.Parameter]:
        return [*net.head.parameters(), *net.norm.parameters(), *net.body.parameters(), *net.stem.parameters()]

    diff, _, _ = pair(tmp_path, OPTIMIZERS["Adam"], shuffled)
    found = slots.slots(diff, "new")
    assert found.reason == "slots and parameters do not fit by order and shape"
    assert not any(slot.parameter for slot in found.slots)


def test_gradients_are_the_first_moments_and_say_so(tmp_path: Path) -> None:
    diff, net, optimizer = pair(tmp_path, OPTIMIZERS["Adam"])
    found = gradients.gradients(diff, "new")
    assert found is not None and found.source == "first moment" and found.estimate
    moments = {name: optimizer.state[parameter]["exp_avg"] for name, parameter in net.named_parameters()}
    assert {layer.name: pytest.approx(float(moments[layer.name].norm()), rel=1e-5) for layer in found.layers} == {
        layer.name: layer.norm for layer in found.layers
    }
    assert found.first_to_last == pytest.approx(
        float(moments["stem.weight"].norm() / moments["head.bias"].norm()), rel=1e-5
    )


def test_the_effective_step_is_what_adam_does_next(tmp_path: Path) -> None:
    """A step with a gradient of zero moves a parameter by nearly the effective step: beta1 of the first moment is left."""
    diff, net, optimizer = pair(tmp_path, lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.9999, 0.999999)))
    asked = diffai.compare(tmp_path / "a.pt", tmp_path / "b.pt", analyses=["learning_rate_analysis"]).findings[0]
    steps = {row["name"]: row["effective_step"] for row in asked.fields["effective_steps"]}  # type: ignore[union-attr,index]
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        moved = float((parameter.detach() - before[name]).abs().mean())
        assert steps[name] == pytest.approx(moved, rel=0.15), name
    assert asked.basis == "estimate" and diff.new.training


@pytest.mark.parametrize(("kind", "family"), [("Adam", "Adam"), ("AdamW", "AdamW"), ("SGD", "SGD"), ("fused", "AdamW"),
                                             ("Adafactor", "Adafactor")])  # fmt: skip
def test_learning_rates_and_optimizer_are_read_from_its_groups(kind: str, family: str, tmp_path: Path) -> None:
    diff, _, _ = pair(tmp_path, OPTIMIZERS[kind], by_decay)
    run = run_of(diff.new)
    assert run.learning_rates == (1e-3, 2e-3) and run.optimizer == family and run.epoch == 5
    assert run.step == (None if kind == "SGD" else 7)


def test_what_is_recorded_of_both_sides_is_kept_though_it_is_equal(tmp_path: Path) -> None:
    torch.save({"state_dict": Net().state_dict(), "val_loss": 0.5, "loss": torch.tensor(0.25), "lr": 0.1},
               tmp_path / "a.pt")  # fmt: skip
    diff = diffai.compare(tmp_path / "a.pt", tmp_path / "a.pt")
    assert run_of(diff.old) == run_of(diff.new)
    assert run_of(diff.new).metrics == {"val_loss": 0.5, "loss": 0.25}
    assert run_of(diff.new).learning_rates == (0.1,)


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    """Keys as lightning 2.x writes them: the callback keeps the score of what it monitors as a tensor."""
    net, callback = Net(), "ModelCheckpoint{'monitor': 'val_acc', 'mode': 'max'}"
    optimizer = OPTIMIZERS["Adam"](net.parameters())
    step(net, optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    torch.save({
        "epoch": 3, "global_step": 400, "pytorch-lightning_version": "2.5.0", "state_dict": net.state_dict(),
        "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 4, "loss": 7}}}},
        "callbacks": {callback: {"monitor": "val_acc", "best_model_score": torch.tensor(0.75),
                                 "current_score": torch.tensor(0.5), "best_model_path": "/x"}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [scheduler.state_dict()],
        "hparams_name": "kwargs", "hyper_parameters": {"dropout": 0.1, "hidden": 6},
    }, tmp_path / "a.ckpt")  # fmt: skip
    run = run_of(diffai.compare(tmp_path / "a.ckpt", tmp_path / "a.ckpt").new)
    assert run.metrics == {"val_acc": 0.5, "best val_acc": 0.75}
    assert (run.epoch, run.step, run.learning_rates) == (3, 400, (1e-3,))
    assert run.hyperparameters == {"dropout": 0.1, "hidden": 6}
    assert run.scheduler["last_epoch"] == 0 and run.scheduler["step_size"] == 10


STATE = {
    "best_metric": 0.2, "epoch": 2.0, "global_step": 200, "max_steps": 300,
    "log_history": [
        {"epoch": 1.0, "loss": 0.9, "learning_rate": 5e-05, "grad_norm": 1.5, "step": 100},
        {"epoch": 1.0, "eval_loss": 0.4, "eval_accuracy": 0.8, "step": 100},
        {"epoch": 2.0, "loss": float("nan"), "learning_rate": 3e-05, "step": 200},
        {"epoch": 2.0, "eval_loss": 0.3, "eval_accuracy": 0.85, "step": 200},
    ],
}  # fmt: skip


def beside(folder: Path, files: dict[str, Any], seed: int = 0) -> Path:
    folder.mkdir()
    save_file({"w": np.random.default_rng(seed).normal(size=(4, 4)).astype("f4")}, folder / "model.safetensors")
    for name, value in files.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder / "model.safetensors"


def test_the_trainer_of_hugging_face_keeps_its_log_beside_the_model(tmp_path: Path) -> None:
    later = {**STATE, "global_step": 300, "log_history": [*STATE["log_history"], {"eval_loss": 0.35, "step": 300}]}  # type: ignore[misc]
    old = beside(tmp_path / "a", {"trainer_state.json": STATE})
    new = beside(tmp_path / "b", {"trainer_state.json": later}, seed=1)
    names = ["learning_progress", "metric_comparison", "learning_rate_analysis", "alert_on_degradation"]
    found = {each.name: each for each in diffai.compare(old, new, analyses=names).findings}
    assert found["learning_progress"].fields["trend"] == "degrading"
    assert found["learning_progress"].fields["metric"] == "eval_loss"
    rows = {row["name"]: row for row in found["metric_comparison"].fields["metrics"]}  # type: ignore[union-attr,index]
    assert rows["eval_loss"]["old"] == 0.3 and rows["eval_loss"]["new"] == 0.35
    assert rows["eval_accuracy"]["verdict"] == "equal" and math.isnan(rows["loss"]["old"])  # type: ignore[arg-type]
    assert found["learning_rate_analysis"].fields["step_new"] == 300
    assert found["learning_rate_analysis"].text == "3e-05 -> 3e-05"
    assert found["alert_on_degradation"].severity == "critical"


def test_files_beside_a_model_are_looked_at_only_when_asked(tmp_path: Path) -> None:
    old = beside(tmp_path / "a", {"metrics.json": {"loss": 1.0}})
    new = beside(tmp_path / "b", {"metrics.json": {"loss": 2.0}}, seed=1)
    diff = diffai.compare(old, new)
    assert run_of(diff.old).metrics == {} and diff.findings == ()


@pytest.mark.parametrize(
    ("files", "metrics"),
    [
        ({"metrics.json": {"val": {"acc": 0.5}, "oomph": 3}}, {"val.acc": 0.5, "oomph": 3}),
        ({"eval_results.json": {"eval_f1": 0.25, "epoch": 3}}, {"eval_f1": 0.25}),
        ({"metrics.json": {"loss": 1}, "results.json": {"loss": 2}}, {"loss": 1}),
        ({"metrics.json": "{"}, {}),
        ({"metrics.json": "[1, 2]"}, {}),
        ({"metrics.json": '{"loss": "1' + "0" * 5000 + '"}'}, {"loss": math.inf}),
        ({"metrics.json": '{"a": ' * 5000 + "1" + "}" * 5000}, {}),
        ({"hparams.yaml": "lr: 0.1\nloss: focal\n"}, {}),
    ],
)
def test_other_files_of_metrics(files: dict[str, Any], metrics: dict[str, float], tmp_path: Path) -> None:
    told = {name: parse(name, (value if isinstance(value, str) else json.dumps(value)).encode())
            for name, value in files.items()}  # fmt: skip
    side = diffai.compare({"w": np.ones(2, "f4")}, {"w": np.ones(2, "f4")}).new
    run = run_of(side, {name: (each.values, each.series) for name, each in told.items() if each is not None})
    assert run.metrics == metrics


def test_a_configuration_is_hyper_parameters_and_no_metric() -> None:
    told = parse("hparams.yaml", b"lr: 0.1\nmodel:\n  dropout: 0.2\n")
    assert told is not None and dict(told.values) == {"config.lr": 0.1, "config.model.dropout": 0.2}
    assert parse("params.yaml", b"a: &x [1]\nb: *x\n") is None  # what may grow without bound is not read
    assert parse("params.yaml", b"a: [\n") is None


def test_the_files_that_rows_declare_are_those_that_are_understood() -> None:
    assert set(RUN_FILES) == set(FILES) and LARGEST > 1 << 20


@pytest.mark.parametrize(
    ("name", "split", "best"),
    [("val_loss", "validation", False), ("eval/acc", "validation", False), ("test.f1", "test", False),
     ("train_loss", "training", False), ("loss", "training", False), ("best_val_loss", "validation", True)],
)  # fmt: skip
def test_which_data_a_metric_is_of(name: str, split: str, best: bool) -> None:
    assert (split_of(name), is_best(name)) == (split, best)


def test_curves_are_kept_whole_and_their_last_number_is_the_latest(tmp_path: Path) -> None:
    curve = [1.0 / (n + 1) for n in range(500)]
    torch.save({"state_dict": Net().state_dict(), "history": {"val_loss": curve, "words": ["a"]}}, tmp_path / "a.pt")
    run = run_of(diffai.compare(tmp_path / "a.pt", tmp_path / "a.pt").new)
    assert run.series["history.val_loss"] == tuple(curve) and run.metrics == {"history.val_loss": curve[-1]}


def test_curves_beyond_the_cap_are_not_kept_but_still_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffai.formats.torch import flatten

    monkeypatch.setattr(flatten, "MAX_NUMBERS", 10)
    for name, last in (("a.pt", 1.0), ("b.pt", 2.0)):
        torch.save({"state_dict": {"w": torch.ones(2)}, "history": {"loss": [*[0.5] * 20, last]}}, tmp_path / name)
    diff = diffai.compare(tmp_path / "a.pt", tmp_path / "b.pt")
    assert diff.new.series == () and [value.key for value in diff.training] == ["history.loss"]


def test_parameters_of_a_booster_are_hyper_parameters_and_no_metrics(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows = np.random.default_rng(0).normal(size=(60, 4))
    for name, leaves in (("a.txt", 3), ("b.txt", 5)):
        data = lightgbm.Dataset(rows, rows[:, 0] > 0, free_raw_data=False)
        settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1}
        lightgbm.train(settings, data, num_boost_round=3).save_model(tmp_path / name)
    names = ["metric_comparison", "hyperparameter_impact", "regression_test"]
    found = {e.name: e for e in diffai.compare(tmp_path / "a.txt", tmp_path / "b.txt", analyses=names).findings}
    assert found["metric_comparison"].status == "nothing"
    rows_ = {row["name"]: row["new"] for row in found["hyperparameter_impact"].fields["hyperparameters"]}  # type: ignore[union-attr,index,misc]
    assert str(rows_["num_leaves"]) == "5"


ARGUMENTS = {
    "forest": ({"n_estimators": 5, "random_state": 0}, {"n_estimators": 7, "random_state": 1}),
    "line": ({"clf__C": 1.0, "clf__max_iter": 100}, {"clf__C": 3.0, "clf__max_iter": 50}),
}


@pytest.mark.parametrize("suffix", ["joblib", "pkl", "skops"])
@pytest.mark.parametrize("kind", ARGUMENTS)
def test_what_an_estimator_was_constructed_with_is_a_hyper_parameter(kind: str, suffix: str, tmp_path: Path) -> None:
    import pickle

    joblib, skops = pytest.importorskip("joblib"), pytest.importorskip("skops.io")
    ensemble, linear = pytest.importorskip("sklearn.ensemble"), pytest.importorskip("sklearn.linear_model")
    pipeline, scaling = pytest.importorskip("sklearn.pipeline"), pytest.importorskip("sklearn.preprocessing")
    rows = np.random.default_rng(0).normal(size=(40, 3))
    for name, arguments in zip("ab", ARGUMENTS[kind], strict=True):
        model = ensemble.RandomForestClassifier(max_depth=2) if kind == "forest" else pipeline.Pipeline(
            [("scale", scaling.StandardScaler()), ("clf", linear.LogisticRegression())]
        )  # fmt: skip
        model.set_params(**arguments).fit(rows, rows[:, 0] > 0)
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"hidden_size": 4}')
        if suffix == "skops":
            skops.dump(model, tmp_path / name / "m.skops")
        else:
            {"joblib": joblib, "pkl": pickle}[suffix].dump(model, (tmp_path / name / f"m.{suffix}").open("wb"))
    old, new = (tmp_path / name / f"m.{suffix}" for name in "ab")
    (found,) = diffai.compare(old, new, analyses=["hyperparameter_impact"]).findings
    rows_ = {row["name"]: (row["old"], row["new"]) for row in found.fields["hyperparameters"]}  # type: ignore[union-attr,index,misc]
    before, after = ARGUMENTS[kind]
    assert rows_ == {key.replace("__", "."): (before[key], after[key]) for key in before}


def test_parameters_of_catboost_are_hyper_parameters() -> None:
    folder = Path(__file__).parents[1] / "data" / "catboost"
    old, new = folder / "categorical.cbm", folder / "longer.cbm"
    (found,) = diffai.compare(old, new, analyses=["hyperparameter_impact"]).findings
    rows = {row["name"]: (row["old"], row["new"]) for row in found.fields["hyperparameters"]}  # type: ignore[union-attr,index,misc]
    assert rows["tree_learner_options.depth"] == (3, 2)


def test_what_was_fitted_and_a_dictionary_in_a_pickle_are_no_arguments(tmp_path: Path) -> None:
    import pickle

    values = {"accuracy": 0.5, "depth": 3, "est": {"n_estimators": 4, "n_features_in_": 2, "_sklearn_version": "1"}}
    for name in "ab":
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps({"w": np.ones(3), **values}))
    run = run_of(diffai.compare(tmp_path / "a.pkl", tmp_path / "b.pkl").new)
    assert (run.hyperparameters, run.metrics) == ({"est.n_estimators": 4}, {"accuracy": 0.5})


@pytest.mark.parametrize(("metadata", "metrics"), [
    ({"val_loss": "0.5", "format": "pt"}, {"val_loss": 0.5}), ({"error_score": "nan"}, {}),
    ({"eval.f1": "0.25"}, {"eval.f1": 0.25}), ({"clf.max_error": "3"}, {}),
])  # fmt: skip
def test_metadata_that_is_of_a_run(metadata: dict[str, str], metrics: dict[str, float], tmp_path: Path) -> None:
    save_file({"w": np.ones(2, "f4")}, tmp_path / "m.safetensors", metadata)
    side = diffai.compare(tmp_path / "m.safetensors", tmp_path / "m.safetensors").new
    assert run_of(side).metrics == metrics


def test_nothing_is_recorded_where_nothing_is() -> None:
    diff = diffai.compare({"w": np.ones(2, "f4")}, {"w": np.zeros(2, "f4")})
    run = run_of(diff.old)
    assert not run.metrics and run.learning_rates == () and run.sources == ()
