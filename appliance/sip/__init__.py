"""SIP without input and output (RFC 3261 and friends): bytes, time and tokens in, bytes and events out.

The layers, each usable by itself: text (messages, addresses, bodies, descriptions, digests) and media (what a leg negotiates), transaction,
dialog, usage (what a dialog is used for) and stack, which joins them. Imports the standard library, msgspec and the scanners of media_core only.
"""
