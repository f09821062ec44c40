"""The SIP message scanner (RFC 3261 §7, §25.1); the promises are in sip_scan.pyx."""

HEADERS: tuple[tuple[str, str], ...]  # canonical name, compact form or ""
IDS: dict[str, int]  # canonical name -> id

class ScanError(ValueError):
    """The bytes are no SIP message. `status` is the response code that says so, `scan` what was found before the fault."""

    status: int
    reason: str
    scan: Scan

class Scan:
    data: bytes
    body_start: int
    is_response: bool
    def start_line(self) -> tuple[str, str, str]: ...
    def first(self, id: int) -> str | None: ...
    def every(self, id: int) -> list[str]: ...
    def number_of(self, id: int) -> int: ...
    def named(self, name: str) -> list[str]: ...
    def fields_list(self) -> list[tuple[str, str]]: ...
    def body(self) -> bytes: ...

def scan(data: bytes) -> Scan:
    """Scan one message; ScanError if the bytes are none. Text is UTF-8 with surrogateescape, so every byte survives."""
