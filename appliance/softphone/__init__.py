"""A small phone on the product's own SIP stack, for the self-test and the tests from end to end."""

from appliance.softphone.phone import Account, PhoneCall, PhoneError, Softphone

__all__ = ["Account", "PhoneCall", "PhoneError", "Softphone"]
