"""Where the original bytes lie."""
