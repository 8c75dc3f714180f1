"""What a search costs, by stage and over HTTP, beside two peers: `make bench-retrieval`."""
