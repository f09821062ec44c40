"""Kill -9 of the core, or of the process that holds the engine, at any moment: the calls go on, under the same keys, and no index is used twice.

Every sealed packet is read here and opened by libsrtp. What is on its way through the core in the moment of its death may be lost.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time

import pytest

from media_core import MediaEngine, Remote
from tests.media_core.bench import DATAPATHS, HOST, WAYS, Bench, collect, fields, rtp_pair, running, settle
from tests.media_core.test_relay_srtp import SecurePhone, dial, hang_up, key

CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"


class Listener:
    """Reads every sealed packet of one phone's stream: its index is new, and libsrtp opens it."""

    def __init__(self, phone: SecurePhone, first: int) -> None:
        self.phone = phone
        self.highest = first - 1
        self.seen: set[int] = set()
        self.sources: set[int] = set()

    def listen(self, count: int, seconds: float) -> None:
        for sealed in collect(self.phone.rtp, count, seconds):
            sequence = int.from_bytes(sealed[2:4])
            index = self.highest + ((sequence - self.highest + 0x8000 & 0xFFFF) - 0x8000)
            assert index not in self.seen, "sealed twice under one index"
            self.seen.add(index)
            self.highest = max(self.highest, index)
            opened = fields(bytes(self.phone.unprotect.unprotect(sealed)))
            self.sources.add(opened[3])
            assert opened[4] == bytes([index & 0xFF]) * 160


def speak(phone: SecurePhone) -> None:
    """One packet whose content tells its sequence number."""
    phone.send(1, bytes([phone.sequence & 0xFF]) * 160)


@pytest.mark.parametrize(("datapath", "apart"), WAYS)
@pytest.mark.parametrize("suite", [CM, GCM])
def test_killed_amid_packets_within_100_of_the_wrap_in_both_directions(suite: str, datapath: str, apart: bool) -> None:
    dice = random.Random(1)
    with running(legs=4, datapath=datapath, apart=apart) as bench:
        a, b = dial(bench, suite, suite)
        a.sequence, b.sequence = 65536 - 90, 65536 - 40
        at_b, at_a = Listener(b, a.sequence), Listener(a, b.sequence)
        sent = 0
        waiting: list[int] = []
        for _ in range(5):
            for _ in range(dice.randrange(30, 60)):
                speak(a)
                speak(b)
                sent += 1
            bench.kill()  # with packets in the sockets, in its batch and sealed but not sent
            for _ in range(5):
                speak(a)
                speak(b)
                waiting.append(sent)
                sent += 1
            bench.start()
            at_b.listen(200, 0.3)
            at_a.listen(200, 0.3)
        for listener, first in ((at_b, 65536 - 90), (at_a, 65536 - 40)):
            assert max(listener.seen) == first + sent - 1  # behind the wrap, with the right rollover counter
            assert min(listener.seen) >= first
            assert {first + number for number in waiting} <= listener.seen  # what came while there was no core
            assert len(listener.sources) == 1
        speak(a)
        speak(b)
        at_b.listen(1, 10)
        at_a.listen(1, 10)
        assert max(at_b.seen) == 65536 - 90 + sent
        assert max(at_a.seen) == 65536 - 40 + sent
        assert bench.engine.stats(a.leg.id).received.dropped_auth == 0
        hang_up(bench, a, b)


@pytest.mark.parametrize(("datapath", "apart"), WAYS)
@pytest.mark.parametrize("suite", [CM, GCM])
def test_the_replay_window_is_kept(suite: str, datapath: str, apart: bool) -> None:
    """What was accepted before the death is refused behind it; what was held up on the way is not."""
    with running(legs=4, datapath=datapath, apart=apart) as bench:
        a, b = dial(bench, suite, suite)
        a.sequence = 65500
        packets = [a.packet() for _ in range(60)]
        late = packets.pop(30)
        for packet in packets:
            a.rtp.sendto(packet, (HOST, a.leg.port))
        assert len(b.receive(59)) == 59
        bench.kill()
        bench.start()
        for packet in packets:
            a.rtp.sendto(packet, (HOST, a.leg.port))
        a.rtp.sendto(late, (HOST, a.leg.port))
        assert [fields(p)[1] for p in b.receive(2, 0.5)] == [65530]
        received = bench.engine.stats(a.leg.id).received
        assert (received.packets, received.dropped_auth) == (60, 59)
        hang_up(bench, a, b)


