"""Queries, one module per kind of thing; every content query takes an AccessScope."""
