"""What a save does: batches, forms that were drawn earlier, undo."""
