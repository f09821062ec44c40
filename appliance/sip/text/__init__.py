"""Text that is read and written: messages, addresses, bodies, session descriptions, digests. Pure, usable by themselves."""
