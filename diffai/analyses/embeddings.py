"""Which tensors are embeddings, which of their rows belong together, and what the rows stand for."""

from __future__ import annotations

import re

from diffai.analyses.beside import json_object
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.tensors.dtypes import Array
from diffai.tensors.reading import has_numbers, is_matrix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffai.analyses.context import Context, Which

TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model")
"""Files beside a model that say what the rows of its embedding stand for, the best first."""

_EMBEDDING = re.compile(
    r"(.*_)?(embed|embedding|embeddings|embedder|embd|emb|wte|wpe|lookup)(_(tokens|in|out|words?|weight))?|shared"
)
_MOST_TOKENS = 1_000_000


@frozen
class Embedding:
    """An embedding of both sides, with the same width.

    Attributes:
        change: the tensor.
        rows: of both sides.
        width: elements of a row.
    """

    change: TensorChange
    rows: tuple[int, int]
    width: int


def is_embedding(name: str) -> bool:
    """Whether a tensor is called like an embedding: ``model.embed_tokens.weight``, ``wte.weight``, ``token_embd``."""
    parts = name.lower().split(".")
    own = parts[-2] if len(parts) > 1 and parts[-1] in ("weight", "embedding", "embeddings", "w") else parts[-1]
    if own in ("weight", "w"):
        return False
    return _EMBEDDING.fullmatch(own) is not None or (parts[-1] in ("embedding", "embeddings") and len(parts) > 1)


def embeddings(diff: ModelDiff) -> list[Embedding]:
    """The embeddings that both sides have in one width, in natural order."""
    found = []
    for change in diff.tensors:
        old, new = change.old, change.new
        if old is None or new is None or not is_embedding(change.name) or new.alias_of:
            continue
        if len(old.shape) != 2 or len(new.shape) != 2 or old.shape[1] != new.shape[1]:
            continue
        if is_matrix(old) and is_matrix(new) and has_numbers(old):
            found.append(Embedding(change, (old.shape[0], new.shape[0]), new.shape[1]))
    return found


def why_none(diff: ModelDiff) -> str:
    """Why there is no embedding to compare."""
    named = [change for change in diff.tensors if change.role == "weight" and is_embedding(change.name)]
    if not named:
        return "no embedding in either model"
    return f"no embedding that both sides have in one width ({named[0].name})"


def pairs_of_rows(embedding: Embedding, old: Sequence[str], new: Sequence[str]) -> tuple[Array, Array, bool]:
    """Rows of both sides that stand for the same: by token where both sides' are known and stand elsewhere, else by
    their numbers. The third says whether by token.
    """
    import numpy as np

    common = min(embedding.rows)
    known = len(old) >= embedding.rows[0] and len(new) >= embedding.rows[1]
    if not known or list(old[:common]) == list(new[:common]):
        return np.arange(common), np.arange(common), False
    place = {token: row for row, token in enumerate(old[: embedding.rows[0]])}
    pairs = [(place[token], row) for row, token in enumerate(new[: embedding.rows[1]]) if token in place]
    pairs.sort()
    return np.array([a for a, _ in pairs], np.int64), np.array([b for _, b in pairs], np.int64), True


def tokens(context: Context, which: Which) -> tuple[str, ...]:
    """What the rows of the word embedding of one side stand for, by number; () where nothing beside it says so."""
    for name in TOKENIZERS:
        data = context.sibling(which, name)
        if data is not None:
            found = _READERS[name](data)
            if found:
                return found
    return ()


def _tokenizer_json(data: bytes) -> tuple[str, ...]:
    """``tokenizer.json`` of Hugging Face: a vocabulary by token or as a list of pieces, and tokens added to it."""
    told = json_object(data)
    model = told.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    found: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        found = {number: token for token, number in vocabulary.items() if type(number) is int}
    elif isinstance(vocabulary, list):
        found = {n: row[0] for n, row in enumerate(vocabulary) if isinstance(row, list) and row and type(row[0]) is str}
    added = told.get("added_tokens")
    for row in added if isinstance(added, list) else ():
        if isinstance(row, dict) and type(row.get("id")) is int and type(row.get("content")) is str:
            found[row["id"]] = row["content"]
    return _in_order(found)


def _vocab_json(data: bytes) -> tuple[str, ...]:
    """``vocab.json``: numbers by token."""
    return _in_order({number: token for token, number in json_object(data).items() if type(number) is int})


def _vocab_txt(data: bytes) -> tuple[str, ...]:
    """``vocab.txt`` of BERT: a token a line."""
    return tuple(data.decode("utf-8", "replace").rstrip("\n").split("\n"))[:_MOST_TOKENS]


def _sentencepiece(data: bytes) -> tuple[str, ...]:
    """``tokenizer.model`` of SentencePiece: a message whose fields 1 are pieces, each with its text in field 1."""
    found: list[str] = []
    for number, piece in _fields(data):
        if number == 1 and len(found) < _MOST_TOKENS:
            texts = [text for inner, text in _fields(piece) if inner == 1]
            found.append(texts[0].decode("utf-8", "replace") if texts else "")
    return tuple(found)


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Numbers and payloads of the fields of a message that have a length; what is no message ends the list."""
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                break
            found.append((key >> 3, data[at : at + size]))
            at += size
        else:
            break
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            break
        shift += 7
    return value, at


def _in_order(found: Mapping[int, str]) -> tuple[str, ...]:
    """Tokens by number, "" for numbers that have none; () where numbers lie far apart."""
    numbers = [number for number in found if 0 <= number < _MOST_TOKENS]
    if not numbers:
        return ()
    return tuple(found.get(number, "") for number in range(max(numbers) + 1))


_READERS = {
    "tokenizer.json": _tokenizer_json, "vocab.json": _vocab_json, "vocab.txt": _vocab_txt,
    "tokenizer.model": _sentencepiece,
}  # fmt: skip
