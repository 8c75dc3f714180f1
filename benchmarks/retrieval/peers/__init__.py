"""Two libraries for the same work, each behind the plainest HTTP server; they run in peers-env."""
