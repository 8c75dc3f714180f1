"""The chat model: its client, the servers that Opora starts, and the files that they load."""
