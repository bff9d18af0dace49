"""The numeric core: dtypes, streaming in blocks, statistics, deltas, casts, digests."""
