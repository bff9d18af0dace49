"""From a model diff to text: nothing here opens a file."""
