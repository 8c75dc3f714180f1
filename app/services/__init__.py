"""The use cases: what Opora does, in terms of ports."""
