"""Documents beside models: configurations, results, tables and logs, compared by what they say; see :mod:`.table`."""
