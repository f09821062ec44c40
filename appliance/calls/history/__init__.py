"""What happened in a call: its story, and what is told from it. Pure."""
