"""Core ML models: ``.mlmodel``, and the one model of an ``.mlpackage`` with its file of weights.

Neural networks, ML programs, tree ensembles, linear models and all others of the specification, and pipelines of them.
Quantized, palettized and sparse weights are compared decoded. Specification: https://apple.github.io/coremltools/mlmodel.

==== ======================================================================================================
code reason
==== ======================================================================================================
CM01 the file is no protobuf message of a model, or is cut off
CM02 the file holds no model of a kind that is known
CM03 weights whose bytes, shape and quantization do not fit one another
CM04 a tree whose nodes do not exist, or lead in a circle
CM05 a place in the file of weights where there are none
CM06 the file of weights leads out of the model's folder, or is not here (``check`` only)
CM07 the model (without weights) costs more to read than the limits allow
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.base import Limits
from diffai.formats.coreml.checkpoint import NAME, CoremlCheckpoint, Ensemble, described, is_message, layers, walk
from diffai.formats.coreml.program import read_program
from diffai.formats.coreml.records import Record
from diffai.formats.protobuf import Message
from diffai.formats.stored import reader

__all__ = ["NAME", "check", "open_checkpoint", "recognise"]

_NEWEST = 30
_NETWORKS = ("NeuralNetwork", "NeuralNetworkClassifier", "NeuralNetworkRegressor")
_FRAME = ("specificationVersion", "description", "isUpdatable")


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a model: a version, then a description that begins with the name of an input."""
    if len(head) < 8 or head[0] != 0x08 or not 1 <= head[1] <= _NEWEST or head[2] != 0x12:
        return False
    if name.lower().endswith(".mlmodel"):
        return True
    at = _behind(head, 3)
    if head[at : at + 1] != b"\x0a":
        return False
    at = _behind(head, at + 1)
    length = head[at + 1] if at + 1 < len(head) else 0
    label, after = head[at + 2 : at + 2 + length], head[at + 2 + length : at + 3 + length]
    return head[at : at + 1] == b"\x0a" and label.decode("latin-1").isprintable() and after in (b"\x12", b"\x1a")


def _behind(head: bytes, at: int) -> int:
    """Where a base-128 number that begins at a byte ends."""
    stop = min(at + 10, len(head))
    while at < stop and head[at] & 0x80:
        at += 1
    return at + 1


def _read(checkpoint: CoremlCheckpoint, limits: Limits) -> None:
    checkpoint.budget.code = "CM07"
    source = checkpoint.source
    _model(checkpoint, Record(Message(source, 0, source.size), "Model", checkpoint.budget), "")
    for name, count in sorted(checkpoint.operators.items()):
        checkpoint.inputs[f"operator {name}"] = str(count)


def _model(checkpoint: CoremlCheckpoint, model: Record, path: str) -> None:
    """A model; those of a pipeline have their names before all that is in them."""
    kinds = [name for name in model.types if name not in _FRAME]
    if len(kinds) != 1:
        raise FormatError("holds no model" if not kinds else "holds several models", code="CM02", offset=model.at)
    checkpoint.inputs[f"{path}specification version"] = str(model.number("specificationVersion"))
    checkpoint.inputs[f"{path}model"] = kinds[0]
    if model.number("isUpdatable"):
        checkpoint.inputs[f"{path}updatable"] = "yes"
    description = model.record("description")
    if description is not None:
        _description(checkpoint, description, path)
    if kinds[0].startswith("field "):
        raise FormatError(f"holds a model of kind {kinds[0][6:]}, which is not known", code="CM02", offset=model.at)
    for content in model.records(kinds[0]):
        if not _special(checkpoint, content, path.removesuffix(".")):
            walk(checkpoint, content, path.removesuffix("."), lambda part, below: _special(checkpoint, part, below))


def _special(checkpoint: CoremlCheckpoint, record: Record, path: str) -> bool:
    """Take in a message that has a way of its own, and say so."""
    prefix = f"{path}." if path else ""
    if record.kind == "Pipeline":
        names = record.texts("names")
        for number, model in enumerate(record.records("models")):
            _model(checkpoint, model, f"{prefix}{names[number] if number < len(names) else f'model {number}'}.")
    elif record.kind in _NETWORKS:
        layers(checkpoint, record, prefix)
        for name in record.types:
            if name != "layers":
                _rest(checkpoint, record, name, prefix)
    elif record.kind == "TreeEnsembleParameters":
        Ensemble(checkpoint, record, prefix)
    elif record.kind == "MILSpec.Program":
        read_program(checkpoint, record, prefix)
    else:
        return False
    return True


def _rest(checkpoint: CoremlCheckpoint, record: Record, name: str, prefix: str) -> None:
    """What a network has beside its layers: labels, preprocessing, how it is updated."""
    kind = record.types[name]
    if is_message(kind):
        for number, part in enumerate(record.records(name)):
            checkpoint.note(f"{prefix}{name}" + (f".{number}" if kind.endswith("*") else ""), described(part))
    else:
        checkpoint.note(f"{prefix}{name}", record.scalar(name))


def _description(checkpoint: CoremlCheckpoint, description: Record, path: str) -> None:
    """Inputs and outputs as lines of the graph, what people wrote as metadata."""
    for field in ("input", "output", "state", "trainingInput"):
        for feature in description.records(field):
            type_ = feature.record("type")
            said = described(type_) if type_ is not None else "unknown"
            checkpoint.inputs[f"{path}{field} {feature.text('name')}"] = said
            if feature.text("shortDescription"):
                checkpoint.note(f"{path}{field} {feature.text('name')}", feature.text("shortDescription"))
    for name in ("predictedFeatureName", "predictedProbabilitiesName", "defaultFunctionName"):
        if description.text(name):
            checkpoint.inputs[f"{path}{name}"] = description.text(name)
    metadata = description.record("metadata")
    for name in metadata.types if metadata is not None else ():
        if name == "userDefined" and metadata is not None:
            for entry in metadata.records(name):
                checkpoint.note(f"{path}{entry.text('key')}", entry.text("value"))
        elif metadata is not None:
            checkpoint.note(f"{path}{name}", metadata.scalar(name))


open_checkpoint, check = reader(CoremlCheckpoint, _read, "CM01", missing="CM06")
