"""A tree of files at one moment with its stores: pointers are followed."""
