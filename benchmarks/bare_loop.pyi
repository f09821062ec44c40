from collections.abc import Sequence
from typing import NoReturn

def run(wake: int, own_wake: int, sockets: Sequence[int], to: Sequence[bytes], datapath: str) -> NoReturn: ...
