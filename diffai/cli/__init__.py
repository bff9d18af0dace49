"""The command line: one file a command, each maps options, calls one function, returns an exit code."""
