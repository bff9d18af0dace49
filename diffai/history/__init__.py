"""A model through its commits: what each commit did to it, and which commit each tensor comes from.

``diffai.history(repository, path)`` is the function :func:`diffai.history.python.history`, whichever of the two Python
finds under that name: this package can be called.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _CallablePackage(type(sys)):  # type: ignore[misc]
    """The package, which is a function as well."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See :func:`diffai.history.python.history`."""
        from diffai.history.python import history

        return history(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
