"""What of a leg stands in its slot."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.calls.turns import slots


def leg_slot(leg: Any, dialog: Any) -> slots.LegSlot:
    party, endpoint, bridge, quality = leg.party, leg.endpoint, leg.bridge, leg.quality
    flow, wish = endpoint.flow, leg._wish
    return slots.LegSlot(
        leg.owner.id if leg.owner is not None and not leg.over else "",
        leg.side,
        leg.who,
        (party.number, party.name, party.account),
        endpoint.line,
        endpoint.encrypt,
        flow.id,
        int(flow.transport),
        flow.local,
        flow.remote,
        flow.cipher,
        endpoint.target,
        endpoint.user_agent,
        leg.incoming,
        leg.state,
        leg.session,
        dialog,
        leg.stream.dump() if not leg.over else None,
        leg.digits,
        (bridge.kind, bridge.number, bridge.muted(leg)) if bridge is not None else None,
        (quality.poor_seconds, quality.worst_lost, quality.worst_jitter_ms),
        leg.status,
        leg.early_media,
        [msgspec.structs.astuple(each) for each in wish] if wish is not None else None,
        leg._offering,
        leg.played,
        leg.sent,
        leg.recorded,
        leg.progress,
        leg.relay,
        leg.relayed,
    )
