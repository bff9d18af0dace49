"""All that is known of DVC's storage: pointers, cache, manifests, workspace, remotes."""
