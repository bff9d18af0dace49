"""How two sides are seen so that they can be compared: with the same tensors decoded, and under the same names."""

from __future__ import annotations

from diffai.frozen import replace
from diffai.models.inputs import Input


def seen_alike(old: Input, new: Input) -> tuple[Input, Input]:
    """Both sides, seen alike; themselves where nothing is to be done."""
    if old.checkpoint is None or new.checkpoint is None:
        return old, new
    return _named_alike(*_decoded_alike(old, new))


def _decoded_alike(old: Input, new: Input) -> tuple[Input, Input]:
    """Both sides with the same codes left as codes: a decoded tensor is not compared with codes of the same name.

    A git blob has no files beside it that say what its codes mean; the file in the work tree may have one.
    """
    left, right = old.checkpoint, new.checkpoint
    if left is None or right is None or not (left.undecoded or right.undecoded):
        return old, new
    sides = left.as_codes(right.undecoded), right.as_codes(left.undecoded)
    return replace(old, checkpoint=sides[0]), replace(new, checkpoint=sides[1])


def _named_alike(old: Input, new: Input) -> tuple[Input, Input]:
    """Both sides with the names of the hub, where one is a GGUF of a known architecture and the other is none."""
    left, right = old.checkpoint, new.checkpoint
    if left is None or right is None or left.format.endswith("gguf") == right.format.endswith("gguf"):
        return old, new
    from diffai.models.hub_names import under_hub_names

    sides = under_hub_names(left, right.tensors), under_hub_names(right, left.tensors)
    return replace(old, checkpoint=sides[0]), replace(new, checkpoint=sides[1])
