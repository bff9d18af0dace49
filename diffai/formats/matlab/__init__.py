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

from diffai.errors import FormatError
from diffai.formats.base import Budget, Limits
from diffai.formats.matlab import level4, level5
from diffai.formats.matlab.variables import MatlabCheckpoint, wrong
from diffai.formats.stored import reader

NAME = "matlab"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a MATLAB file before 7.3: the marks of version 5, or a header that only version 4 has."""
    return level5.begins(head) or level4.begins(head, size)


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


open_checkpoint, check = reader(MatlabCheckpoint, _fill, "MA04")
