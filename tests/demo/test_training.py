"""The demo's classifier really learns, by the right gradients, and the same way each time."""

from __future__ import annotations

import numpy as np
import pytest

from diffai.demo import training
from diffai.demo.training import Digits, accuracy, as_bfloat16, as_float32, new_network, render, train, with_block


@pytest.fixture(scope="module")
def digits() -> Digits:
    return render(2000, 1, noise=0.1)


def test_digits_are_what_they_say(digits: Digits) -> None:
    assert digits.images.shape == (2000, 64) and digits.images.dtype == np.float32
    assert set(digits.labels.tolist()) == set(range(10))
    clear = render(200, 2, noise=0.0)
    pixels = {label: clear.images[clear.labels == label].sum(axis=1).mean() for label in range(10)}
    assert pixels[8] > pixels[1] > 0


def test_it_learns(digits: Digits) -> None:
    held = render(500, 9, noise=0.1)
    weights = new_network(0)
    before = accuracy(weights, held)
    after = accuracy(train(weights, digits, epochs=12, rate=0.05, seed=1), held)
    assert before < 0.3 < 0.7 < after


def test_gradients_are_those_of_the_loss(digits: Digits) -> None:
    small = {name: array.astype(np.float64) for name, array in with_block(new_network(3), 4).items()}
    images, labels = digits.images[:20].astype(np.float64), digits.labels[:20]

    def loss() -> float:
        logits = training._forward(small, images)[2]
        shifted = logits - logits.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(20), labels]))

    gradients = training._gradients(small, images, labels)
    assert gradients.keys() == small.keys()
    generator = np.random.default_rng(0)
    for name, array in small.items():
        for _ in range(5):
            place = tuple(generator.integers(0, size) for size in array.shape)
            value, step = array[place], 1e-6
            array[place] = value + step
            above = loss()
            array[place] = value - step
            below = loss()
            array[place] = value
            assert gradients[name][place] == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-6)


def test_frozen_tensors_keep_every_bit(digits: Digits) -> None:
    weights = new_network(0)
    tuned = train(weights, digits, epochs=1, rate=0.05, seed=1, frozen=("stem.weight", "stem.bias"))
    same = {name for name in weights if np.array_equal(weights[name], tuned[name])}
    assert same == {"stem.weight", "stem.bias"}


def test_the_same_seed_gives_the_same_bytes(digits: Digits) -> None:
    twice = [train(new_network(0), digits, epochs=1, rate=0.05, seed=1) for _ in range(2)]
    assert all(twice[0][name].tobytes() == twice[1][name].tobytes() for name in twice[0])


def test_bfloat16_is_rounded_to_nearest() -> None:
    weights = {"x": np.array([1.0, 1 + 2**-9, 1 + 3 * 2**-9, -2.0], np.float32)}
    assert as_float32(as_bfloat16(weights))["x"].tolist() == [1.0, 1.0, 1 + 2**-7, -2.0]
