"""Routes, one module per heading of the HTTP contract."""
