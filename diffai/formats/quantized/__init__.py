"""Quantized tensors that are stored as several: codes, and the scales and zero points beside them.

Where a scale lies beside codes, both are one tensor of the model: the logical weight, whose elements are counted, and
which is compared decoded. Kinds: GPTQ, AWQ, bitsandbytes (NF4, FP4, INT8), compressed-tensors (packed integers,
NVFP4), MXFP4 in blocks, and any codes ``x`` with ``x_scale`` (``x_scale_inv``, ``x_zero_point``): FP8 of one scale, of
channels and of blocks, QDQ of ONNX. What such codes mean is said in part by a configuration beside the file; where
that is not here, they are left as codes, compared as bytes, and it is said why.
"""

from __future__ import annotations

from diffai.formats.quantized.configuration import NO_CONFIGURATION, Configuration, configuration
from diffai.formats.quantized.recipes import Left, Recipe, recipes
from diffai.frozen import replace
from diffai.model import Checkpoint, Codes, TensorSpec, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["QuantizedCheckpoint", "configuration_of", "quantized"]


def quantized(checkpoint: Checkpoint, configuration: Configuration) -> Checkpoint:
    """The checkpoint with its quantized tensors as the logical ones; itself where it has none.

    Raises:
        SourceError: what describes a tensor (its quant state, its shape) cannot be read.

    """
    found, left = recipes(checkpoint, configuration)
    return QuantizedCheckpoint(checkpoint, found, left) if found or left else checkpoint


class QuantizedCheckpoint(Checkpoint):
    """A checkpoint that gives the logical tensors of another, which it owns.

    Attributes:
        stored: the checkpoint with the tensors as they are stored.
        recipes: how each logical tensor is made, by name.
        left: tensors that are only codes here, by name, each with the reason.

    """

    def __init__(self, stored: Checkpoint, found: Mapping[str, Recipe], left: Mapping[str, Left]) -> None:
        self.stored, self.recipes, self.left = stored, found, left
        self.format, self.identity = stored.format, stored.identity
        self.metadata, self.training, self.classes = stored.metadata, stored.training, stored.classes
        self.series = stored.series
        self.graph, self.facts, self.parts = stored.graph, stored.facts, stored.parts
        self.requires_grad, self.asides, self.beside = stored.requires_grad, stored.asides, stored.beside
        self.not_expressible, self.problems, self.safety = stored.not_expressible, stored.problems, stored.safety
        renamed = {recipe.parts[recipe.main].name: name for name, recipe in found.items()}
        self.uses = {renamed.get(name, name): keys for name, keys in stored.uses.items()} if renamed else stored.uses
        self.undecoded = frozenset(left)
        self.tensors = self._logical()

    def _logical(self) -> dict[str, TensorSpec]:
        """Tensors in the order of what they are made of."""
        place = {recipe.parts[recipe.main].name: recipe for recipe in self.recipes.values()}
        inside = {part.name for recipe in self.recipes.values() for part in recipe.parts.values()}
        inside.update(name for recipe in self.recipes.values() for name in recipe.dropped)
        tensors: dict[str, TensorSpec] = {}
        for name, spec in self.stored.tensors.items():
            recipe = place.get(name)
            if recipe is not None:
                size = 4 * element_count(recipe.shape)
                tensors[recipe.name] = TensorSpec(
                    recipe.name, recipe.dtype, recipe.shape, size, -1, spec.file, spec.role, "F32", "", recipe.encoding
                )
            elif name in self.left and not spec.values:
                tensors[name] = replace(spec, dtype=f"{spec.dtype} codes", encoding=self.left[name].reason)
            elif name not in inside:
                tensors[name] = spec
        return tensors

    def as_codes(self, names: frozenset[str]) -> Checkpoint:
        """The same with the tensors whose codes have these names left as codes: the other side's are not decoded."""
        kept = {name: r for name, r in self.recipes.items() if r.parts[r.main].name not in names}
        parts = {part.name for name, r in self.recipes.items() if name not in kept for part in r.parts.values()}
        left = dict.fromkeys(parts & names, Left("the other side's codes cannot be decoded"))
        return QuantizedCheckpoint(self.stored, kept, {**self.left, **left})

    @property
    def random_access(self) -> bool:
        """As what it is made of."""
        return self.stored.random_access

    def made_of(self, spec: TensorSpec) -> tuple[TensorSpec, ...]:
        """Codes, scales and the rest of a logical tensor, by what they are."""
        recipe = self.recipes.get(spec.name)
        return () if recipe is None else tuple(recipe.parts[role] for role in sorted(recipe.parts))

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes of a logical tensor, or of one that it is made of, from ``offset`` on."""
        recipe = self.recipes.get(spec.name)
        if recipe is None or self.tensors[spec.name].dtype != spec.dtype:
            self.stored.read_into(self.stored.tensors[spec.name], offset, buffer)
            return
        from diffai.formats.quantized.decoding import decode_into

        decode_into(self.stored, recipe, offset, buffer)

    def codes(self, spec: TensorSpec) -> Codes | None:
        """As stored, of a tensor that is stored as one."""
        return None if spec.name in self.recipes else self.stored.codes(self.stored.tensors[spec.name])

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """As stored."""
        self.stored.read_codes_into(self.stored.tensors[spec.name], offset, buffer)

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """As stored."""
        self.stored.decode_codes(self.stored.tensors[spec.name], codes, values)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """As stored."""
        self.stored.read_file_into(file, offset, buffer)

    def verify_unchanged(self) -> None:
        """As stored."""
        self.stored.verify_unchanged()

    def close(self) -> None:
        """As stored."""
        self.stored.close()


def configuration_of(read: Callable[[str], bytes | None]) -> Configuration:
    """What the files beside a model say of its quantization; ``read`` gives a file's bytes, None = not there."""
    for name in ("config.json", "quantize_config.json", "quant_config.json"):
        data = read(name)
        found = configuration(data) if data is not None else None
        if found is not None:
            return found
    return NO_CONFIGURATION
