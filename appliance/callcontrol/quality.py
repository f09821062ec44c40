"""Which of what the media core tells is a matter of security. Pure: the core's events in, sentences out.

Packets that fail authentication count only from FORGED_FEW on: those in flight while keys change are nobody's fault.
"""

from __future__ import annotations

import media_core
from appliance.callcontrol.api import Party

FORGED_FEW = 20
MIXED_CHANGES = 5  # of the stream within a second: there are two of them


def warning(event: media_core.Event, who: Party, secure: bool, address: str) -> tuple[str, str, str] | None:
    """Kind, source host and sentence of a security event. `address`: where the phone's media comes from; `secure`: it is encrypted."""
    match event:
        case media_core.AuthenticationFailed(total=total, source=(host, _)) if total >= FORGED_FEW:
            return (
                "forged media",
                host,
                f"Packets from {host} to the call of {who} fail authentication ({total} so far) and are dropped: "
                "somebody forges them, or the phone uses another key than was agreed on.",
            )
        case media_core.SsrcChanged(changes=changes) if changes >= MIXED_CHANGES and not secure:
            return (
                "mixed media",
                address,
                f"Two streams are mixed in the sound from {who} at {address}: somebody injects packets, or the phone is faulty. "
                "Encryption (SRTP) keeps strangers out.",
            )
    return None
