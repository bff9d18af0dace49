"""diffai makes git and DVC understand machine-learning model files.

The Python API is re-exported from :mod:`diffai.api` on first use, so that importing the package loads no numpy:

>>> import diffai
>>> import numpy as np
>>> diff = diffai.compare({"w": np.zeros(3, "f4")}, {"w": np.ones(3, "f4")})
>>> diff.totals.changed
1
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from diffai.api import (
        CompareOptions,
        DiffaiError,
        DirectoryDiff,
        ModelDiff,
        TensorChange,
        change_list,
        compare,
        compare_documents,
        compare_trees,
        history,
        open_checkpoint,
        render_text,
        report,
    )
    from diffai.version import __version__

__all__ = [
    "CompareOptions",
    "DiffaiError",
    "DirectoryDiff",
    "ModelDiff",
    "TensorChange",
    "__version__",
    "change_list",
    "compare",
    "compare_documents",
    "compare_trees",
    "history",
    "open_checkpoint",
    "render_text",
    "report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from diffai import version

        return version.__version__
    if name in __all__:
        from diffai import api

        return getattr(api, name)
    raise AttributeError(f"module 'diffai' has no attribute {name!r}")
