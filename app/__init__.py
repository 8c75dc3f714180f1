"""Opora: grounded, cited answers from a company's own documents."""

__version__ = "0.1.0"
