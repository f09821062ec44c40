"""The configuration: its records, who may change them, what is allowed."""
