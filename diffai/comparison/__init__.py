"""From two opened checkpoints to one model diff: pairing, tensors, models, directories."""
