"""Every error a user can meet: one base class, a sentence for the user, an exit code.

Exit codes follow git: 0 success, 1 "there is a difference" when asked, 2 trouble, 130 interrupted.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_DIFFERENT = 1
EXIT_TROUBLE = 2
EXIT_INTERRUPTED = 130


class DiffaiError(Exception):
    """Base of all expected errors; ``str(error)`` is one sentence that a user can act on."""

    exit_code = EXIT_TROUBLE


class UsageError(DiffaiError):
    """The words on the command line, or a configuration value, do not make sense together."""


class SourceError(DiffaiError):
    """Bytes cannot be had: missing, no permission, not in the repository, changed while being read."""


class FormatError(DiffaiError):
    """Bytes are there but are not the model they should be.

    Attributes:
        reason: one clause, without the file's name.
        code: stable number of the reason, such as ``ST07`` (see docs/reference.md), "" when it has none.
        tensor: the tensor it was met at, "" when it concerns the whole file.
        offset: byte offset in the file, -1 when it has no place.
        format: the format being read, such as ``safetensors``; "" when none was recognised.
    """

    def __init__(
        self, reason: str, *, code: str = "", tensor: str = "", offset: int = -1, format: str = ""
    ) -> None:
        """Keep the parts apart, so that every output can arrange them in its own way."""
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.tensor = tensor
        self.offset = offset
        self.format = format


class UnsupportedFormatError(FormatError):
    """A model file of a kind that diffai does not read, or no model at all."""


class LimitError(FormatError):
    """A safety limit was reached; the text names the key or option that lifts it."""
