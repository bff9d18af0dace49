"""Where the content behind a pointer is kept: git-LFS, git-annex, DVC."""
