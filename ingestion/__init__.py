"""The worker's door: jobs that turn accepted files into searchable chunks."""
