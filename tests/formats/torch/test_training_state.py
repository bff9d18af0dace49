"""What is training state and what is a weight, decided by structure and whole keys, never by a part of a word."""

from __future__ import annotations

import io
from typing import Any

import pytest
from torch_files import opened

from diffai.formats.torch.training_state import is_progress_key, is_state_key

torch = pytest.importorskip("torch")


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def roles(value: object) -> dict[str, str]:
    return {name: spec.role for name, spec in opened(saved(value)).tensors.items()}


def weights() -> dict[str, Any]:
    return dict(torch.nn.Linear(4, 3).state_dict())


@pytest.mark.parametrize(
    "key",
    ["upsampler", "upsample", "downsample", "sampler", "example", "clamp", "geometric", "history_encoder", "stamp",
     "parametric", "rescaler", "eternal_rng_free", "schedule_net", "optimal_policy", "callbacks_net", "amplifier"],
)  # fmt: skip
def test_a_key_that_contains_a_word_of_training_is_a_module(key: str) -> None:
    found = roles({"encoder": weights(), key: weights()})
    assert found == dict.fromkeys(("encoder.weight", "encoder.bias", f"{key}.weight", f"{key}.bias"), "weight")
    assert sum(spec.elements for spec in opened(saved({key: weights()})).tensors.values() if spec.is_parameter) == 15


@pytest.mark.parametrize("key", ["amp", "metric", "history", "rng", "scaler", "callbacks", "optimizer", "loss"])
def test_a_weight_inside_outweighs_the_key(key: str) -> None:
    assert roles({"encoder": weights(), key: weights()})[f"{key}.weight"] == "weight"


@pytest.mark.parametrize(
    "key", ["optimizer_states", "lr_schedulers", "optimizer", "optimizer_state_dict", "optim_g", "grad_scaler", "rng_states"]
)
def test_whole_keys_are_training_state(key: str) -> None:
    found = roles({"model": weights(), key: {"a": torch.ones(2), "b": [torch.ones(3)]}})
    assert found == {"weight": "weight", "bias": "weight", f"{key}.a": "training", f"{key}.b.0": "training"}


def test_structure_proves_an_optimizer_under_any_key() -> None:
    net = torch.nn.Linear(3, 2)
    solver = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    solver.step()
    schedule = torch.optim.lr_scheduler.StepLR(solver, 2)
    checkpoint = opened(saved({"net": weights(), "thing": solver.state_dict(), "other": schedule.state_dict(),
                               "deep": {"inner": solver.state_dict()}}))  # fmt: skip
    assert {name for name, spec in checkpoint.tensors.items() if spec.role == "weight"} == {"net.weight", "net.bias"}
    assert checkpoint.training["thing.param_groups.0.lr"] == checkpoint.training["deep.inner.param_groups.0.lr"] == 0.001
    assert checkpoint.training["other.last_epoch"] == 0


def test_averaged_copies_are_weights() -> None:
    found = roles({"state_dict": weights(), "teacher": weights(), "callbacks": {"EMA": {"shadow": weights()},
                                                                                "best": torch.tensor(0.5)}})  # fmt: skip
    assert found["teacher.weight"] == found["callbacks.EMA.shadow.weight"] == "weight"
    assert found["callbacks.best"] == "training"


def test_states_of_generators_and_indices_are_no_parameters() -> None:
    value = {"w": torch.ones(2), "gen": torch.get_rng_state(), "cuda_rng_state": torch.zeros(16, dtype=torch.uint8),
             "codes": torch.zeros(16, dtype=torch.uint8), "s": torch.eye(3).to_sparse()}  # fmt: skip
    tensors = opened(saved(value)).tensors
    assert {name: spec.role for name, spec in tensors.items()} == {
        "w": "weight", "gen": "training", "cuda_rng_state": "training", "codes": "weight",
        "s.indices": "index", "s.values": "weight",
    }  # fmt: skip
    assert sum(spec.elements for spec in tensors.values() if spec.is_parameter) == 2 + 16 + 3


def test_progress_beside_a_model_is_training_state_and_the_rest_metadata() -> None:
    checkpoint = opened(saved({"state_dict": weights(), "epoch": 3, "best_val_loss": 0.5, "arch": "net", "width": 2,
                               "hyper_parameters": {"lr": 0.1, "layers": [1, 2]}, "best_acc1": torch.tensor(75.0)}))  # fmt: skip
    assert checkpoint.training == {"epoch": 3, "best_val_loss": 0.5}
    assert checkpoint.tensors["best_acc1"].role == "training"
    assert checkpoint.metadata == {
        "arch": "net", "width": 2, "hyper_parameters.lr": 0.1, "hyper_parameters.layers": "[1, 2]",
    }  # fmt: skip


def test_keys_are_judged_word_by_word() -> None:
    assert all(map(is_state_key, ("optimizer", "optimizers", "lr_scheduler", "amp_scaler", "optimizer-d", "random_state")))
    assert not any(map(is_state_key, ("epoch", "optimizer_net_head", "state", "dict", "", "lramp")))
    assert all(map(is_progress_key, ("epoch", "best_acc", "global_step", "val_loss_best", "acc1", "current-epoch")))
    assert not any(map(is_progress_key, ("stepper", "best", "epochal", "temperature")))
