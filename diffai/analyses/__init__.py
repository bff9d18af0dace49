"""What a comparison means: one file a family, each a pure function of what it declares, all listed in one table."""
