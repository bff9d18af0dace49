from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import pytest

from diffai.frozen import frozen


@frozen
class Point:
    """A point."""

    x: int
    y: int = 2
    label: str = ""

    @property
    def total(self) -> int:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    x: int
    y: int = 2
    label: str = ""


def test_it_behaves_as_the_standard_decorator() -> None:
    assert (Point(1).x, Point(1).y, Point(1, 5, label="a").total) == (1, 2, 6)
    assert Point(1) == Point(1, 2, "")
    assert Point(1) != Point(2)
    assert Point(1) != Standard(1)
    assert hash(Point(1)) == hash(Point(1))
    assert repr(Point(1, label="a")) == repr(Standard(1, label="a")).replace("Standard", "Point")
    assert Point.__match_args__ == Standard.__match_args__
    assert Point.__doc__ == "A point."
    assert not hasattr(Point(1), "__dict__")


@frozen
class Nothing:
    """A state without fields."""


@frozen
class Traced:
    __uncompared__ = ("origin",)

    value: int
    origin: str = ""


def test_fields_that_take_no_part_in_comparison() -> None:
    assert Traced(1, "a") == Traced(1, "b")
    assert hash(Traced(1, "a")) == hash(Traced(1, "b"))
    assert repr(Traced(1, "a")) == "Traced(value=1)"
    assert pickle.loads(pickle.dumps(Traced(1, "a"))).origin == "a"


def test_a_class_without_fields() -> None:
    assert Nothing() == Nothing()
    assert repr(Nothing()) == "Nothing()"
    assert Nothing.__match_args__ == ()


def test_it_is_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Point(1).x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del Point(1).x
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(("arguments", "keywords"), [((), {}), ((1, 2, "", 4), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_wrong_arguments_are_type_errors(arguments: tuple[object, ...], keywords: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Point(*arguments, **keywords)  # type: ignore[arg-type]


def test_the_dataclasses_module_works_on_it() -> None:
    assert dataclasses.is_dataclass(Point(1))
    assert dataclasses.replace(Point(1), y=7) == Point(1, 7)
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "label": ""}
    assert [field.name for field in dataclasses.fields(Point)] == ["x", "y", "label"]


def test_it_can_be_copied_and_matched() -> None:
    assert copy.copy(Point(1)) == copy.deepcopy(Point(1)) == Point(1)
    assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
    match Point(4, 5):
        case Point(x, y):
            assert (x, y) == (4, 5)


def test_defining_a_class_does_not_load_dataclasses() -> None:
    script = (
        "import sys; from diffai.frozen import frozen\n"
        "@frozen\nclass A:\n    x: int = 1\n"
        "print('dataclasses' in sys.modules, 'inspect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
