"""``.env`` files: a kind of its own, read by the module of INI's kin."""

from __future__ import annotations

from diffai.comparison.documents.ini_documents import read_env as read

__all__ = ["read"]
