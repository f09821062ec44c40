def answer(request: bytes, host: str, port: int) -> bytes | None:
    """What a request from there is answered with; None: nothing."""
