"""SIP connections and datagrams, framed, and their table."""
