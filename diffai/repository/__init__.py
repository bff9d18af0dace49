"""git itself: one runner, one object reader, trees of a commit, the index and the work tree."""
