class PacketRefused(ValueError):
    """A packet was not taken. `status` is the negative srtp_status, `reason` its name; the packet is unchanged."""

    status: int
    reason: str
    def __init__(self, status: int) -> None: ...

REASONS: dict[int, str]
