"""A zip that is no model and has pickles inside: no tensors, but a verdict on what loading them would do."""

from __future__ import annotations

from functools import partial

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.regions import LazyRegion, Spool
from diffai.formats.regions import read as read_region
from diffai.formats.stored import reader
from diffai.formats.torch.checkpoint import TorchCheckpoint
from diffai.formats.torch.document import Document
from diffai.formats.torch.legacy import judge_rest
from diffai.formats.torch.recognition import HEAD, pickle_start
from diffai.formats.zip import Archive
from diffai.sources.base import Source

NAME = "zip"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Never by its first bytes alone: see :func:`holds_pickles`."""
    return False


def holds_pickles(source: Source, limits: Limits = Limits()) -> bool:
    """Whether a zip has members that a pickle loader would accept, or contradicts itself, so that nobody can say."""
    spool = Spool(limits.max_spool)
    try:
        return bool(_judged(source, limits, spool).problems)
    except LimitError:
        raise
    except FormatError as error:
        return error.code.startswith("AMB") or error.code == "ZIP03"
    finally:
        spool.close()


def _judged(source: Source, limits: Limits, spool: Spool) -> Document:
    """What the pickles in all members say."""
    budget, document = Budget(limits), Document(NAME)
    archive = Archive(source, budget, spool, format=NAME)
    archive.verify()
    for member in archive.members.values():
        if not member.size:
            continue
        region = archive.open(member)
        if isinstance(region, LazyRegion):
            budget.make(region.size)
        head = read_region(region, 0, min(region.size, HEAD))
        start = pickle_start(head, region.size, named=member.name.lower().endswith((".pkl", ".pickle", ".pt", ".pth")))
        if start >= 0:
            judge_rest(region, start, budget, spool, document, what="")
    return document


def _read(checkpoint: TorchCheckpoint, limits: Limits) -> None:
    document = _judged(checkpoint.source, limits, checkpoint.spool)
    checkpoint.problems, checkpoint.safety = tuple(document.problems), document.safety


open_checkpoint, check = reader(partial(TorchCheckpoint, NAME), _read, "ZIP03")
