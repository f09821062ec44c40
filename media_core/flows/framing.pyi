class Framer:
    """The framing of one stream on its own, for tests: feed(bytes) gives what became whole."""

    def feed(self, data: bytes) -> list[bytes | None]: ...
