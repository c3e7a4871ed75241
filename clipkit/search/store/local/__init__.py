"""The local vector store: a SQLite catalog beside an append-only file of vectors."""
