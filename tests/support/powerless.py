"""Root without root's right to pass over permissions, so that tests about them say the same for every user."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2  # capabilities(7)
_PASS_OVER = (_DAC_OVERRIDE, _DAC_READ_SEARCH)
_DROP_BOUNDING = 24  # PR_CAPBSET_DROP of prctl(2)
_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop() -> None:
    """For ``subprocess``' ``preexec_fn``: what is then executed obeys permissions, for good."""
    if os.geteuid() == 0:
        for capability in _PASS_OVER:
            if _libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@contextmanager
def powerless() -> Iterator[None]:
    """This thread obeys permissions; programs that it starts do not, see :func:`drop`."""
    if os.geteuid() != 0:
        yield
        return
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if not hasattr(_libc, "capget") or _libc.capget(ctypes.byref(header), sets):
        pytest.skip("root passes over permissions here, and cannot give up doing so")
    before = sets[0].effective
    sets[0].effective &= ~sum(1 << capability for capability in _PASS_OVER)
    assert _libc.capset(ctypes.byref(header), sets) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert _libc.capset(ctypes.byref(header), sets) == 0
