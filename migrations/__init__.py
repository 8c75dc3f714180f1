"""Alembic migrations; `opora migrate` runs them."""
