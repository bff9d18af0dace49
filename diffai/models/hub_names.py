"""A GGUF under the names, and in the order of rows, that the model it was made from has on the hub.

Names and changes of values are those of llama.cpp's ``convert_hf_to_gguf.py``: rows of q and k of Llama and Mistral
are permuted (each by its own number of heads), the weights of Gemma's norms are one greater, linear layers of GPT-2 are
transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock

from diffai.frozen import frozen, replace
from diffai.model import Checkpoint, Codes, Scalar, TensorSpec

_MOST_TRANSPOSED = 64 << 20  # bytes of one tensor, which is held whole

_LLAMA = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
_GPT2 = {
    "token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "attn_norm": "ln_1", "ffn_norm": "ln_2",
    "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
}  # fmt: skip
_BERT = {
    "token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
    "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm",
    "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
}  # fmt: skip

#: By ``general.architecture`` (Mistral's is ``llama``): what blocks are called on the hub, parts, and prefixes that
#: some of its models have.
_ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, str], tuple[str, ...]]] = {
    "llama": ("model.layers.", _LLAMA, ("",)),
    "qwen2": ("model.layers.", _LLAMA, ("",)),
    "gemma": ("model.layers.", _LLAMA, ("",)),
    "gpt2": ("h.", _GPT2, ("", "transformer.")),
    "bert": ("encoder.layer.", _BERT, ("", "bert.")),
}  # fmt: skip

_NAME = re.compile(r"(?:blk\.(?P<block>\d{1,6})\.)?(?P<part>\w+)\.(?P<end>weight|bias)")


@frozen
class _Place:
    """Where a tensor of the hub lies, and what was done to it (``heads``: those whose rows are permuted)."""

    stored: TensorSpec
    heads: int = 0
    plus_one: bool = False
    transposed: bool = False

    @property
    def plain(self) -> bool:
        """Whether the stored bytes are those of the hub's tensor."""
        return not (self.heads or self.plus_one or self.transposed)


def under_hub_names(stored: Checkpoint, others: Mapping[str, TensorSpec]) -> Checkpoint:
    """A GGUF of a known architecture as the hub has it, where that brings more names together with ``others``.

    Any other checkpoint is given back as it is.
    """
    architecture = stored.metadata.get("general.architecture")
    if not stored.format.endswith("gguf") or not isinstance(architecture, str):
        return stored
    known = _ARCHITECTURES.get(architecture)
    if known is None:
        return stored
    places = max(
        (_places(stored, architecture, prefix) for prefix in known[2]), key=lambda found: len(found.keys() & others)
    )
    if len(places.keys() & others) <= len(stored.tensors.keys() & others):
        return stored
    return HubCheckpoint(stored, places, architecture)


def _places(stored: Checkpoint, architecture: str, prefix: str) -> dict[str, _Place]:
    blocks, parts, _ = _ARCHITECTURES[architecture]
    places: dict[str, _Place] = {}
    for name, spec in stored.tensors.items():
        match = _NAME.fullmatch(name)
        part = parts.get(match["part"]) if match else None
        if match is None or part is None:
            places[name] = _Place(spec)
            continue
        block = f"{blocks}{match['block']}." if match["block"] is not None else ""
        head = "" if part == "lm_head" else prefix
        place = _place(stored.metadata, spec, architecture, match["part"], match["end"])
        places[f"{head}{block}{part}.{match['end']}" if place is not None else name] = place or _Place(spec)
    return places


def _place(
    metadata: Mapping[str, Scalar], spec: TensorSpec, architecture: str, part: str, end: str
) -> _Place | None:
    """How a tensor was stored; None where it cannot be put back."""
    if architecture == "llama" and part in ("attn_q", "attn_k"):
        heads = metadata.get("llama.attention.head_count")
        own = metadata.get("llama.attention.head_count_kv", heads) if part == "attn_k" else heads
        rows = spec.shape[0] if spec.shape else 0
        if type(own) is not int or own < 1 or rows % (2 * own):
            return None
        return _Place(spec, heads=own)
    if architecture == "gemma" and part.endswith("norm") and end == "weight":
        return _Place(spec, plus_one=True) if spec.dtype == "F32" else None
    if architecture == "gpt2" and end == "weight" and part in ("attn_qkv", "attn_output", "ffn_up", "ffn_down"):
        fits = len(spec.shape) == 2 and spec.nbytes <= _MOST_TRANSPOSED
        return _Place(spec, transposed=True) if fits else None
    return _Place(spec)


