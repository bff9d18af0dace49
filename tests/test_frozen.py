from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

import diffai
from diffai.frozen import frozen, replace, slotted

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(diffai.__file__)))


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
class Wide:
    """Fields enough to be set by way of another class."""

    a: int
    b: int = 2
    c: str = "c"
    d: float | None = None
    e: tuple[int, ...] = ()
    f: int = 6
    g: int = 7


class Narrower(Wide):
    """A subclass that adds nothing."""

    __slots__ = ()


def test_many_fields_behave_as_few() -> None:
    wide = Wide(1, e=(3,))
    assert (wide.a, wide.b, wide.c, wide.d, wide.e, wide.f, wide.g) == (1, 2, "c", None, (3,), 6, 7)
    assert type(wide) is Wide
    assert type(Narrower(1)) is Narrower
    assert wide == Wide(1, 2, "c", None, (3,), 6, 7) != Wide(1)
    assert repr(Wide(1)) == "Wide(a=1, b=2, c='c', d=None, e=(), f=6, g=7)"
    for same in (copy.copy(wide), copy.deepcopy(wide), pickle.loads(pickle.dumps(wide)), dataclasses.replace(wide)):
        assert same == wide and type(same) is Wide
    with pytest.raises(AttributeError, match="immutable"):
        wide.b = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        wide.__class__ = Narrower  # type: ignore[misc]
    with pytest.raises(TypeError):
        Wide(1, b=2, z=3)  # type: ignore[call-arg]


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
        "import sys; from diffai.frozen import frozen, replace, slotted\n"
        "@frozen\nclass A:\n    x: int = 1\n"
        "@slotted\nclass B:\n    x: int = 1\n"
        "assert replace(A(), x=2) == A(2) and replace(B(), x=2) == B(2)\n"
        "print(*sorted({'dataclasses', 'inspect', 'typing', 're'} & set(sys.modules)))"
    )
    isolated = [sys.executable, "-S", "-c", f"import sys; sys.path.append({FOLDER!r}); {script}"]
    done = subprocess.run(isolated, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@slotted
class Counter:
    """A counter."""

    name: str
    count: int = 0

    def add(self) -> None:
        self.count += 1


def test_a_slotted_class_can_change() -> None:
    counter = Counter("a")
    counter.add()
    counter.name = "b"
    assert counter == Counter("b", 1) != Counter("b")
    assert counter != Point(1)
    assert repr(counter) == "Counter(name='b', count=1)"
    assert not hasattr(counter, "__dict__")
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)
    assert pickle.loads(pickle.dumps(counter)) == copy.copy(counter) == dataclasses.replace(counter) == counter
    assert dataclasses.asdict(counter) == {"name": "b", "count": 1}


@pytest.mark.parametrize("decorator", [frozen, slotted])
def test_many_objects_are_made_as_the_first_few(decorator: Any) -> None:
    @decorator
    class Made:
        a: int
        b: int = 2
        c: str = ""

    for number in range(100):
        one, two, three = Made(number), Made(number, 3, c="c"), Made(c="d", a=number)
        assert (one.a, one.b, one.c) == (number, 2, "")
        assert (two.a, two.b, two.c) == (number, 3, "c")
        assert (three.a, three.b, three.c) == (number, 2, "d")


@pytest.mark.parametrize("made", [0, 1, 100])
@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"z": 1}), ((), {"z": 1}), ((), {"b": 1})]
)
def test_wrong_arguments_are_type_errors_at_any_time(made: int, values: Any, named: Any) -> None:
    @frozen
    class Made:
        a: int
        b: int = 2

    for _ in range(made):
        Made(1)
    for _ in range(2):
        with pytest.raises(TypeError):
            Made(*values, **named)


def test_replace() -> None:
    assert replace(Point(1, 2), y=5) == Point(1, 5)
    assert replace(Wide(1), g=0) == Wide(1, g=0)
    assert replace(Counter("a", 3), name="b") == Counter("b", 3)
    assert replace(Traced(1, "a"), value=2).origin == "a"
    with pytest.raises(TypeError):
        replace(Point(1), z=1)


def test_the_first_object_of_a_class_may_be_one_of_a_subclass() -> None:
    @frozen
    class Base:
        a: int
        b: int = 1

    class Sub(Base):
        __slots__ = ()

    assert (Sub(5).a, Sub(5).b, Base(6, b=7).b) == (5, 1, 7)
    with pytest.raises(TypeError):
        Base()  # type: ignore[call-arg]
