"""The gate: which models a commit or a range of commits changes, and whether the policy lets them pass."""
