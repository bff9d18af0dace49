"""Which files of a snapshot are one model, and how it is opened."""
