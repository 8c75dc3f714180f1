"""The tools: each engine implements a port of app.domain.ports."""
