"""PyTorch files, read without torch and without running anything: zip, legacy, tar, TorchScript, plain pickles.

Problem codes (``check`` lists all; opening raises the first that is an error of a tensor or the container):

==== ======================================================================================================
PT01 not a torch file at all
PT02 zip directory damaged, misplaced or cut off
PT03 zip member damaged: overlap, header missing, two sizes
PT04 zip member encrypted or compressed in a way that is not read
PT05 pickle damaged or cut off
PT06 a known constructor was given nonsense
PT07 storage missing
PT08 storage or array with fewer bytes than needed
PT09 shape, strides or offset impossible, or outside the storage
PT10 construct or element type that our reader does not know (torch may)
PT11 a pickle in a pickle in a pickle
PT12 a limit was reached; the message names its key
PT13 legacy or tar container damaged
PT14 compressed data damaged, or of another size than it claims
PT15 container of another kind: old TorchScript, torch.package, torch.export
PT20 unsafe: a global outside the enumerated names, or something else done with one (never run)
PT21 builds a class that is enumerated (inert here)
PT22 bytes follow the end
PT23 two tensors of one name, or a prefix that had to stay
PT24 tensor without values (meta device)
PT25 array of no numbers
PT26 too many plain values to list; compared as a whole
PT28 read by torch.load(weights_only=True)
==== ======================================================================================================
"""

from __future__ import annotations

import gc

from diffai.errors import FormatError, LimitError, UnsupportedFormatError
from diffai.formats.base import Budget, Limits, problem_of
from diffai.formats.regions import Spool
from diffai.formats.torch import legacy, recognition, tar
from diffai.formats.torch.archive import open_archive
from diffai.formats.torch.checkpoint import TorchCheckpoint
from diffai.formats.torch.document import Document
from diffai.formats.zip_ends import ambiguous
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "torch"

recognise = recognition.recognise


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open a torch file; pickles are interpreted, no tensor is read.

    Raises:
        FormatError: damaged, or of a kind that is not read; LimitError: too large.

    """
    copy = spool(source, limits.max_spool)
    checkpoint = TorchCheckpoint(NAME, copy, limits)
    collecting = gc.isenabled()
    gc.disable()  # tens of thousands of small objects and no garbage: collecting would double the time
    try:
        _fill(checkpoint, limits, None, Document(NAME))
        return checkpoint
    except BaseException:
        checkpoint.release()
        if copy is not source:
            copy.close()
        raise
    finally:
        if collecting:
            gc.enable()


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """All problems of the file: of the container, of each tensor, and each global outside the allow-list.

    Raises:
        FormatError: it is no torch file at all (PT01).

    """
    copy = spool(source, limits.max_spool)
    checkpoint = TorchCheckpoint(NAME, copy, limits)
    found: list[Problem] = []
    document = Document(NAME)
    try:
        _fill(checkpoint, limits, found, document)
        found.extend(checkpoint.problems)
    except FormatError as error:
        if error.code == "PT01":
            raise
        found.append(problem_of(error))
        found.extend(problem for problem in document.problems if problem not in found)
    finally:
        checkpoint.release()
        if copy is not source:
            copy.close()
    return tuple(found)


def _fill(checkpoint: TorchCheckpoint, limits: Limits, collected: list[Problem] | None, document: Document) -> None:
    source, budget = checkpoint.source, Budget(limits, "PT12")
    try:
        _read(source, budget, checkpoint.spool, document)
        checkpoint.fill(document, budget, collected)
    except LimitError:
        raise
    except FormatError as error:
        document = _second_try(source, limits, document, error)
        checkpoint.fill(document, budget, collected)
    checkpoint.safety = document.safety
    known = checkpoint.tensors or document.unsafe or document.has_estimators or collected
    if document.format in ("pickle", "joblib") and not known:
        raise UnsupportedFormatError("a pickle without tensors or arrays", code="PT01", format="pickle")


def _read(source: Source, budget: Budget, unpacked: Spool, document: Document) -> None:
    head = source.read(0, recognition.HEAD)
    if tar.has_checksum(head) and not tar.is_tar(head):
        raise ambiguous("a file that begins as a tar and is something else", 0, "torch")
    if head[:4] == recognition.ZIP:
        open_archive(source, budget, unpacked, document)
    elif legacy.is_legacy(head):
        legacy.open_legacy(source, budget, unpacked, document)
    elif tar.is_tar(head):
        tar.open_tar(source, budget, unpacked, document)
    elif head[4:8] == b"PTMF":
        raise FormatError("a torch mobile flatbuffer, which is not read", code="PT15", format="torch")
    else:
        start = recognition.pickle_start(head, source.size, named=True)
        if start < 0:
            raise FormatError("not a torch file", code="PT01", offset=0, format="torch")
        legacy.open_pickle(source, budget, unpacked, document, start)


def _second_try(source: Source, limits: Limits, document: Document, error: FormatError) -> Document:
    """Torch's own restricted loader, where that is allowed, could help, and nothing dangerous was met."""
    from diffai.formats.torch import fallback

    if error.code not in fallback.HELPED or document.unsafe:
        raise error
    if not limits.allow_torch or not fallback.available():
        raise fallback.with_hint(error)
    return fallback.load(source, error)
