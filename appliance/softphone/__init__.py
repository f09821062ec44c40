"""A small phone on the product's own SIP stack, for the self-test and the tests from end to end."""

from appliance.softphone.call import PhoneCall, PhoneError
from appliance.softphone.phone import Account, Softphone

__all__ = ["Account", "PhoneCall", "PhoneError", "Softphone"]
