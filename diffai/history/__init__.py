"""A model through its commits: what each commit did to it, and which commit each tensor comes from."""
