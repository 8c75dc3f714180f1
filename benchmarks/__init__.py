"""The commands behind the figures in the docs; each prints its table and what it ran on."""
