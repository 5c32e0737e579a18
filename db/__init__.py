"""The catalog (SQLAlchemy models, named queries and writes) and the store of immutable mask files."""
