"""What bytes mean: one file (torch: one package) a format, one readable table in ``registry``."""
