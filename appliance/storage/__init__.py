"""Databases and files on disk: open, migrate, copy aside, seal, write whole."""
