"""Published vectors: RFC 3711 appendix B, RFC 6188 section 7, RFC 7714 sections 16 and 17, libsrtp's reference packet."""

import pytest

from media_core.srtp.srtp import Session, session_keys_of

from .srtp_sessions import BACKENDS_HERE

CM128, CM256 = "AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80"
SALT_F0 = bytes(range(0xF0, 0xFE))

KEYSTREAMS = {  # suite: session key, {block: keystream of this and the next two blocks}
    CM128: (
        "2b7e151628aed2a6abf7158809cf4f3c",
        {
            0x0000: "e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab 41e95b3bb0a2e8dd477901e4fca894c0",
            0xFEFF: "ec8cdf7398607cb0f2d21675ea9ea1e4 362b7c3c6773516318a077d7fc5073ae 6a2cc3787889374fbeb4c81b17ba6c44",
        },
    ),
    CM256: (
        "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
        {
            0x0000: "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac 63c4868b7096d88421b563b8c94c9a31",
            0xFEFF: "cea518c90fd91ced9cbb18c078a54711 3dbc4814f4da5f00a08772b63c6a046d 6eb246913062a16891433e97dd01a57f",
        },
    ),
}


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("suite", KEYSTREAMS)
def test_keystream(suite: str, backend: str) -> None:
    key, blocks = KEYSTREAMS[suite]
    session = Session(suite, bytes(len(key) // 2), bytes(14), "out", backend)
    session.set_session_keys(bytes.fromhex(key), SALT_F0)
    stream = session.protect(bytes([0x80]) + bytes(11) + bytes(16 * 0xFF02))[12:]
    for block, expected in blocks.items():
        assert stream[16 * block : 16 * block + 48] == bytes.fromhex(expected)


def test_key_derivation_rfc3711() -> None:
    rtp, _ = session_keys_of(
        CM128, bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139"), bytes.fromhex("0ec675ad498afeebb6960b3aabe6")
    )
    assert [part.hex() for part in rtp] == [
        "c61e7a93744f39ee10734afe3ff7a087",
        "cebe321f6ff7716b6fd4ab49af256a156d38baa4",
        "30cbbc08863d8c85d49db34a9ae1",
    ]


def test_key_derivation_rfc6188() -> None:
    rtp, _ = session_keys_of(
        CM256,
        bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
        bytes.fromhex("3b04803de51ee7c96423ab5b78d2"),
    )
    assert [part.hex() for part in rtp] == [
        "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
        "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        "fa31791685ca444a9e07c6c64e93",
    ]


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_reference_packet(backend: str) -> None:
    key, salt = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de4139"), bytes.fromhex("0ec675ad498afeebb6960b3aabe6")
    clear = bytes.fromhex("800f1234decafbadcafebabe" + "ab" * 16)
    sealed = bytes.fromhex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
    assert Session(CM128, key, salt, "out", backend).protect(clear) == sealed
    assert Session(CM128, key, salt, "in", backend).unprotect(sealed) == clear


GCM = {"AEAD_AES_128_GCM": bytes(range(16)), "AEAD_AES_256_GCM": bytes(range(32))}
GCM_SALT = bytes.fromhex("517569642070726f2071756f")
RTP = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
RTP_SEALED = {
    "AEAD_AES_128_GCM": "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
    "AEAD_AES_256_GCM": "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
}
RTCP = bytes.fromhex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61" + "deadbeef" * 5)
RTCP_SEALED = {
    "AEAD_AES_128_GCM": "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    "AEAD_AES_256_GCM": "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
}
RTCP_TAGGED = {  # authenticated only
    "AEAD_AES_128_GCM": "841dd9683dd78ec92ae58790125f62b3000005d4",
    "AEAD_AES_256_GCM": "91db4afbfeee5a978fab4393ed2615fe000005d4",
}


def gcm_session(suite: str, direction: str, backend: str) -> Session:
    session = Session(suite, bytes(len(GCM[suite])), bytes(12), direction, backend)
    session.set_session_keys(GCM[suite], GCM_SALT)
    return session


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("suite", GCM)
def test_gcm_rtp(suite: str, backend: str) -> None:
    sealed = RTP[:12] + bytes.fromhex(RTP_SEALED[suite])
    assert gcm_session(suite, "out", backend).protect(RTP) == sealed
    assert gcm_session(suite, "in", backend).unprotect(sealed) == RTP


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("suite", GCM)
def test_gcm_rtcp(suite: str, backend: str) -> None:
    sealed = RTCP[:8] + bytes.fromhex(RTCP_SEALED[suite])
    sender = gcm_session(suite, "out", backend)
    sender.set_rtcp_index(0x4D617273, 0x5D3)
    assert sender.protect_rtcp(RTCP) == sealed
    assert gcm_session(suite, "in", backend).unprotect_rtcp(sealed) == RTCP
    assert gcm_session(suite, "in", backend).unprotect_rtcp(RTCP + bytes.fromhex(RTCP_TAGGED[suite])) == RTCP
