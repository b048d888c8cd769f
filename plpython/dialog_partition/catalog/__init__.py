"""Reading: each function asks pg_catalog or dp's own tables and returns values."""
