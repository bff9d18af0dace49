"""What diffai does for users of DVC: ``diffai dvc diff``, the shell alias, pipeline stages, and reading of remotes."""
