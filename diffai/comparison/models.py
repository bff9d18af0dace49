"""Compare two opened checkpoints: pair, stream the values once, classify, count."""

from __future__ import annotations

from collections.abc import Mapping

from diffai.comparison.facets import compare_facets
from diffai.comparison.result import CompareOptions, ModelDiff, Side
from diffai.comparison.selection import Selection, within_tolerance
from diffai.comparison.tensors import count, count_elements
from diffai.comparison.values import SHAPES_ONLY, Comparison, Progress, Specs, Values
from diffai.frozen import replace
from diffai.model import Absent, Checkpoint, LfsPointer, NotRead, Scalar, TensorSpec
from diffai.models.inputs import Input

__all__ = ["SHAPES_ONLY", "Input", "Progress", "Values", "compare_models"]

def compare_models(
    old: Input,
    new: Input,
    options: CompareOptions = CompareOptions(),
    progress: Progress | None = None,
    values: Values | None = None,
) -> ModelDiff:
    """Compare two sides.

    A side without checkpoint is kept as its state; the other side's tensors are then added or removed when the
    state is ``Absent``, and only counted otherwise. With ``values`` no tensor is read here: headers are enough.

    Raises:
        SourceError: a file changed or ended early while its values were read.
        UsageError: a regular expression in the options is wrong.

    """
    if values is None and _seen_differently(old, new):  # with values they are of these very tensors
        old, new = _named_alike(*_decoded_alike(old, new))
    if options.while_open is None:
        return _compared(old, new, options, progress, values)
    diff = _compared(old, new, replace(options, while_open=None), progress, values)
    if progress is not None:
        progress(1, 1)  # this work is done, and what follows has a bar of its own
    return options.while_open(diff, old, new)


def _compared(
    old: Input, new: Input, options: CompareOptions, progress: Progress | None, values: Values | None
) -> ModelDiff:
    """The comparison of two sides that are seen alike."""
    selection = Selection(options, old.checkpoint, new.checkpoint)
    left_specs, right_specs = one_role(selection.specs(old.checkpoint), selection.specs(new.checkpoint))
    readable = not options.shape_only
    left_side = _side(old, left_specs, readable=readable)
    same = left_side if right_specs is left_specs else None
    sides = left_side, _side(new, right_specs, same, readable=readable)
    if any(side.checkpoint is None and not isinstance(side.state, Absent) for side in (old, new)) or (
        old.checkpoint is None and new.checkpoint is None
    ):
        # Nothing can be said of the tensors: no invented "removed".
        return ModelDiff(*sides, options, same_bytes=_same_bytes(old, new))
    place = None
    if options.cache_size and values is None:
        from diffai.comparison.remembered import remembered

        place = remembered(old, new, options)
    known = place.get() if place is not None else None
    if known is not None:
        return replace(known, old=sides[0], new=sides[1], options=options)
    work = Comparison(old, new, options, progress, values)
    tensors = work.run(left_specs, right_specs)
    facets = compare_facets(old.checkpoint or Checkpoint(), new.checkpoint or Checkpoint(), tensors, selection.keys)
    for side in (old, new):
        if side.checkpoint is not None and not options.shape_only:
            side.checkpoint.verify_unchanged()
    totals = count(tensors)
    left_out = (*selection.left_out(), *work.left_out, *facets.left_out, *within_tolerance(options, totals))
    diff = ModelDiff(
        *sides, options, tensors, facets.metadata, facets.training, left_out, totals, facets.classes,
        facets.graph, facets.facts, facets.parts, facets.not_expressible,
        True if old.identity and old.identity == new.identity else None, selection.nearest(left_specs, right_specs),
        work.products(left_specs, right_specs, tensors),
    )  # fmt: skip
    if place is not None:
        place.put(diff)
    return diff


def _seen_differently(old: Input, new: Input) -> bool:
    """Whether the formats differ, or codes of one side could be decoded and those of the other not."""
    left, right = old.checkpoint, new.checkpoint
    if left is None or right is None:
        return False
    return left.format != right.format or bool(left.undecoded or right.undecoded)


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


def _same_bytes(old: Input, new: Input) -> bool | None:
    """Whether two sides of which at least one could not be read have the same bytes; None where that is not known."""
    if old.identity and old.identity == new.identity:
        return True
    if isinstance(old.state, LfsPointer) and isinstance(new.state, LfsPointer):
        return old.state.oid == new.state.oid
    if old.size >= 0 and new.size >= 0 and old.size != new.size:
        return False
    states = [side.state for side in (old, new) if isinstance(side.state, NotRead)]
    if states and (old.checkpoint or new.checkpoint):
        return False  # content decides what is read
    digests = {state.digest for state in states}
    if len(digests) == 2 and all(digests):
        return False
    if old.path and new.path:
        import filecmp

        try:
            return filecmp.cmp(old.path, new.path, shallow=False)
        except OSError:
            return None
    return True if len(states) == 2 and len(digests) == 1 and all(digests) else None


def one_role(old: Specs, new: Specs) -> tuple[Specs, Specs]:
    """Both sides' specs, in which a tensor that only one of them takes for training state is a weight."""
    if old is new:
        return old, new
    apart = [name for name, spec in old.items() if name in new and new[name].role != spec.role]
    if not apart:
        return old, new
    weights = [{name: replace(side[name], role="weight") for name in apart} for side in (old, new)]
    return {**old, **weights[0]}, {**new, **weights[1]}


def _side(side: Input, specs: Mapping[str, TensorSpec], same: Side | None = None, *, readable: bool) -> Side:
    """One side; ``same`` is one of the very same specs, whose counts hold for this one."""
    if side.checkpoint is None:
        return Side(side.label, size=side.size, state=side.state, identity=side.identity)
    parameters, dtypes = (same.parameters, same.dtypes) if same else count_elements(specs)
    training = bool(side.checkpoint.training) or any(spec.role == "training" for spec in specs.values())
    return Side(
        side.label,
        side.checkpoint.format,
        side.size,
        len(specs),
        parameters,
        sum(elements for _, elements in dtypes),
        dtypes,
        side.checkpoint.problems,
        identity=side.identity,
        training=training,
        recorded=_recorded(side.checkpoint, values=readable) if training else (),
        series=tuple(side.checkpoint.series.items()),
        metadata=_metadata(side.checkpoint) if side.checkpoint.metadata else (),
    )


def _recorded(checkpoint: Checkpoint, *, values: bool) -> tuple[tuple[str, Scalar], ...]:
    from diffai.comparison.recorded import recorded

    return recorded(checkpoint, values=values)


def _metadata(checkpoint: Checkpoint) -> tuple[tuple[str, Scalar], ...]:
    from diffai.comparison.recorded import metadata

    return metadata(checkpoint)
