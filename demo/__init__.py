"""A guided tour on the real hierarchy: ``python -m demo``."""
