"""Between the flows of the media core, the clock and the SIP stack."""
