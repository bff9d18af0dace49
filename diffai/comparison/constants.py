"""Constant tensors, whose bytes prove nothing: paired inside the layers that other tensors prove to be one.

``norm.vars.0`` is ``norm.gamma``, both all ones, where equal bytes of other values lead from ``norm.vars`` to ``norm``,
or from ``X.vars`` to ``X`` in several other layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from diffai.comparison.rules import Renaming, differences, images
from diffai.model import TensorSpec, natural_key

_FEWEST = 2
"""Layers whose names one rule must explain before it is believed of others."""

_MOST_RULES = 8

Pairs = list[tuple[TensorSpec, TensorSpec]]
Content = tuple[TensorSpec, Hashable]


def pair_constants(proven: Sequence[tuple[str, str]], old: Iterable[Content], new: Iterable[Content]) -> Pairs:
    """Pairs of equal content in layers that belong together, where both have as many of it, in order of names.

    Args:
        proven: names of tensors that are one for certain.
        old, new: constant tensors without a partner, each with what equal ones share.

    """
    left, right = _by_module(old), _by_module(new)
    found: Pairs = []
    for before, after in _modules(proven, left, right):
        for content, olds in left[before].items():
            news = right[after].get(content, [])
            if len(olds) == len(news):
                found += zip(sorted(olds, key=_order), sorted(news, key=_order), strict=True)
    return found


def _order(spec: TensorSpec) -> str:
    return natural_key(spec.name)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _by_module(constants: Iterable[Content]) -> dict[str, dict[Hashable, list[TensorSpec]]]:
    found: dict[str, dict[Hashable, list[TensorSpec]]] = {}
    for spec, content in constants:
        found.setdefault(_module(spec.name), {}).setdefault(content, []).append(spec)
    return found


def _modules(proven: Sequence[tuple[str, str]], old: Iterable[str], new: Iterable[str]) -> list[tuple[str, str]]:
    """Which module is which: as tensors of it prove, else as the names of several others do; one to one."""
    modules = {(_module(before), _module(after)) for before, after in proven}
    known = {(before, after) for before, after in modules if before and after}  # a model that is one layer proves none
    rules = Counter(rule for a, b in known for rule in set(differences(a.split("."), b.split("."))))
    believed = sorted((rule for rule, count in rules.items() if count >= _FEWEST), key=lambda rule: _rank(rule, rules))
    there, taken = set(new), ({a for a, _ in known}, {b for _, b in known})
    pairs = {pair for pair in known if pair[1] in there}
    for before in old:
        if before not in taken[0]:
            images_of = {after for rule in believed[:_MOST_RULES] for after in images(rule, before)}
            pairs |= {(before, after) for after in images_of & there if after not in taken[1]}
    olds, news = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    here = set(old)
    return sorted(pair for pair in pairs if pair[0] in here and olds[pair[0]] == 1 == news[pair[1]])


def _rank(rule: Renaming, votes: Counter[Renaming]) -> tuple[int, tuple[str, ...], tuple[str, ...], str]:
    """The most votes first; nothing here tells the two sides apart."""
    return -votes[rule], min(rule.old, rule.new), max(rule.old, rule.new), rule.kind
