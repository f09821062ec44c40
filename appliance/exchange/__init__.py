"""The configuration as text and tables, out and in again."""
