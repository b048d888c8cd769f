"""Planning: pure functions from what is and what shall be to steps of operations."""
