"""What a policy is, and whether a model diff keeps it. Knows no repository, opens no file, prints nothing."""
