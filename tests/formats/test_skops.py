"""skops against the library that writes it."""

from __future__ import annotations

import io
import pickle
import random
import zipfile

import numpy as np
import pytest
import skops.io
from mutations import mutated, records_mutated
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes

X, Y = load_iris(return_X_y=True)
PIPELINE = Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression())]).fit(X, Y)
FOREST = RandomForestClassifier(4, max_depth=3, random_state=0).fit(X, Y)


def opened(data: bytes) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label="m.skops"), Limits())


def raw(checkpoint: Checkpoint, name: str) -> bytes:
    data = bytearray(checkpoint.tensors[name].nbytes)
    checkpoint.read_into(checkpoint.tensors[name], 0, memoryview(data))
    return bytes(data)


@pytest.mark.parametrize("model", [PIPELINE, FOREST], ids=lambda model: type(model).__name__)
def test_it_says_what_a_pickle_of_the_same_says(model: object) -> None:
    found = opened(skops.io.dumps(model))
    pickled = registry.open_checkpoint(MemoryBytes(pickle.dumps(model), label="m.pkl"), Limits())
    assert found.format == "skops" and found.facts == pickled.facts and found.parts == pickled.parts
    for name in pickled.tensors:
        assert raw(found, name) == raw(pickled, name), name
    assert found.classes.items() >= {(key, value) for key, value in pickled.classes.items() if "." not in key}


def test_steps_have_their_names() -> None:
    checkpoint = opened(skops.io.dumps(PIPELINE))
    assert raw(checkpoint, "clf.coef_") == np.ascontiguousarray(PIPELINE["clf"].coef_).tobytes()
    assert checkpoint.metadata["clf.C"] == 1.0


def test_a_file_without_schema_and_a_missing_array_are_refused_by_number() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.txt", "{}")
    with pytest.raises(FormatError) as error:
        opened(file.getvalue())
    assert error.value.code == "SK01"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", '{"__loader__": "NdArrayNode", "file": "1.npy"}')
    with pytest.raises(FormatError) as error:
        opened(file.getvalue())
    assert error.value.code == "SK02"


def test_damaged_files_give_our_errors_and_no_others() -> None:
    rng, sample, refused = random.Random(1), skops.io.dumps(PIPELINE), 0
    for turn in range(400):
        data = (records_mutated if turn % 2 else mutated)(sample, rng)
        try:
            checkpoint = opened(data)
            for name in checkpoint.tensors:
                raw(checkpoint, name)
        except DiffaiError:
            refused += 1
    assert refused
