"""The local store: a SQLite catalog beside an append-only file of vectors."""
