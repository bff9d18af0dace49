"""The model itself: what kind it is, its description, and the parts of it that are read in a way of their own."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.base import Limits
from diffai.formats.coreml.checkpoint import CoremlCheckpoint, Ensemble, described, is_message, layers, walk
from diffai.formats.coreml.program import read_program
from diffai.formats.coreml.records import Record
from diffai.formats.protobuf import Message
from diffai.formats.stored import reader

_NETWORKS = ("NeuralNetwork", "NeuralNetworkClassifier", "NeuralNetworkRegressor")
_FRAME = ("specificationVersion", "description", "isUpdatable")


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
