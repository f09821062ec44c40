"""What lies in memory that several processes map."""
