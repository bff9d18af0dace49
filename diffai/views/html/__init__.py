"""The page: one self-contained HTML file of a comparison, for a browser without a network."""
