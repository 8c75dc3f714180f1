"""PostgreSQL: the truth. Models, sessions and the queries that the use cases need."""
