"""Files become text with structure: one module per family, run in a confined child process."""
