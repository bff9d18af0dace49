"""Where bytes come from: files, git blobs, LFS objects, memory."""
