"""The ground: plain types, ports, errors and pure functions. Imports nothing from other floors."""
