"""The story that the demo repository tells: what is trained, step by step, and what each commit says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from safetensors.numpy import save

from diffai.demo.training import (
    Digits,
    Weights,
    accuracy,
    as_bfloat16,
    as_float32,
    new_network,
    render,
    train,
    with_block,
)
from diffai.frozen import frozen

MODEL = "model.safetensors"
METRICS = "metrics.json"
NOISE, RATE = 0.2, 0.05


@frozen
class Step:
    """One commit, or the last, uncommitted change.

    Attributes:
        tag: short name of the commit; "" = stays uncommitted.
        message: what was done, with the accuracy it led to.
        model: bytes of ``model.safetensors``.
        metrics: text of ``metrics.json``.

    """

    tag: str
    message: str
    model: bytes
    metrics: str


def steps() -> Iterator[Step]:
    """Train, and yield each step when it is done. The last one diverges and is left uncommitted."""
    clean, worn = render(6000, 1, noise=NOISE), render(6000, 3, noise=NOISE, worn=True)
    held = _HeldOut(render(2000, 2, noise=NOISE), render(2000, 4, noise=NOISE, worn=True))

    weights = train(new_network(0), clean, epochs=1, rate=RATE, seed=10)
    yield held.step("epoch-1", "Train a digit classifier, epoch 1", weights, 1)
    weights = train(weights, clean, epochs=1, rate=RATE, seed=11)
    yield held.step("epoch-2", "Train on to epoch 2", weights, 2)
    weights = train(weights, clean, epochs=3, rate=RATE, seed=12)
    yield held.step("epoch-5", "Train on to epoch 5", weights, 5)
    weights = train(weights, worn, epochs=4, rate=RATE / 2, seed=20, frozen=("stem.weight", "stem.bias"))
    yield held.step("fine-tuned", "Fine-tune the head on worn prints, stem frozen", weights, 9)
    both = Digits(np.concatenate([clean.images, worn.images]), np.concatenate([clean.labels, worn.labels]))
    weights = train(with_block(weights, 5), both, epochs=4, rate=RATE, seed=30)
    yield held.step("deeper", "Add a residual block, train all layers", weights, 13)
    weights = as_float32(as_bfloat16(weights))
    yield held.step("bf16", "Cast to BF16 for serving", weights, 13, bf16=True)
    yield held.step("renamed", "Rename all tensors to net.*", weights, 13, prefix="net.", bf16=True)
    with np.errstate(all="ignore"):  # it is meant to overflow
        weights = train(weights, both, epochs=1, rate=RATE * 1000, seed=40)
        diverged = held.step("", "One more epoch, learning rate 1000 x too high", weights, 14, prefix="net.", bf16=True)
    yield diverged


@frozen
class _HeldOut:
    """Digits that are never trained on, and the steps that are measured by them."""

    clean: Digits
    worn: Digits

    def step(
        self, tag: str, title: str, weights: Weights, epoch: int, *, prefix: str = "", bf16: bool = False
    ) -> Step:
        """Measure ``weights`` and put them into the two files."""
        on_clean, on_worn = accuracy(weights, self.clean), accuracy(weights, self.worn)
        message = f"{title}: {on_clean:.1%} right\n\nOn held-out digits; on worn prints: {on_worn:.1%}.\n"
        metrics = {"epoch": epoch, "accuracy": round(on_clean, 4), "accuracy_worn": round(on_worn, 4)}
        stored = as_bfloat16(weights) if bf16 else weights
        # One key only: safetensors writes several in an order that changes from run to run.
        model = save({prefix + name: array for name, array in stored.items()}, {"epoch": str(epoch)})
        return Step(tag, message, model, json.dumps(metrics, indent=2) + "\n")