@pytest.mark.parametrize("apart", [False, True])
def test_fifty_kills_in_quick_succession(apart: bool) -> None:
    """While it starts, adopts or works: whenever the core dies, the next one finds a table to go on with."""
    dice = random.Random(2)
    with running(legs=4, apart=apart) as bench:
        a, b = dial(bench, CM, GCM)
        a.sequence = b.sequence = 65000
        at_b, at_a = Listener(b, 65000), Listener(a, 65000)
        speaking = True

        def talk() -> None:
            while speaking:
                speak(a)
                speak(b)
                time.sleep(0.005)

        voices = threading.Thread(target=talk)
        voices.start()
        try:
            for _ in range(50):
                bench.kill()
                bench.core, bench.stop_end = bench.spawn()
                at_b.listen(1000, dice.uniform(0, 0.1))
                at_a.listen(1000, dice.uniform(0, 0.1))
        finally:
            speaking = False
            voices.join()
        bench.kill()
        bench.events.clear()
        bench.poll()
        bench.start()
        at_b.listen(10000, 0.5)
        at_a.listen(10000, 0.5)
        for phone, listener in ((a, at_b), (b, at_a)):
            last = phone.sequence
            speak(phone)
            listener.listen(1, 10)
            assert listener.highest == last
            assert len(listener.sources) == 1
        hang_up(bench, a, b)


# ---- the other side of the table: the process that holds the engine dies ----------------------------------------------------

HOLDER = """
import itertools, json, sys
from media_core import Crypto, MediaEngine, Remote
memory, core_wake, calls_wake, work = json.loads(sys.argv[1])
engine = MediaEngine(memory, core_wake, calls_wake)
a = engine.open()
b = engine.open(beside=a.id)

def remote(port, suite, key_in, key_out, salt_in, salt_out, **more):
    return Remote("127.0.0.1", port, rtcp_port=port + 1, signalling="127.0.0.1",
                  crypto_in=Crypto(suite, bytes.fromhex(key_in), bytes.fromhex(salt_in)),
                  crypto_out=Crypto(suite, bytes.fromhex(key_out), bytes.fromhex(salt_out)), **more)

for leg, phone in zip((a, b), work["phones"]):
    engine.describe(leg.id, remote(*phone))
engine.connect(a.id, b.id)
print(json.dumps([a.id, a.port, b.id, b.port]), flush=True)
for number in itertools.count():
    if not work["restless"]:
        sys.stdin.read()
    for leg, phone in zip((a, b), work["phones"]):  # hold, other keys, back again: all of Config changes
        other = [phone[0], phone[1], "%032x" % number, *phone[3:]]
        engine.describe(leg.id, remote(*(other if number % 2 else phone), send=number % 3 > 0))
    engine.connect(a.id, b.id)
"""


class Described:
    """What a Phone needs of a leg before there is one."""

    port = 0


