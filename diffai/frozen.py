"""``@frozen`` and ``@slotted``: what ``@dataclass(slots=True)`` gives, frozen or not, but cheap to define.

git starts one process a file, and the standard decorator takes most of a millisecond for every class (it compiles
eight functions), which over our sixty classes is as long as a third of numpy's import. Here methods are shared, and
``__init__`` is compiled only for a class of which many objects are made, since most have none or a few in a process.
``dataclasses.fields``, ``replace`` and ``asdict`` work on the result as usual, but load ``dataclasses``;
:func:`replace` here does not.
"""

from __future__ import annotations

TYPE_CHECKING = False  # ``typing`` takes as long to load as a fifth of Python's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        """Say to type checkers what a decorator does; see :func:`typing.dataclass_transform`."""
        return lambda decorator: decorator


_FEW = 30
"""Objects that are made in less time than an initialiser is compiled."""

_set = object.__setattr__
_NOT_COPIED = ("__dict__", "__weakref__", "__annotations__")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make a class of annotated fields immutable, slotted, comparable, hashable and printable.

    Fields named in a class attribute ``__uncompared__`` take no part in comparison, hash and text. Defaults must be
    immutable; there are no default factories. Methods must not call ``super()`` without arguments,
    since the class is made anew.
    """
    return _made(cls, {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse})


@dataclass_transform()
def slotted(cls: type[T]) -> type[T]:
    """Make a class of annotated fields slotted, comparable and printable; its objects can change.

    What is said of :func:`frozen` holds here too, but there is no hash.
    """
    return _made(cls, {"__hash__": None})


def replace(item: T, /, **changes: Any) -> T:
    """A copy of an object of such a class in which some fields are other ones.

    Raises:
        TypeError: a field that the class does not have.
    """
    cls: Any = type(item)
    made: T = cls(**{name: getattr(item, name) for name in cls.__slots__} | changes)
    return made


def _made(cls: type[T], kind: dict[str, Any]) -> type[T]:
    annotations: dict[str, Any] = vars(cls).get("__annotations__", {})
    names = tuple([name for name, text in annotations.items() if not str(text).startswith("ClassVar")])
    default = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    namespace = {key: value for key, value in cls.__dict__.items() if key not in _NOT_COPIED and key not in default}
    aside = namespace.get("__uncompared__", ())
    left = _FEW

    def first(self: Any, *values: Any, **named: Any) -> None:
        """Take the place of ``__init__`` for the first few objects; wrong arguments are left to a compiled one."""
        nonlocal left
        left -= 1
        given = dict(zip(names, values, strict=False))
        fields = default | given | named
        if left and len(values) == len(given) and len(fields) == len(names) and given.keys().isdisjoint(named):
            try:
                for name in names:
                    _set(self, name, fields[name])
                return
            except KeyError:  # there is one that the class does not have
                pass
        setattr(made, "__init__", initialiser := _initialiser(made, default))  # noqa: B010
        initialiser(self, *values, **named)

    namespace.update(
        kind,
        __slots__=names,
        __match_args__=names,
        __compared__=tuple([name for name in names if name not in aside]) if aside else names,
        __annotations__=annotations,
        __init__=first,
        __eq__=_equal,
        __getstate__=_state,
        __setstate__=_restore,
        __dataclass_fields__=_FIELDS,
    )
    namespace.setdefault("__repr__", _represent)
    made: type[T] = type(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    defaults[made] = default
    return made


defaults: dict[type, dict[str, Any]] = {}
"""Default values of the fields of every class made here."""


_MANY = 6
"""Fields from which on the detour over another class is the shorter way to set them."""


def _initialiser(cls: type, default: dict[str, Any]) -> Callable[..., None]:
    """Compile ``__init__``: field names are Python identifiers, so nothing foreign gets into the source.

    Setting a field against ``__setattr__`` takes a call each. An object of many fields is, while it is set, one of a
    class of the same layout that lets itself be set, which halves the time; models have 100,000 such objects.
    """
    names: tuple[str, ...] = cls.__slots__  # type: ignore[attr-defined]
    parameters = ", ".join([f"{name}=_{name}" if name in default else name for name in names])
    scope: dict[str, Any] = {"_set": _set} | {f"_{name}": value for name, value in default.items()}
    if cls.__dict__.get("__setattr__") is None:
        body = "".join([f"\n self.{name} = {name}" for name in names]) or "\n pass"
    elif len(names) < _MANY or cls.__bases__ != (object,):
        body = "".join([f"\n _set(self, {name!r}, {name})" for name in names]) or "\n pass"
    else:
        scope["_Open"] = type(cls.__name__, (), {"__slots__": names})
        body = "\n _kind = self.__class__\n _set(self, '__class__', _Open)"
        body += "".join([f"\n self.{name} = {name}" for name in names]) + "\n self.__class__ = _kind"
    exec(f"def __init__(self, {parameters}):{body}", scope)
    made: Callable[..., None] = scope["__init__"]
    return made


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__compared__])


def _equal(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _represent(self: Any) -> str:
    fields = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__compared__])
    return f"{type(self).__qualname__}({fields})"


def _refuse(self: Any, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__} is immutable: cannot change {name!r}")


def _state(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__slots__])


def _restore(self: Any, state: tuple[Any, ...]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


def _always(value: Any) -> Callable[[], Any]:
    return lambda: value


class _Fields:
    """``__dataclass_fields__``, made when somebody asks, so that ``dataclasses`` is loaded only then."""

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        import dataclasses

        own = defaults[owner]
        stand_in = dataclasses.make_dataclass(
            owner.__name__,
            [
                (name, kind, dataclasses.field(default_factory=_always(own[name]))) if name in own else (name, kind)
                for name, kind in owner.__annotations__.items()
                if name in owner.__slots__  # type: ignore[attr-defined]
            ],
            frozen=owner.__setattr__ is _refuse,
        )
        made: dict[str, Any] = stand_in.__dataclass_fields__  # type: ignore[attr-defined]
        owner.__dataclass_fields__ = made  # type: ignore[attr-defined]
        return made


_FIELDS = _Fields()
