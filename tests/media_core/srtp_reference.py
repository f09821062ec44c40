"""SRTP as the RFCs write it, slowly, on the `cryptography` package: the oracle where pylibsrtp has none (RFC 6188)."""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAGS = {
    "AES_CM_128_HMAC_SHA1_80": (10, 10),
    "AES_CM_128_HMAC_SHA1_32": (4, 10),
    "AES_256_CM_HMAC_SHA1_80": (10, 10),
    "AES_256_CM_HMAC_SHA1_32": (4, 10),
}


def ctr(key: bytes, iv: int, text: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv.to_bytes(16))).encryptor()
    return encryptor.update(text) + encryptor.finalize()


def derive(key: bytes, salt: bytes, label: int, length: int) -> bytes:
    x = int.from_bytes(salt.ljust(14, b"\0")) ^ label << 48
    return ctr(key, x << 16, bytes(length))


class Reference:
    def __init__(self, suite: str, key: bytes, salt: bytes) -> None:
        self.suite = suite
        self.keys = [
            (derive(key, salt, n, len(key)), derive(key, salt, n + 1, 20), derive(key, salt, n + 2, len(salt)))
            for n in (0, 3)
        ]

    def protect(self, packet: bytes, roc: int) -> bytes:
        cipher, auth, salt = self.keys[0]
        header = 12 + 4 * (packet[0] & 15)
        if packet[0] & 16:
            header += 4 + 4 * int.from_bytes(packet[header + 2 : header + 4])
        ssrc = int.from_bytes(packet[8:12])
        index = roc << 16 | int.from_bytes(packet[2:4])
        if "GCM" in self.suite:
            iv = (ssrc << 48 | index) ^ int.from_bytes(salt)
            return packet[:header] + AESGCM(cipher).encrypt(iv.to_bytes(12), packet[header:], packet[:header])
        text = packet[:header] + ctr(cipher, int.from_bytes(salt) << 16 ^ ssrc << 64 ^ index << 16, packet[header:])
        return text + hmac.digest(auth, text + roc.to_bytes(4), hashlib.sha1)[: TAGS[self.suite][0]]

    def protect_rtcp(self, packet: bytes, index: int, encrypt: bool = True) -> bytes:
        cipher, auth, salt = self.keys[1]
        ssrc = int.from_bytes(packet[4:8])
        word = (encrypt << 31 | index).to_bytes(4)
        if "GCM" in self.suite:
            iv = ((ssrc << 48 | index) ^ int.from_bytes(salt)).to_bytes(12)
            if encrypt:
                return packet[:8] + AESGCM(cipher).encrypt(iv, packet[8:], packet[:8] + word) + word
            return packet + AESGCM(cipher).encrypt(iv, b"", packet + word) + word
        text = packet
        if encrypt:
            text = packet[:8] + ctr(cipher, int.from_bytes(salt) << 16 ^ ssrc << 64 ^ index << 16, packet[8:])
        text += word
        return text + hmac.digest(auth, text, hashlib.sha1)[: TAGS[self.suite][1]]