def hold(bench: Bench, phones: list[SecurePhone], *, restless: bool) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process that holds the engine and a call between the phones; [leg, port, leg, port]."""
    rows = [[p.port, p.suite, p.out.key.hex(), p.back.key.hex(), p.out.salt.hex(), p.back.salt.hex()] for p in phones]
    work = [bench.memory, bench.core_wake, bench.calls_wake, {"phones": rows, "restless": restless}]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, json.dumps(work)],
        pass_fds=[bench.memory, bench.core_wake, bench.calls_wake],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def phones() -> list[SecurePhone]:
    return [SecurePhone(Described(), number, suite) for number, suite in ((1, CM), (2, GCM))]


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_the_relay_goes_on_without_calls(datapath: str) -> None:
    with running(legs=4, datapath=datapath) as bench:
        pair = phones()
        process, (a, port_a, b, port_b) = hold(bench, pair, restless=False)
        end(process)
        for phone, port in zip(pair, (port_a, port_b), strict=True):
            phone.leg = type("There", (), {"port": port})()
        settle()
        for _ in range(3):
            for here, there in (pair, reversed(pair)):
                here.send(20, b"\x11" * 160)
                assert [fields(p)[4] for p in there.receive(20)] == [b"\x11" * 160] * 20
        bench.kill()
        bench.start()  # and without either of them
        pair[0].send(5)
        assert len(pair[1].receive(5)) == 5
        bench.engine = MediaEngine(bench.memory, bench.core_wake, bench.calls_wake)
        assert sorted(bench.engine.legs()) == sorted([a, b])
        assert bench.engine.close(a).received.packets == 65
        bench.engine.close(b)
        assert bench.engine.counters()["legs_free"] == 4
        for phone in pair:
            phone.close()


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_the_next_core_knows_which_ports_are_connected(datapath: str) -> None:
    with running(legs=4, datapath=datapath) as bench:
        a, b = dial(bench, "", "")
        for phone, there in ((a, b), (b, a)):
            phone.send(2)
            assert len(there.receive(2)) == 2
        bench.kill()
        bench.engine.describe(a.leg.id, a.remote(port=a.port + 1, rtcp_port=0))  # while nobody is there to take it in
        bench.start()
        b.send(2)
        assert len(a.receive(2, rtcp=True)) == 2, "now at its other port"
        a.rtcp.sendto(a.packet(), (HOST, a.leg.port))
        assert len(b.receive(1)) == 1
        stranger, other = rtp_pair()
        with stranger, other:
            stranger.sendto(b.packet(), (HOST, b.leg.port))
        assert a.nothing()
        assert bench.engine.stats(b.leg.id).received.dropped_source == (datapath == "raw")
        hang_up(bench, a, b)


def test_a_description_half_written_is_as_if_it_had_not_been() -> None:
    """The holder dies in the middle of describe, the core in the middle of taking it in; whoever comes next can use every leg."""
    dice = random.Random(3)
    with running(legs=4) as bench:
        for _ in range(12):
            pair = phones()  # on ports of their own: what is still on its way to the last ones is not for these
            process, (a, port_a, b, port_b) = hold(bench, pair, restless=True)
            time.sleep(dice.uniform(0, 0.03))
            if dice.random() < 0.4:
                bench.kill()
                bench.core, bench.stop_end = bench.spawn()
                time.sleep(dice.uniform(0, 0.03))
            end(process)
            engine = bench.engine = MediaEngine(bench.memory, bench.core_wake, bench.calls_wake)
            assert sorted(engine.legs()) == sorted([a, b])
            for phone, leg, port in zip(pair, (a, b), (port_a, port_b), strict=True):
                phone.leg = type("There", (), {"id": leg, "port": port})()
                phone.rekey()
                engine.describe(leg, phone.remote())
            engine.connect(a, b)
            carried(pair)
            engine.close(a)
            engine.close(b)
            assert engine.counters()["legs_free"] == 4
            for phone in pair:
                phone.close()


def carried(pair: list[SecurePhone]) -> None:
    """Packets pass both ways, as soon as the core is there."""
    for here, there in (pair, pair[::-1]):
        for _ in range(100):
            here.send(1)
            if there.receive(1, 0.1):
                break
        else:
            raise AssertionError("the call is dead")


def test_the_keys_of_a_call_made_while_the_core_dies_are_right() -> None:
    """Calls are opened and closed without a pause while the core is killed: each of them works when a core is there again."""
    dice = random.Random(4)
    with running(legs=4) as bench:
        for _ in range(10):
            bench.kill()
            bench.core, bench.stop_end = bench.spawn()
            finish = time.monotonic() + dice.uniform(0.0, 0.2)
            while True:
                legs = [bench.engine.open()]
                legs.append(bench.engine.open(beside=legs[0].id))
                for leg in legs:
                    bench.engine.describe(
                        leg.id, Remote(HOST, 9, signalling=HOST, crypto_in=key(CM), crypto_out=key(GCM))
                    )
                bench.engine.connect(legs[0].id, legs[1].id)
                for leg in legs:
                    bench.engine.close(leg.id)
                if time.monotonic() > finish:
                    break
            a, b = dial(bench, CM, GCM)
            carried([a, b])
            hang_up(bench, a, b)
