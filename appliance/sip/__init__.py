"""SIP without input and output (RFC 3261 and friends): bytes, time and tokens in, bytes and events out.

The layers, each usable by itself: message and sdp (text), digest and offer_answer (rules), transaction, dialog, session
(state machines) and stack, which joins them. Imports the standard library, msgspec and the scanners of media_core only.
"""
