"""Pages of records, on what the records declare."""
