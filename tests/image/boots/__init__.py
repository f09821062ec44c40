"""Tests that start boxes in an emulator: `make image-test`."""
