"""A file sealed with a passphrase: what a backup is written in. Streams in both directions, in a bounded amount of memory.

Format, version 1: the line `Switchroom backup 1`, one line of JSON (the header), then blocks of `BLOCK` octets of plain text, each
AES-256-GCM with its tag behind it. The key is scrypt(passphrase, salt) (RFC 7914) and belongs to this file alone; a block's nonce is its
number in 11 octets and one octet that is 1 in the last block only, its associated data are the two lines. So a block that was changed,
moved, doubled or left out, a header that was changed, and a file that ends early are all noticed, block by block, before
any of their plain text is used. Without a passphrase the key comes from the empty one: then nothing is secret, but all of this still holds.
"""

from __future__ import annotations

import io
import os
from typing import IO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from appliance.words import Explained, Said

MAGIC = b"Switchroom backup 1\n"
BLOCK = 1 << 16
TAG = 16
LONGEST_HEADER = 4096
# As the OWASP Password Storage Cheat Sheet has it for 32 MiB of memory.
COST = {"n": 1 << 15, "r": 8, "p": 3}
MOST_WORK = (
    1 << 24
)  # n times r times p that somebody else's header may ask of us: 20 times ours, and 128 n r octets of memory
MOST_MEMORY = 1 << 25  # as ours


class NotOpened(Explained):
    """The file is not one of ours, is damaged, or the passphrase is wrong."""


class Header(msgspec.Struct, frozen=True):
    """What can be read without the passphrase."""

    version: str  # of the product that made it
    made: float  # unix time
    protected: bool  # by a passphrase
    salt: str
    n: int
    r: int
    p: int


def _key(passphrase: str, header: Header) -> AESGCM:
    kdf = Scrypt(salt=bytes.fromhex(header.salt), length=32, n=header.n, r=header.r, p=header.p)
    return AESGCM(kdf.derive(passphrase.encode()))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class Sealer(io.RawIOBase):
    """Write plain text here; the sealed file goes to `out`. `close` writes the last block: without it the file counts as cut off."""

    def __init__(self, out: IO[bytes], passphrase: str, version: str, made: float) -> None:
        self._out = out
        header = Header(version=version, made=made, protected=bool(passphrase), salt=os.urandom(16).hex(), **COST)
        self._head = MAGIC + msgspec.json.encode(header) + b"\n"
        self._cipher = _key(passphrase, header)
        self._waiting = bytearray()
        self._number = 0
        out.write(self._head)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        taken = bytes(data)  # type: ignore[call-overload]
        self._waiting += taken
        while len(self._waiting) > BLOCK:
            self._block(bytes(self._waiting[:BLOCK]), last=False)
            del self._waiting[:BLOCK]
        return len(taken)

    def finish(self) -> None:
        self._block(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _block(self, text: bytes, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last), text, self._head))
        self._number += 1


def peek(sealed: IO[bytes]) -> Header:
    """What a sealed file says before its first block; NotOpened when it is none."""
    magic = _line(sealed)
    if magic != MAGIC:
        raise NotOpened(_foreign(magic))
    return _read_header(_line(sealed))


class Opener(io.RawIOBase):
    """Read the plain text of a sealed file. NotOpened as soon as something is wrong."""

    def __init__(self, sealed: IO[bytes], passphrase: str) -> None:
        self._sealed = sealed
        magic = _line(sealed)
        if magic != MAGIC:
            raise NotOpened(_foreign(magic))
        line = _line(sealed)
        self._head = magic + line
        self.header = _read_header(line)
        if self.header.protected and not passphrase:
            raise NotOpened(Said("keeping.protected"))
        self._cipher = _key(passphrase if self.header.protected else "", self.header)
        self._number = 0
        self._ahead = self._take()
        self._text = b""
        self._at = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        if self._at == len(self._text) and not self._ended:
            self._text, self._at = self._next(), 0
        part = self._text[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _take(self) -> bytes:
        """Up to one sealed block; streams from a network give less than was asked for."""
        parts, wanted = [], BLOCK + TAG
        while wanted and (part := self._sealed.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _next(self) -> bytes:
        block, self._ahead = self._ahead, self._take()
        self._ended = not self._ahead
        try:
            text = self._cipher.decrypt(_nonce(self._number, self._ended), block, self._head)
        except InvalidTag:
            raise NotOpened(self._why()) from None
        self._number += 1
        return text

    def _why(self) -> Said:
        if self._number:
            return Said("keeping.cut-off")
        return Said("keeping.wrong-passphrase" if self.header.protected else "keeping.damaged-file")


def _line(sealed: IO[bytes]) -> bytes:
    line = bytearray()
    while len(line) < LONGEST_HEADER and (letter := sealed.read(1)):
        line += letter
        if letter == b"\n":
            break
    return bytes(line)


def _foreign(line: bytes) -> Said:
    return Said("keeping.of-newer" if line.startswith(b"Switchroom backup ") else "keeping.no-backup")


def _read_header(line: bytes) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
        salt = bytes.fromhex(header.salt)
    except (msgspec.DecodeError, ValueError):
        raise NotOpened(Said("keeping.beginning-damaged")) from None
    power = header.n > 1 and header.n & (header.n - 1) == 0
    if not power or min(header.r, header.p) < 1 or len(salt) < 16:
        raise NotOpened(Said("keeping.beginning-damaged"))
    if header.n * header.r * header.p > MOST_WORK or 128 * header.n * header.r > MOST_MEMORY:
        raise NotOpened(Said("keeping.too-much-work"))
    return header
