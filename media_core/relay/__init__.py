"""RTP and RTCP between legs."""
