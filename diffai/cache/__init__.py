"""Summaries by content, kept below the common git directory; deleting them loses nothing."""
