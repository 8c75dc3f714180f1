"""`make bench-ingest`: what it costs to make texts searchable, beside three libraries."""
