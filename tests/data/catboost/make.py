"""Make the files beside this script, and expected.json with what CatBoost itself says of each. Run with catboost installed.

    python tests/data/catboost/make.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoost, CatBoostClassifier, CatBoostRegressor, Pool

HERE = Path(__file__).parent
COMMON = {"verbose": False, "allow_writing_files": False, "thread_count": 1, "random_seed": 1}


def main() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(200, 3)).astype("f4")
    classes = (columns[:, 0] + 0.3 * columns[:, 1] > 0).astype(int)
    colours = rng.choice(["red", "green", "blue", "cyan", "pink"], size=200)
    mixed = pd.DataFrame({"age": columns[:, 0], "colour": colours, "side": rng.choice(["x", "y"], size=200), "h": columns[:, 1]})
    mixed.loc[:5, "age"] = np.nan
    mixed_pool = Pool(mixed, ((colours == "red") | (columns[:, 1] > 0.5)).astype(int), cat_features=["colour", "side"])
    words = rng.choice(["good", "bad", "fine", "awful"], size=(200, 3))
    texts = pd.DataFrame({"age": columns[:, 0], "text": [" ".join(row) for row in words]})
    text_pool = Pool(texts, [int("good" in row) for row in texts.text], text_features=["text"])
    bags = {
        "dictionaries": [{"dictionary_id": "Word", "occurrence_lower_bound": "1"}],
        "feature_processing": {"default": [{"dictionaries_names": ["Word"], "feature_calcers": ["BoW"]}]},
    }
    models: dict[str, tuple[CatBoost, tuple[object, ...]]] = {
        "oblivious": (CatBoostClassifier(iterations=3, depth=2, **COMMON), (columns, classes)),
        "longer": (CatBoostClassifier(iterations=4, depth=2, **COMMON), (columns, classes)),
        "lossguide": (
            CatBoostRegressor(iterations=3, depth=3, grow_policy="Lossguide", max_leaves=5, **COMMON),
            (columns, columns[:, 0] * 2 + 5),
        ),
        "multiclass": (
            CatBoostClassifier(iterations=2, depth=2, loss_function="MultiClass", **COMMON),
            (columns, np.digitize(columns[:, 0], [-0.5, 0.5])),
        ),
        "categorical": (CatBoostClassifier(iterations=3, depth=3, one_hot_max_size=2, **COMMON), (mixed_pool,)),
        "onehot": (CatBoostClassifier(iterations=3, depth=2, one_hot_max_size=9, **COMMON), (mixed_pool,)),
        "text": (CatBoostClassifier(iterations=2, depth=2, text_processing=bags, **COMMON), (text_pool,)),
    }
    expected = {}
    for name, (model, data) in models.items():
        model.fit(*data)
        model.save_model(str(HERE / f"{name}.cbm"))
        if name == "text":  # which it cannot write as JSON
            continue
        model.save_model(str(HERE / "said.json"), format="json", pool=mixed_pool if data[0] is mixed_pool else None)
        said = json.loads((HERE / "said.json").read_text())
        (HERE / "said.json").unlink()
        parts = ("features_info", "oblivious_trees", "trees", "scale_and_bias", "ctr_data")
        expected[name] = {part: said[part] for part in parts if part in said}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
