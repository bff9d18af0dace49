"""MATLAB files of versions 4, 5, 6 and 7 (``.mat``); version 7.3 is HDF5 and read by :mod:`diffai.formats.hdf5`.

Cells, structs and objects become dotted names whose numbers count from 1, as MATLAB counts (``net.layers.2.weights``
is ``net.layers{2}.weights``). Function handles and opaque objects (tables, strings, classes) are named, never built.
Specification: MAT-File Format, The MathWorks.

==== ======================================================================================================
code reason
==== ======================================================================================================
MA01 no header of version 4 or 5, or numbers of a machine that is not read (VAX, Cray)
MA02 ends inside an element, or an element reaches past the one around it
MA03 damaged: an element of an unknown type, or not of the type that its place needs
MA04 an impossible shape, or values that do not fit it
MA05 compressed data that is damaged
MA06 two variables of one name
==== ======================================================================================================
"""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.matlab import level4, level5
from diffai.formats.matlab.variables import MatlabCheckpoint, wrong
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "matlab"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a MATLAB file before 7.3: the marks of version 5, or a header that only version 4 has."""
    return level5.begins(head) or level4.begins(head, size)


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open a file; headers are read, compressed variables are unpacked into a private temporary file.

    Raises:
        FormatError: with code, variable and offset (table above); LimitError: over a limit.

    """
    given = source
    source = spool(source, limits.max_spool)
    checkpoint = MatlabCheckpoint(source, limits.max_spool)
    try:
        _fill(checkpoint, limits)
    except BaseException:
        checkpoint.spool.close()
        if source is not given:
            source.close()
        raise
    return checkpoint


def _fill(checkpoint: MatlabCheckpoint, limits: Limits) -> None:
    head = checkpoint.source.read(0, 128)
    budget = Budget(limits)
    try:
        if level5.begins(head):
            level5.read_variables(checkpoint, budget)
        elif level4.begins(head, checkpoint.source.size):
            level4.read_variables(checkpoint, budget)
        else:
            raise wrong("has no header of a MATLAB file", "MA01", offset=0)
    except RecursionError as error:
        raise wrong("is nested too deeply", "MA03") from error
    except FormatError as error:
        error.format = NAME
        error.code = error.code or ("MA06" if error.reason == "stands twice" else "MA04")
        raise


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """The first structural problem.

    Raises:
        LimitError: over a limit, so that nothing was checked.

    """
    checkpoint = MatlabCheckpoint(spool(source, limits.max_spool), limits.max_spool)
    try:
        _fill(checkpoint, limits)
    except LimitError:
        raise
    except FormatError as error:
        return (Problem(error.code, "error", error.reason, error.tensor, error.offset),)
    finally:
        checkpoint.spool.close()
    return ()
