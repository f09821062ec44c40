"""What of a session description is negotiated: negotiation for one leg, a file for each kind of media security (sdes, plain), and where
media may be sent (address)."""
