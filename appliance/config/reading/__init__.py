"""How records are looked at: found, listed, told apart in words."""
