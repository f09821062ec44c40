"""Who is at the page: sessions, what they may see, and what outlives them."""
