"""What the SQL functions call: read, plan, execute. One function each, of the same name and parameters."""
