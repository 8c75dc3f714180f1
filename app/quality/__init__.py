"""Measuring how well Opora finds."""