class HubCheckpoint(Checkpoint):
    """The tensors of a GGUF, which it owns, as :class:`_Place` says."""

    def __init__(self, stored: Checkpoint, places: Mapping[str, _Place], architecture: str) -> None:
        self.stored, self._places = stored, places
        self.format, self.identity, self.metadata = stored.format, stored.identity, stored.metadata
        self.metadata_types = stored.metadata_types
        self.asides, self.parts, self.problems = stored.asides, stored.parts, stored.problems
        self.not_expressible, self.safety = stored.not_expressible, stored.safety
        self.tensors = {name: self._spec(name, place) for name, place in places.items()}
        done = [
            text
            for text, some in (
                ("rows of q and k in its order", any(place.heads for place in places.values())),
                ("weights of norms less one", any(place.plus_one for place in places.values())),
                ("linear layers transposed", any(place.transposed for place in places.values())),
            )
            if some
        ]
        self.facts = {**stored.facts, "names of the GGUF": ", ".join([f"as {architecture} on the hub", *done])}
        self._lock = Lock()
        self._held: tuple[str, bytes] = ("", b"")

    @staticmethod
    def _spec(name: str, place: _Place) -> TensorSpec:
        if place.plain:
            return replace(place.stored, name=name)
        shape = place.stored.shape[::-1] if place.transposed else place.stored.shape
        return replace(place.stored, name=name, shape=shape, offset=-1)

    @property
    def random_access(self) -> bool:
        """As the file."""
        return self.stored.random_access

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with bytes of the hub's tensor."""
        place = self._places[spec.name]
        if place.plain:
            self.stored.read_into(place.stored, offset, buffer)
        elif place.transposed:
            buffer[:] = memoryview(self._transposed(spec.name, place))[offset : offset + len(buffer)]
        elif place.heads:
            self._put_back(place, offset, buffer)
        else:
            self._less_one(place, offset, buffer)

    def _put_back(self, place: _Place, offset: int, buffer: memoryview) -> None:
        """Rows of whole heads: (heads, half, 2) on the file's side are (heads, 2, half) on the hub's."""
        import numpy as np

        head = place.stored.nbytes // place.heads
        half = place.stored.shape[0] // place.heads // 2
        for number in range(offset // head, -(-(offset + len(buffer)) // head)):
            data = np.empty(head, np.uint8)
            self.stored.read_into(place.stored, number * head, data.data)
            rows = np.ascontiguousarray(data.reshape(half, 2, -1).swapaxes(0, 1)).reshape(-1)
            start, stop = max(offset - number * head, 0), min(offset + len(buffer) - number * head, head)
            at = number * head + start - offset
            buffer[at : at + stop - start] = rows[start:stop].data

    def _less_one(self, place: _Place, offset: int, buffer: memoryview) -> None:
        import numpy as np

        first, last = offset // 4, -(-(offset + len(buffer)) // 4)
        data = np.empty(last - first, "<f4")
        self.stored.read_into(place.stored, first * 4, data.view(np.uint8).data)
        data -= np.float32(1)
        buffer[:] = data.view(np.uint8)[offset - first * 4 :][: len(buffer)].data

    def _transposed(self, name: str, place: _Place) -> bytes:
        import numpy as np

        with self._lock:
            if self._held[0] != name:
                rows, columns = place.stored.shape
                data = np.empty(place.stored.nbytes, np.uint8)
                self.stored.read_into(place.stored, 0, data.data)
                turned = data.reshape(rows, columns, -1).swapaxes(0, 1)
                self._held = (name, np.ascontiguousarray(turned).tobytes())
            return self._held[1]

    def codes(self, spec: TensorSpec) -> Codes | None:
        """As the file, of what lies as it does there."""
        place = self._places[spec.name]
        return self.stored.codes(place.stored) if place.plain else None

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """As the file."""
        self.stored.read_codes_into(self._places[spec.name].stored, offset, buffer)

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """As the file."""
        self.stored.decode_codes(self._places[spec.name].stored, codes, values)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """As the file."""
        self.stored.read_file_into(file, offset, buffer)

    def verify_unchanged(self) -> None:
        """As the file."""
        self.stored.verify_unchanged()

    def close(self) -> None:
        """As the file."""
        self.stored.close()
