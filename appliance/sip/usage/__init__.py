"""What a dialog is used for (RFC 3261 §12-15, RFC 5057), one file each.

session is what the parts of one INVITE usage share; acks, ending, refresh, early and offers are its parts, each of which knows only those
before it; invite puts them together and is what the stack and survival see.
"""
