"""A small classifier of handwritten-looking digits, really trained: numpy, backpropagation, nothing else.

The data are made here: glyphs of a tiny font, moved, slanted, dimmed and covered with noise. Everything
follows from a seed, so that the same numpy on the same machine makes the same models.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from diffai.frozen import frozen

Floats = NDArray[np.float32]
Weights = dict[str, Floats]

SIDE = 8
CLASSES = 10

# Digits of 4 x 6 pixels, a row a hexadecimal digit.
_GLYPHS = ("699996", "262227", "69124f", "e1611e", "26af22", "f8e11e", "68e996", "f12444", "696996", "699716")


@frozen
class Digits:
    """Images of shape (count, 64) with values around 0..1, and the digit that each shows."""

    images: Floats
    labels: NDArray[np.int64]


def render(count: int, seed: int, *, noise: float, worn: bool = False) -> Digits:
    """Draw ``count`` digits.

    Args:
        count: how many.
        seed: which.
        noise: standard deviation of what is added to each pixel.
        worn: rub out one row of each image, as of prints from a worn plate.

    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    images = np.zeros((count, SIDE, SIDE), np.float32)
    glyphs = np.array([[[int(row, 16) >> (3 - x) & 1 for x in range(4)] for row in glyph] for glyph in _GLYPHS])
    downs, rights = generator.integers(0, 3, count), generator.integers(0, 4, count)
    slants = generator.integers(0, 2, count)
    for image, label, down, right, slant in zip(images, labels, downs, rights, slants, strict=True):
        image[down : down + 6, right : right + 4] = glyphs[label]
        if slant:
            image[:3] = np.roll(image[:3], 1, axis=1)
    images *= generator.uniform(0.6, 1.0, (count, 1, 1)).astype(np.float32)
    if worn:
        images[np.arange(count), generator.integers(1, SIDE - 1, count)] = 0
    images += generator.standard_normal(images.shape, dtype=np.float32) * np.float32(noise)
    return Digits(images.reshape(count, SIDE * SIDE), labels)


def new_network(seed: int, hidden: int = 48) -> Weights:
    """Two layers, ``stem`` (hidden, 64) and ``head`` (10, hidden), drawn after He et al., arXiv:1502.01852."""
    generator = np.random.default_rng(seed)
    return {
        "stem.weight": _normal(generator, (hidden, SIDE * SIDE)),
        "stem.bias": np.zeros(hidden, np.float32),
        "head.weight": _normal(generator, (CLASSES, hidden)),
        "head.bias": np.zeros(CLASSES, np.float32),
    }


def with_block(weights: Weights, seed: int) -> Weights:
    """The network with a residual layer between stem and head, near to no effect at first."""
    hidden = len(weights["stem.bias"])
    block = _normal(np.random.default_rng(seed), (hidden, hidden)) * np.float32(0.1)
    grown = {name: array for name, array in weights.items() if name.startswith("stem.")}
    grown |= {"block.weight": block, "block.bias": np.zeros(hidden, np.float32)}
    return grown | {name: array for name, array in weights.items() if name.startswith("head.")}


def _normal(generator: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return generator.standard_normal(shape, dtype=np.float32) * np.float32((2 / shape[1]) ** 0.5)


def accuracy(weights: Weights, digits: Digits) -> float:
    """Share of images that the network names correctly."""
    _, _, logits = _forward(weights, digits.images)
    return float(np.mean(logits.argmax(axis=1) == digits.labels))


def train(
    weights: Weights, digits: Digits, *, epochs: int, rate: float, seed: int, frozen: tuple[str, ...] = ()
) -> Weights:
    """Stochastic gradient descent with momentum 0.9 in batches of 50; ``weights`` are left as they are.

    Args:
        weights: where to start.
        digits: what to learn from.
        epochs: passes over the digits.
        rate: of learning.
        seed: of the order of the images.
        frozen: tensors that are not trained.

    """
    generator = np.random.default_rng(seed)
    weights = {name: array.copy() for name, array in weights.items()}
    momentum = {name: np.zeros_like(array) for name, array in weights.items() if name not in frozen}
    for _ in range(epochs):
        order = generator.permutation(len(digits.labels))
        for batch in order.reshape(-1, 50):
            gradients = _gradients(weights, digits.images[batch], digits.labels[batch])
            for name, moving in momentum.items():
                moving *= np.float32(0.9)
                moving -= np.float32(rate) * gradients[name]
                weights[name] += moving
    return weights


def _forward(weights: Weights, images: Floats) -> tuple[Floats, Floats, Floats]:
    """Output of the stem, what enters the head, and the logits, a row an image."""
    stem = np.maximum(images @ weights["stem.weight"].T + weights["stem.bias"], 0)
    features = stem
    if "block.weight" in weights:
        features = stem + np.maximum(stem @ weights["block.weight"].T + weights["block.bias"], 0)
    return stem, features, features @ weights["head.weight"].T + weights["head.bias"]


def _gradients(weights: Weights, images: Floats, labels: NDArray[np.int64]) -> Weights:
    """Of the mean cross-entropy, by tensor."""
    stem, features, logits = _forward(weights, images)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = shifted / shifted.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    error /= np.float32(len(labels))
    gradients = {"head.weight": error.T @ features, "head.bias": error.sum(axis=0)}
    back = error @ weights["head.weight"]
    if "block.weight" in weights:
        inner = back * (features > stem)
        gradients |= {"block.weight": inner.T @ stem, "block.bias": inner.sum(axis=0)}
        back = back + inner @ weights["block.weight"]
    back = back * (stem > 0)
    return gradients | {"stem.weight": back.T @ images, "stem.bias": back.sum(axis=0)}


def as_bfloat16(weights: Weights) -> dict[str, NDArray[ml_dtypes.bfloat16]]:
    """Every value rounded to the nearest bfloat16."""
    return {name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}


def as_float32(weights: dict[str, NDArray[ml_dtypes.bfloat16]]) -> Weights:
    """The same values in float32."""
    return {name: array.astype(np.float32) for name, array in weights.items()}
