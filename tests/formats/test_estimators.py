"""Estimators of scikit-learn against the library: importances, trees, parameters, steps; nothing of it runs in diffai."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from gitrepo import Repo
from mutations import mutated
from program import diffai
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from diffai import compare
from diffai.comparison.models import Input, compare_models
from diffai.comparison.result import ModelDiff
from diffai.errors import DiffaiError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes

SAFE = Limits(allow_torch=False)
X, Y = make_classification(200, 7, n_informative=4, n_classes=3, random_state=0)
XR, YR = make_regression(150, 5, random_state=0)


def opened(model: object) -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(pickle.dumps(model), label="m.pkl"), SAFE)


def compared(old: object, new: object) -> ModelDiff:
    return compare_models(Input("old", opened(old)), Input("new", opened(new)))


def values(checkpoint: Checkpoint, name: str, dtype: str = "<f8") -> np.ndarray:  # type: ignore[type-arg]
    spec = checkpoint.tensors[name]
    data = bytearray(spec.nbytes)
    checkpoint.read_into(spec, 0, memoryview(data))
    return np.frombuffer(data, dtype).reshape(spec.shape)


def importances(checkpoint: Checkpoint) -> list[object]:
    return [value for key, value in checkpoint.facts.items() if key.startswith("importance ")]


TREES: dict[str, Any] = {
    "forest": RandomForestClassifier(12, random_state=1).fit(X, Y),
    "shallow": RandomForestClassifier(9, max_depth=2, max_features=2, random_state=2).fit(X, Y),
    "one node": RandomForestRegressor(3, min_samples_leaf=150, random_state=2).fit(XR, YR),
    "some of one node": ExtraTreesRegressor(20, min_impurity_decrease=900.0, max_depth=1, random_state=0).fit(XR, YR),
    "regression": RandomForestRegressor(5, criterion="absolute_error", random_state=0).fit(XR, YR),
    "extra": ExtraTreesRegressor(7, random_state=0).fit(XR, YR),
    "boosting": GradientBoostingClassifier(n_estimators=6, random_state=0).fit(X, Y),
    "boosted regression": GradientBoostingRegressor(n_estimators=8, subsample=0.5, random_state=0).fit(XR, YR),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0).fit(X, Y),
    "adaboost": AdaBoostClassifier(n_estimators=7, random_state=0).fit(X, Y),
    "adaboost, deep": AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=5, random_state=0).fit(X, Y),
    "adaboost, stopped": AdaBoostClassifier(DecisionTreeClassifier(), n_estimators=5, random_state=0).fit(X, Y),
    "adaboost, regression": AdaBoostRegressor(n_estimators=6, random_state=0).fit(XR, YR),
    "weighted": RandomForestClassifier(5, class_weight="balanced", random_state=1).fit(X, Y, np.linspace(0.1, 2, 200)),
}  # fmt: skip


@pytest.mark.parametrize("case", TREES)
def test_importances_are_those_of_the_library(case: str) -> None:
    model = TREES[case]
    found = importances(opened(model))
    assert np.allclose(np.array(found, float), model.feature_importances_, rtol=1e-12, atol=1e-12)
    assert len(found) == model.n_features_in_


@pytest.mark.parametrize("case", TREES)
def test_trees_are_counted_and_their_nodes_are_what_the_library_has(case: str) -> None:
    model = TREES[case]
    checkpoint = opened(model)
    trees = [model.tree_] if case == "tree" else [member.tree_ for member in np.ravel(model.estimators_)]
    assert checkpoint.facts["trees"] == len(trees) == len(checkpoint.parts["trees"])
    assert checkpoint.facts["nodes"] == sum(tree.node_count for tree in trees)
    assert checkpoint.facts["max depth"] == max(tree.max_depth for tree in trees)
    where = "tree_" if case == "tree" else "trees"
    for name, attribute, dtype in (("threshold", "threshold", "<f8"), ("left_child", "children_left", "<i8"),
                                   ("feature", "feature", "<i8"), ("values", "value", "<f8")):  # fmt: skip
        expected = np.concatenate([getattr(tree, attribute) for tree in trees])
        assert np.array_equal(values(checkpoint, f"{where}.{name}", dtype), expected), name
    assert checkpoint.tensors[f"{where}.impurity"].role == "training"
    assert checkpoint.tensors[f"{where}.feature"].role == "index"


def test_trees_that_a_warm_start_kept_are_identical() -> None:
    model = RandomForestClassifier(10, warm_start=True, random_state=0).fit(X, Y)
    before = pickle.loads(pickle.dumps(model))
    diff = compared(before, model.set_params(n_estimators=15).fit(X, Y))
    assert [(p.kind, p.old, p.new, p.identical) for p in diff.parts] == [("trees", 10, 15, 10)]
    assert ("n_estimators", 10, 15) in [(v.key, v.old, v.new) for v in diff.metadata]
    assert ("trees", 10, 15) in [(v.key, v.old, v.new) for v in diff.facts]


def test_the_same_forest_is_equal_and_seeds_of_trees_alone_are_set_aside() -> None:
    model = RandomForestClassifier(4, random_state=0).fit(X, Y)
    assert compared(model, pickle.loads(pickle.dumps(model))).equal is True
    other = pickle.loads(pickle.dumps(model))
    other.estimators_[2].random_state += 1
    diff = compared(model, other)
    assert not diff.metadata and not diff.changes
    assert [(left.what, left.reason) for left in diff.left_out] == [
        ("random states of estimators", "differ and are not compared")
    ]


def test_parameters_are_named_and_said_once() -> None:
    checkpoint = opened(RandomForestClassifier(50, max_depth=3, random_state=0).fit(X, Y))
    assert checkpoint.metadata["n_estimators"] == 50 and checkpoint.metadata["max_depth"] == 3
    assert checkpoint.classes["RandomForestClassifier"] == "sklearn.ensemble._forest.RandomForestClassifier"
    assert [key for key in checkpoint.metadata if key.endswith("_sklearn_version")] == ["_sklearn_version"]
    assert not [key for key in checkpoint.metadata if key.startswith("estimators_.1.")]
    assert not [key for key in checkpoint.metadata if key.startswith("estimators_.") and key.endswith("random_state")]


def test_a_parameter_that_one_tree_has_otherwise_is_not_lost() -> None:
    model = RandomForestClassifier(4, random_state=0).fit(X, Y)
    other = pickle.loads(pickle.dumps(model))
    other.estimators_[2].min_samples_leaf = 9
    other.estimators_[3].splitter = "random"
    keys = {value.key for value in compared(model, other).metadata}
    assert keys == {"estimators_.2.min_samples_leaf", "estimators_.3.splitter"}


def test_features_have_their_names() -> None:
    model = RandomForestClassifier(3, random_state=0).fit(X, Y)
    model.feature_names_in_ = np.array([f"col{n}" for n in range(7)], dtype=object)  # as a fit on a table of names does
    checkpoint = opened(model)
    assert "importance col6" in checkpoint.facts


def pipeline(c: float = 1.0) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("clf", LogisticRegression(C=c))])


def test_steps_of_a_pipeline_have_their_names() -> None:
    model = pipeline().fit(X, Y)
    checkpoint = opened(model)
    assert np.array_equal(values(checkpoint, "clf.coef_"), model["clf"].coef_)
    assert np.array_equal(values(checkpoint, "scale.mean_"), model["scale"].mean_)
    assert checkpoint.metadata["steps"] == "scale > clf" and checkpoint.metadata["clf.C"] == 1.0
    assert checkpoint.classes["Pipeline.clf"] == "sklearn.linear_model._logistic.LogisticRegression"
    diff = compared(model, pipeline(0.5).fit(X, Y))
    assert [(v.key, v.old, v.new) for v in diff.metadata] == [("clf.C", 1.0, 0.5)]
    assert {change.name for change in diff.changes} <= {"clf.coef_", "clf.intercept_", "clf.n_iter_"}


def test_meta_estimators_have_their_steps_by_name() -> None:
    columns = ColumnTransformer([("num", StandardScaler(), [0, 1]), ("cat", OneHotEncoder(), [2])])
    table = np.c_[X[:, :2], np.arange(200) % 3]
    model = Pipeline([("prepare", columns), ("forest", RandomForestClassifier(3, random_state=0))]).fit(table, Y)
    checkpoint = opened(model)
    assert np.array_equal(values(checkpoint, "prepare.transformers_.num.mean_"), columns.named_transformers_["num"].mean_)
    assert checkpoint.facts["forest.trees"] == 3 and len(checkpoint.parts["forest.trees"]) == 3
    voting = VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier(random_state=0))]).fit(X, Y)
    assert opened(voting).metadata["estimators.a.C"] == 1.0
    union = FeatureUnion([("s", StandardScaler()), ("t", StandardScaler(with_mean=False))]).fit(X)
    assert np.array_equal(values(opened(union), "s.mean_"), union.transformer_list[0][1].mean_)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert np.array_equal(values(opened(search), "best_estimator_.coef_"), search.best_estimator_.coef_)


@pytest.mark.parametrize(
    "model",
    [SVC(), AdaBoostClassifier(n_estimators=3, random_state=0), HistGradientBoostingClassifier(max_iter=3),
     IsolationForest(n_estimators=3, random_state=0), RandomForestClassifier(3, random_state=np.random.RandomState(3))],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_other_estimators_are_read_equal_to_themselves_and_safe(model: Any) -> None:
    model.fit(X, Y)
    checkpoint = opened(model)
    assert checkpoint.safety == "builds classes", [problem.message for problem in checkpoint.problems]
    assert compared(model, model).equal is True
    if not isinstance(model, (RandomForestClassifier, AdaBoostClassifier)):
        assert not importances(checkpoint)  # no number that the arrays alone do not give


HISTOGRAMS: dict[str, Any] = {
    "classes": HistGradientBoostingClassifier(max_iter=4, random_state=0).fit(X, Y),
    "regression": HistGradientBoostingRegressor(max_iter=5, max_depth=3, random_state=0).fit(XR, YR),
    "categories": HistGradientBoostingClassifier(max_iter=3, categorical_features=[0], random_state=0).fit(
        np.c_[np.arange(200) % 5, X[:, 1:]], Y == 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HISTOGRAMS)
def test_histogram_gradient_boosting_has_its_trees_in_one_place(case: str) -> None:
    model = HISTOGRAMS[case]
    trees = [tree for turn in model._predictors for tree in turn]
    checkpoint = opened(model)
    assert checkpoint.facts["trees"] == len(trees) == len(checkpoint.parts["trees"])
    assert checkpoint.facts["nodes"] == sum(len(tree.nodes) for tree in trees)
    assert checkpoint.facts["max depth"] == max(tree.nodes["depth"].max() for tree in trees)
    for name, dtype in (("value", "<f8"), ("num_threshold", "<f8"), ("feature_idx", "<i8"), ("left", "<u4")):
        expected = np.concatenate([tree.nodes[name] for tree in trees])
        assert np.array_equal(values(checkpoint, f"trees.{name}", dtype), expected, equal_nan=dtype == "<f8"), name
    bits = np.concatenate([tree.raw_left_cat_bitsets for tree in trees])
    assert np.array_equal(values(checkpoint, "trees.raw_left_cat_bitsets", "<u4"), bits)
    assert not [name for name in checkpoint.tensors if name.startswith("_predictors")]
    assert checkpoint.tensors["trees.gain"].role == "training" and checkpoint.tensors["trees.left"].role == "index"


def test_iterations_that_a_warm_start_kept_are_identical_and_seeds_are_no_difference() -> None:
    model = HistGradientBoostingClassifier(max_iter=4, warm_start=True, early_stopping=False).fit(X, Y)
    before = pickle.loads(pickle.dumps(model))
    diff = compared(before, model.set_params(max_iter=6).fit(X, Y))
    assert [(p.kind, p.old, p.new, p.identical) for p in diff.parts] == [("trees", 12, 18, 12)]
    assert [(v.key, v.old, v.new) for v in diff.metadata] == [("max_iter", 4, 6)]
    assert not diff.classes
    again = HistGradientBoostingClassifier(max_iter=4, early_stopping=False).fit(X, Y)
    assert not compared(before, again.set_params(warm_start=True)).changes


META: dict[str, Any] = {
    "stacking": StackingClassifier([("rf", RandomForestClassifier(3, random_state=0)), ("lr", LogisticRegression())]),
    "bagging": BaggingClassifier(LogisticRegression(), n_estimators=3, random_state=0),
    "one of rest": OneVsRestClassifier(LogisticRegression()),
    "calibrated": CalibratedClassifierCV(RandomForestClassifier(3, random_state=0), cv=2),
    "search": GridSearchCV(RandomForestClassifier(random_state=0), {"n_estimators": [2, 3]}, cv=2),
    "network": MLPClassifier((4,), max_iter=5, random_state=0),
    "neighbours": KNeighborsClassifier(),
}  # fmt: skip


@pytest.mark.parametrize("case", META)
@pytest.mark.filterwarnings("ignore")
def test_a_pickle_and_a_joblib_dump_of_one_estimator_are_equal_and_safe(case: str, tmp_path: Path) -> None:
    """Arrays that its parts share are written once by one and as often as they are reached by the other."""
    model = clone(META[case]).fit(X, Y)
    joblib.dump(model, tmp_path / "m.joblib")
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    diff = compare(tmp_path / "m.pkl", tmp_path / "m.joblib")
    assert diff.equal is True and diff.old.parameters == diff.new.parameters
    checkpoint = opened(model)
    assert checkpoint.safety == "builds classes", [problem.message for problem in checkpoint.problems]


def test_forests_inside_other_estimators_have_facts_of_their_own() -> None:
    model = clone(META["calibrated"]).fit(X, Y)
    facts = opened(model).facts
    for number, part in enumerate(model.calibrated_classifiers_):
        where = f"calibrated_classifiers_.{number}.estimator"
        assert facts[f"{where}.nodes"] == sum(tree.tree_.node_count for tree in part.estimator.estimators_)


def test_an_array_that_one_member_has_like_the_first_is_still_its_own() -> None:
    """Else a retrained ensemble would have gained or lost tensors, where only their values came to differ."""
    old, new = (clone(META["bagging"]).set_params(random_state=seed).fit(X, Y) for seed in (0, 1))
    for number, model in enumerate((old, new)):
        model.estimators_[1].n_iter_ = model.estimators_[0].n_iter_ + number
    diff = compared(old, new)
    assert not diff.totals.added and not diff.totals.removed
    assert "_seeds" not in {change.name for change in diff.tensors}


@pytest.mark.filterwarnings("ignore")
def test_moments_of_an_optimizer_and_results_of_a_search_are_training_state() -> None:
    network = opened(clone(META["network"]).fit(X, Y))
    roles = {name: spec.role for name, spec in network.tensors.items()}
    assert {role for name, role in roles.items() if name.startswith("_optimizer.ms")} == {"training"}
    assert roles["coefs_.0"] == "weight"
    search = opened(clone(META["search"]).fit(X, Y))
    assert {spec.role for name, spec in search.tensors.items() if name.startswith("cv_results_.")} == {"training"}


def test_unfitted_estimators_are_models_too() -> None:
    assert opened(LogisticRegression(C=3)).metadata["C"] == 3


def test_git_diff_show_check_and_gate_of_a_forest(repo: Repo) -> None:
    model = RandomForestClassifier(5, warm_start=True, random_state=0).fit(X, Y)
    joblib.dump(model, repo.top / "rf.joblib")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "one")
    assert diffai("install", cwd=repo.top).returncode == 0
    joblib.dump(model.set_params(n_estimators=8).fit(X, Y), repo.top / "rf.joblib", compress=3)
    text = repo.git("diff")
    assert "~ trees: 5 -> 8, 5 identical" in text
    assert "~ metadata n_estimators: 5 -> 8" in text
    assert "importance f" in text
    shown = diffai("show", "rf.joblib", cwd=repo.top).stdout
    assert "joblib (zlib)" in shown and "trees = 8" in shown and "sklearn.ensemble._forest.RandomForestClassifier" in shown
    assert diffai("check", "rf.joblib", cwd=repo.top).returncode == 0
    repo.git("add", "-A")
    refused = diffai("gate", cwd=repo.top)
    assert refused.returncode == 1 and "trees.threshold: shape=" in refused.stdout  # as any other structure


def test_damaged_estimators_give_our_errors_and_no_others(tmp_path: Path) -> None:
    rng = random.Random(3)
    models = (RandomForestClassifier(2, max_depth=2, random_state=0).fit(X, Y), pipeline().fit(X, Y), TREES["tree"])
    samples = [pickle.dumps(model) for model in models]
    refused = 0
    for turn in range(900):
        try:
            data = mutated(samples[turn % 3], rng)
            checkpoint = registry.open_checkpoint(MemoryBytes(data, label="m.pkl"), SAFE)
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(spec.nbytes)))
        except DiffaiError:
            refused += 1
    assert 50 < refused < 900
