"""What the configuration beside a model says of its quantization."""

from __future__ import annotations

from diffai.formats.strict_json import MalformedError, load
from diffai.frozen import frozen


@frozen
class Configuration:
    """What a model's configuration says of its quantization; "" and 0 = nothing.

    Attributes:
        method: ``gptq``, ``awq``, ``compressed-tensors``, ``fp8``, ...
        layout: ``gptq`` or ``gptq_v2`` of GPTQ; ``gemm``, ``gemv`` of AWQ.
        bits: of a code.
        block: rows and columns that share a scale.
        group: inputs that share a scale; -1 = all of a row.

    """

    method: str = ""
    layout: str = ""
    bits: int = 0
    block: tuple[int, int] = (0, 0)
    group: int = 0

    @property
    def text(self) -> str:
        """All of it, for an identity."""
        return f"{self.method}/{self.layout}/{self.bits}/{self.group}/{self.block[0]}x{self.block[1]}"


NO_CONFIGURATION = Configuration()


def configuration(data: bytes) -> Configuration | None:
    """What a JSON file says of quantization; None where it says nothing (or is none)."""
    try:
        told = load(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, MalformedError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    inner = told.get("quantization_config", told)
    if not isinstance(inner, dict):
        return None
    bits, group = inner.get("bits", inner.get("w_bit")), inner.get("group_size", inner.get("q_group_size"))
    method = inner.get("quant_method") or ("gptq" if "desc_act" in inner else "awq" if "w_bit" in inner else "")
    if not isinstance(method, str) or not method:
        return None
    layout = inner.get("checkpoint_format", "gptq") if method == "gptq" else inner.get("version", "gemm")
    block = inner.get("weight_block_size")
    sizes = tuple(block) if isinstance(block, list) and [type(n) for n in block] == [int, int] else (0, 0)
    return Configuration(
        method, str(layout).lower(), bits if type(bits) is int else 0, (max(sizes[0], 0), max(sizes[1], 0)),
        group if type(group) is int else 0,
    )  # fmt: skip
