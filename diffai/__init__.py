"""diffai makes git and DVC understand machine-learning model files."""
