"""MediaEngine: the side of the shared memory that `calls` holds.

The engine owns which leg is free and what each leg's Config says; the core owns everything else. A verb writes a whole Config into
the copy that is not in use and then moves the version: whoever dies in between, the other side sees the old or the new one. Only
one process at a time may hold an engine on a memory; after its death another one attaches and finds the legs as they are.

A closed leg goes to the end of the queue of free ones, so its port rests as long as possible; the queue begins in random order,
so that ports cannot be foretold (RFC 8085 §5, draft-ietf "RTPbleed" practice).
"""

import collections
import ipaddress
import os
import random
from functools import lru_cache

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from media_core.shared.abi cimport (
    ABI_WORKERS, COMMAND_PLAY, COMMAND_RECORD, COMMAND_SYNC, EVENT_CORE_STARTED, EVENT_DIGIT, EVENT_DIGITS_SENT, EVENT_FORGED, EVENT_MEDIA_SILENT, EVENT_MEDIA_STARTED,
    EVENT_PLAY_ENDED, EVENT_QUALITY, EVENT_RECORD_ENDED, EVENT_SSRC, ITEM_TONE, LEG_CODECS, LEG_COPIED, LEG_DESCRIBED, LEG_LISTENED, LEG_MIXED, LEG_MUTED, LEG_OPEN,
    LEG_RECEIVE, LEG_RECORDED, LEG_SEND, LEG_SOUND, LEG_TAKEN, NO_LEG, OTHER_LAW, PATHS_ROOM, PLAY_ITEMS, QUALITY_POOR, REQUEST_DIGITS, REQUEST_FILES,
    REQUEST_LOOPED, REQUEST_TONES, SIDES_APART, SIDES_BOTH, SIDES_RECEIVED, Config, ConfigBlock, Endpoint, EventBody, Header, Item, Key,
    Leg, Player, Request, Take, WorkerCounters, command_ring, config_at, counters_at, event_ring, flow_area, leg_at, player_at, take_at,
    worker_of,
)
from media_core.shared.atomic cimport ACQUIRE, RELEASE, fence, load32, store32
from media_core.sound.codec cimport CODEC_CN, CODEC_PCMA, CODEC_PCMU, codec_at
from media_core.flows.flow_table cimport endpoint_tuple
from media_core.shared.memory cimport map_memory, unmap_memory
from media_core.shared.ring cimport RING_WAKE, Bell, Record, Ring, ring_behind, ring_consume, ring_payload, ring_peek, ring_push, ring_within

from media_core.srtp.srtp cimport srtp_suite
from media_core.relay.stream cimport stream_end_run

from media_core.sound.codec import NUMBERS
from media_core.flows.flow_table import FlowClient
from media_core.records import (
    AuthenticationFailed, CoreStarted, Digit, DigitsSent, Direction, FarReport, Leg as LegRecord, LegStats, MediaQuality, MediaSilent, MediaStarted,
    OutOfService, PlayEnded, RecordEnded, SsrcChanged, StaleHandle,
)

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    enum: CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)

cdef extern from "<sys/socket.h>" nogil:
    enum: AF_INET, AF_INET6

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd_write(int fd, uint64_t value)
    int eventfd_read(int fd, uint64_t *value)

DIGITS = "0123456789*#ABCD"
DTMF = [(row, column) for digit in DIGITS for row, column in [
    ((697, 770, 852, 941)["123A456B789C*0#D".index(digit) // 4], (1209, 1336, 1477, 1633)["123A456B789C*0#D".index(digit) % 4])]]
CODEC_ROWS = {name.lower(): number for name, number in NUMBERS.items()}
SIDES = {"both": SIDES_BOTH, "received": SIDES_RECEIVED, "apart": SIDES_APART}
DIGIT_MS = 100
MKI_LONGEST = 128  # octets (RFC 4568 section 6.1)
DIGIT_GAP_MS = 60


# ---- addresses ------------------------------------------------------------------------------------------------------------

@lru_cache(maxsize=4096)
def _packed(address, port):
    """A sockaddr as bytes. ValueError: not an IP address."""
    ip = ipaddress.ip_address(address)
    if ip.version == 4:
        return int(AF_INET).to_bytes(2, "little") + port.to_bytes(2, "big") + ip.packed + bytes(8)
    return int(AF_INET6).to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(4) + ip.packed + bytes(4)


@lru_cache(maxsize=4096)
def _check_address(address, signalling):
    """Refuse what a call must never be sent to; False: an address that says "nowhere"."""
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        return False
    if ip.is_multicast or (ip.version == 4 and (int(ip) >> 24 == 255 or int(ip) >> 28 == 15 or int(ip) >> 24 == 0)):
        raise ValueError(f"media cannot be sent to {address}")
    if ip.is_loopback and not (signalling and ipaddress.ip_address(signalling).is_loopback):
        raise ValueError(f"media to {address} is only for a phone on this machine")
    return True


cdef void put_endpoint(Endpoint *into, bytes packed) noexcept:
    memset(into, 0, sizeof(Endpoint))
    memcpy(into.address, <const char *>packed, len(packed))
    into.length = <uint32_t>len(packed)


cdef uint64_t clock_now() noexcept:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


cdef bint take_key(crypto, Key *key) except -1:
    """Put an SDES key where the core finds it; is it another one than before? ValueError: unknown suite, wrong length of key or MKI."""
    cdef Key fresh
    memset(&fresh, 0, sizeof(Key))
    if crypto is not None:
        number = srtp_suite(crypto.suite.encode())
        lengths = 32 if "_256_" in crypto.suite else 16, 12 if crypto.suite.startswith("AEAD_") else 14
        if number <= 0:
            raise ValueError(f"no SRTP suite {crypto.suite}")
        if (len(crypto.key), len(crypto.salt)) != lengths:
            raise ValueError(f"{crypto.suite} has a key of {lengths[0]} and a salt of {lengths[1]} octets")
        if not 0 <= crypto.mki_length <= MKI_LONGEST:
            raise ValueError(f"an MKI is up to {MKI_LONGEST} octets")
        fresh.suite = number
        fresh.mki_length = crypto.mki_length
        fresh.key_length, fresh.salt_length = lengths
        material = crypto.key + crypto.salt
        memcpy(fresh.material, <const char *>material, len(material))
    changed = memcmp(&fresh, key, sizeof(Key)) != 0
    key[0] = fresh
    return changed


# ---- codecs -------------------------------------------------------------------------------------------------------------------

cdef bint _take_codecs(codecs, Config *config) except -1:
    """Put the agreed codecs where the core finds them; are they others than before?"""
    cdef uint8_t before[2 * LEG_CODECS]
    cdef int at
    memcpy(before, config.codecs, 2 * LEG_CODECS)
    known = [(CODEC_ROWS[codec.name.lower()], codec.payload_type) for codec in codecs if codec.name.lower() in CODEC_ROWS]
    if any(not 0 <= payload_type <= 127 for _, payload_type in known):
        raise ValueError("a payload type is 0 to 127")
    memset(config.codecs, 0, 2 * LEG_CODECS)
    for at, (number, payload_type) in enumerate(known[:LEG_CODECS]):
        config.codecs[at], config.codec_payloads[at] = number, payload_type
    return memcmp(before, config.codecs, 2 * LEG_CODECS) != 0


cdef int _sending(const Config *config) noexcept:
    """Which of the leg's codecs we send in; -1: none."""
    cdef int at
    for at in range(LEG_CODECS):
        if codec_at(config.codecs[at]) != NULL:
            return at
    return -1


cdef _check_payload(const Config *config, int payload_type):
    cdef int at
    if payload_type in (0, 8):
        return
    for at in range(LEG_CODECS):
        if codec_at(config.codecs[at]) != NULL and config.codec_payloads[at] == payload_type:
            return
    raise ValueError("sound is sent as payload type 0 (PCMU), 8 (PCMA) or one of the leg's codecs")


cdef bint _relayable(const Config *here, const Config *there, dict mapping) except -1:
    """Can all that `here` may send be had by `there` without decoding it? Adds to `mapping` how. Legs of unknown codecs are relayed."""
    cdef int at, to
    if here.telephone_event >= 0 and there.telephone_event >= 0:
        mapping.setdefault(here.telephone_event, there.telephone_event)
    if here.codecs[0] == 0 or there.codecs[0] == 0:
        return True
    for at in range(LEG_CODECS):
        if here.codecs[at] == 0 or here.codecs[at] == CODEC_CN or here.codec_payloads[at] in mapping:
            continue
        for to in range(LEG_CODECS):
            if there.codecs[to] == here.codecs[at]:
                mapping[here.codec_payloads[at]] = there.codec_payloads[to]
                break
        else:
            for to in range(LEG_CODECS):
                if (here.codecs[at] == CODEC_PCMU and there.codecs[to] == CODEC_PCMA and here.codec_payloads[at] == 0
                        or here.codecs[at] == CODEC_PCMA and there.codecs[to] == CODEC_PCMU and here.codec_payloads[at] == 8):
                    mapping[here.codec_payloads[at]] = OTHER_LAW | there.codec_payloads[to]
                    break
            else:
                return False
    return True


cdef void _place(Config *config, uint32_t flags, uint32_t dsp) noexcept:
    """Say where what the leg receives goes: to the DSP, into a conference, or (0) to its peer; and which DSP has to do with it."""
    config.dsp = dsp
    config.flags = config.flags & ~<uint32_t>(LEG_TAKEN | LEG_MIXED | LEG_MUTED | LEG_COPIED) | flags
    if config.flags & LEG_LISTENED and not flags & LEG_TAKEN:
        config.flags |= LEG_COPIED


# ---- the engine -------------------------------------------------------------------------------------------------------------

cdef class MediaEngine:
    """Commands down, events up; all calls return in microseconds and never block."""

    cdef Header *memory
    cdef Bell bell                # wakes the core
    cdef int calls_wake
    cdef uint32_t usable          # legs known to the queues of free ones
    cdef list free                # per worker: a deque of indices
    cdef set ports
    cdef object sip               # the client of the flows
    cdef list again               # ends that were asked for once more: events
    cdef uint64_t seen[ABI_WORKERS + 1]  # per event ring: the position of the first event that poll has not given yet

    def __init__(self, int memory, int core_wake, int calls_wake):
        cdef uint32_t ring
        self.memory = map_memory(memory)
        self.calls_wake = calls_wake
        self.usable = 0
        self.again = []
        for ring in range(self.memory.workers + 1):
            self.seen[ring] = event_ring(self.memory, ring).tail
        self.ports = set()
        self.free = [collections.deque() for _ in range(self.memory.workers)]
        self._find_free()
        self.sip = FlowClient(<size_t>flow_area(self.memory), <size_t>self.memory + self.memory.flow_commands,
                              <size_t>self.memory + self.memory.flow_events, core_wake)
        self.bell = self.sip.bell
        self.bell.ring()              # the engine before this one may have died between a command and its signal
        eventfd_write(calls_wake, 1)

    def __dealloc__(self):
        if self.memory != NULL:
            unmap_memory(self.memory)

    def fileno(self):
        """Readable when events wait."""
        return self.calls_wake

    def cork(self):
        """Wake the core for all that is commanded from now on once, at uncork(). A thread that is awake takes it before."""
        self.bell.cork()

    def uncork(self):
        self.bell.uncork()

    # ---- events
    def poll(self, int limit=256):
        """Up to `limit` events behind those it has given already, oldest first within each ring. Never blocks."""
        cdef uint64_t cleared
        cdef uint32_t number
        cdef Ring *ring
        cdef Record *record
        eventfd_read(self.calls_wake, &cleared)
        events = self.again[:limit]
        del self.again[:limit]
        for number in range(self.memory.workers + 1):
            ring = event_ring(self.memory, number)
            while len(events) < limit:
                record = ring_peek(ring, &self.seen[number])
                if record == NULL:
                    break
                self.seen[number] = ring_behind(record, self.seen[number])
                event = self._event(record.type, record.id, <EventBody *>ring_payload(record))
                if event is not None:
                    events.append(event)
        if len(events) < limit:
            events.extend(self.sip.poll(limit - len(events)))
        if len(events) >= limit:
            eventfd_write(self.calls_wake, 1)
        return events

    def positions(self):
        """How far poll has read, for resume: the number of this memory, then a position per ring."""
        cdef uint32_t ring
        return (self.memory.born, *[self.seen[ring] for ring in range(self.memory.workers + 1)], self.sip.position)

    def consumed(self):
        """Drop the events that poll has given. Whoever sleeps on fileno() has called this after his last poll."""
        cdef uint32_t ring
        cdef bint more = self.sip.consumed()
        for ring in range(self.memory.workers + 1):
            more |= ring_consume(event_ring(self.memory, ring), self.seen[ring])
        if more:  # it may have come while the ring did not look empty, and so without a signal
            eventfd_write(self.calls_wake, 1)

    def resume(self, positions):
        """Go on from the positions of an engine whose process has died: what is before them is dropped. Positions of another memory
        change nothing."""
        cdef uint32_t ring
        if len(positions) != self.memory.workers + 3 or positions[0] != self.memory.born:
            return
        for ring in range(self.memory.workers + 1):
            if ring_within(event_ring(self.memory, ring), positions[1 + ring]):
                self.seen[ring] = positions[1 + ring]
        self.sip.resume(positions[2 + self.memory.workers])
        self.consumed()

    cdef _event(self, uint32_t type, uint64_t id, EventBody *body):
        if type == EVENT_CORE_STARTED:
            return CoreStarted(body.a, self.datapath())
        if type == EVENT_MEDIA_STARTED:
            return MediaStarted(id)
        if type == EVENT_MEDIA_SILENT:
            return MediaSilent(id, body.a)
        if type == EVENT_DIGIT:
            return Digit(id, DIGITS[body.a & 15], body.b)
        if type == EVENT_PLAY_ENDED:
            return PlayEnded(id, body.b != 0, body.c)
        if type == EVENT_DIGITS_SENT:
            return DigitsSent(id, body.c)
        if type == EVENT_RECORD_ENDED:
            return RecordEnded(id, body.a, body.b != 0, body.c)
        if type == EVENT_SSRC:
            return SsrcChanged(id, body.a, body.b)
        if type == EVENT_FORGED:
            return AuthenticationFailed(id, body.a, body.b, endpoint_tuple(&leg_at(self.memory, <uint32_t>id).forged_source))
        if type == EVENT_QUALITY:
            return MediaQuality(id, body.a / 1000.0, (body.b & ~<uint32_t>QUALITY_POOR) / 10.0, body.b & QUALITY_POOR != 0)
        return None

    def owns(self, int port):
        """Whether this is one of our RTP or RTCP ports (the next after RTP's, RFC 3550 section 11)."""
        return port in self.ports or port - 1 in self.ports

    # ---- legs
    cdef _find_free(self):
        """Queue the legs that have become usable since the last look (the core has given them sockets)."""
        cdef uint32_t index
        fresh = []
        for index in range(self.usable, load32(&self.memory.usable, ACQUIRE)):
            block = config_at(self.memory, index)
            self.ports.add(leg_at(self.memory, index).port)
            if not block.copies[block.version & 1].flags & LEG_OPEN:
                fresh.append(index)
        self.usable = self.memory.usable
        random.SystemRandom().shuffle(fresh)
        for number in fresh:
            self.free[worker_of(self.memory, number)].append(number)

    cdef Config *_config(self, uint64_t id) except NULL:
        """The valid Config of an open leg; StaleHandle."""
        cdef uint32_t index = <uint32_t>id
        cdef ConfigBlock *block
        cdef Config *config
        if index < self.memory.legs:
            block = config_at(self.memory, index)
            config = &block.copies[block.version & 1]
            if config.generation == id >> 32 and config.flags & LEG_OPEN:
                return config
        raise StaleHandle(f"leg {index} is closed")

    cdef void _publish(self, uint32_t index, const Config *config) noexcept:
        cdef ConfigBlock *block = config_at(self.memory, index)
        cdef bint sound = (config.flags | block.copies[block.version & 1].flags) & LEG_SOUND
        cdef uint32_t before = block.copies[block.version & 1].dsp
        block.copies[(block.version + 1) & 1] = config[0]
        store32(&block.version, block.version + 1, RELEASE)
        if ring_push(command_ring(self.memory, worker_of(self.memory, index)), COMMAND_SYNC, index, NULL, 0) == RING_WAKE:
            self.bell.ring()
        if config.dsp != before:  # the one it leaves lets go of what plays
            ring_push(command_ring(self.memory, self.memory.workers + before), COMMAND_SYNC, index, NULL, 0)
        if sound or config.dsp != before:
            ring_push(command_ring(self.memory, self.memory.workers + config.dsp), COMMAND_SYNC, index, NULL, 0)
            self.bell.ring()

    cdef _publish_change(self, uint64_t leg, const Config *config, bint anew):
        if anew or memcmp(config, self._config(leg), sizeof(Config)):
            self._publish(<uint32_t>leg, config)

    def open(self, beside=None):
        """Reserve a leg. OutOfService: none is free."""
        cdef uint32_t index
        cdef Config config
        if self.memory.usable != self.usable:
            self._find_free()
        queue = max(self.free, key=len)
        if beside is not None:
            self._config(beside)
            queue = self.free[worker_of(self.memory, <uint32_t><uint64_t>beside)] or queue
        if not queue:
            raise OutOfService("no free leg" if self.usable else "the media core has not started")
        index = queue.popleft()
        block = config_at(self.memory, index)
        memset(&config, 0, sizeof(Config))
        config.generation = block.copies[block.version & 1].generation + 1
        config.flags = LEG_OPEN
        config.peer = NO_LEG
        config.dsp = worker_of(self.memory, index)
        config.telephone_event = -1
        self._publish(index, &config)
        return LegRecord(<uint64_t>config.generation << 32 | index, leg_at(self.memory, index).port)

    def describe(self, uint64_t leg, remote, *, anew=True):
        """Tell or change the far end; anew=False: unless it is so already. ValueError: an address that media must not go to, or an
        unusable key."""
        cdef Config config = self._config(leg)[0]
        cdef Endpoint before = config.remote, rtcp_before = config.remote_rtcp
        reachable = _check_address(remote.address, remote.signalling)
        rtcp_port = remote.rtcp_port or remote.port
        if not 0 <= remote.port <= 65535 or not 0 <= rtcp_port <= 65535:
            raise ValueError("a port is 0 to 65535")
        if self.owns(remote.port) and remote.address == endpoint_tuple(&self.memory.local)[0]:
            raise ValueError("the far end names one of our own ports")
        put_endpoint(&config.remote, _packed(remote.address, remote.port))
        put_endpoint(&config.remote_rtcp, _packed(remote.address, rtcp_port))
        memset(&config.signalling, 0, sizeof(Endpoint))
        if remote.signalling:
            put_endpoint(&config.signalling, _packed(remote.signalling, 0))
        config.flags = LEG_OPEN | LEG_DESCRIBED | config.flags & (LEG_TAKEN | LEG_RECORDED | LEG_MIXED | LEG_MUTED)
        others = _take_codecs(remote.codecs, &config)
        if remote.find_digits and config.codecs[0]:
            config.flags |= LEG_LISTENED | (0 if config.flags & LEG_TAKEN else LEG_COPIED)
        if remote.send and reachable and remote.port:
            config.flags |= LEG_SEND
        if remote.receive:
            config.flags |= LEG_RECEIVE
        config.telephone_event = remote.telephone_event
        if not config.remote_version or memcmp(&before, &config.remote, sizeof(Endpoint)) or memcmp(&rtcp_before, &config.remote_rtcp, sizeof(Endpoint)):
            config.remote_version += 1
        if take_key(remote.crypto_in, &config.key_in):
            config.version_in += 1
        if take_key(remote.crypto_out, &config.key_out):
            config.version_out += 1
        if not anew and memcmp(&config, self._config(leg), sizeof(Config)) == 0:
            return
        config.describe_version += 1
        self._publish(<uint32_t>leg, &config)
        if others and config.peer != NO_LEG and config.peer != <uint32_t>leg:
            self.connect(leg, <uint64_t>config.peer_generation << 32 | config.peer)

    def connect(self, uint64_t a, uint64_t b, a_to_b=None, b_to_a=None, *, anew=True):
        """Relay both ways, mapping payload types; anew=False: unless it is so already. connect(a, a) echoes. What either was connected to
        before is let go."""
        self._config(a)
        self._config(b)
        a_to_b, b_to_a = dict(a_to_b or {}), dict(b_to_a or {})
        if any(not (0 <= here < 128 and 0 <= there < 128) for mapping in (a_to_b, b_to_a) for here, there in mapping.items()):
            raise ValueError("a payload type is 0 to 127")
        self._part(a, b)
        self._part(b, a)
        taken = a != b and not (_relayable(self._config(a), self._config(b), a_to_b) and _relayable(self._config(b), self._config(a), b_to_a))
        self._point(a, b, a_to_b, taken, anew)
        if a != b:
            self._point(b, a, b_to_a, taken, anew)

    cdef _point(self, uint64_t leg, uint64_t peer, mapping, bint taken, bint anew):
        cdef Config config = self._config(leg)[0]
        cdef int payload
        # what is transcoded is one DSP's, whichever of the two is named first
        _place(&config, LEG_TAKEN if taken else 0, worker_of(self.memory, min(<uint32_t>leg, <uint32_t>peer) if taken else <uint32_t>leg))
        config.peer = <uint32_t>peer
        config.peer_generation = <uint32_t>(peer >> 32)
        for payload in range(128):
            config.payload_map[payload] = <uint8_t>payload
        for here, there in mapping.items():
            config.payload_map[<int>here] = <uint8_t>there
        self._publish_change(leg, &config, anew)

    cdef _part(self, uint64_t leg, uint64_t keep):
        """End what `leg` is connected to, unless it is `keep`."""
        cdef Config config = self._config(leg)[0], other
        cdef uint64_t peer = <uint64_t>config.peer_generation << 32 | config.peer
        if config.flags & LEG_MIXED:
            _place(&config, 0, worker_of(self.memory, <uint32_t>leg))
            config.room = 0
            self._publish(<uint32_t>leg, &config)
            return
        if config.peer == NO_LEG or peer == keep:
            return
        config.peer = NO_LEG
        _place(&config, 0, worker_of(self.memory, <uint32_t>leg))
        self._publish(<uint32_t>leg, &config)
        try:
            other = self._config(peer)[0]
        except StaleHandle:
            return
        if other.peer == <uint32_t>leg and other.peer_generation == leg >> 32:
            other.peer = NO_LEG
            _place(&other, 0, worker_of(self.memory, <uint32_t>peer))
            self._publish(<uint32_t>peer, &other)

    def disconnect(self, uint64_t leg):
        self._config(leg)
        self._part(leg, NO_LEG)

    def mix(self, uint64_t leg, uint32_t room, *, muted=False, anew=True):
        """Into a conference, or change whether the leg is heard there; anew=False: unless it is so already. ValueError: no codec."""
        cdef Config config = self._config(leg)[0]
        if room < 1:
            raise ValueError("the number of a conference is above 0")
        if _sending(&config) < 0:
            raise ValueError("the leg has no codec that can be mixed")
        if not (config.flags & LEG_MIXED and config.room == room):
            self._part(leg, NO_LEG)
            config = self._config(leg)[0]
        _place(&config, LEG_TAKEN | LEG_MIXED | (LEG_MUTED if muted else 0), room % self.memory.workers)
        config.room = room
        self._publish_change(leg, &config, anew)

    # ---- playing
    cdef bint _goes_on(self, uint64_t leg, uint32_t serial) except -1:
        """Is this serial's the last request of the leg? Then it goes on (the command may have been lost with a process), or tells its end
        once more."""
        cdef uint32_t index = <uint32_t>leg
        cdef Player *player = player_at(self.memory, index)
        cdef Request *request = &player.request
        if not serial or request.serial != serial or request.generation != leg >> 32 or request.version & 1:
            return False
        if load32(&player.progress.done, ACQUIRE) == request.version:
            digits = request.kind == REQUEST_DIGITS
            self._tell_again(DigitsSent(leg, serial) if digits else PlayEnded(leg, player.progress.failed != 0, serial))
        else:
            self._command_sound(COMMAND_PLAY, leg)
        return True

    cdef _tell_again(self, event):
        self.again.append(event)
        eventfd_write(self.calls_wake, 1)

    cdef _command_sound(self, uint32_t command, uint64_t leg):
        """Tell the leg's DSP, or the recorder, to look."""
        cdef uint32_t ring = self.memory.workers + self._config(leg).dsp
        if command == COMMAND_RECORD:
            ring = 2 * self.memory.workers
        ring_push(command_ring(self.memory, ring), command, leg, NULL, 0)
        self.bell.ring()

    cdef _request(self, uint64_t leg, uint32_t kind, uint32_t payload_type, items, uint32_t serial):
        cdef uint32_t index = <uint32_t>leg
        cdef Request *request = &player_at(self.memory, index).request
        cdef Item *item
        cdef uint32_t version = request.version | 1
        if kind in (REQUEST_TONES, REQUEST_DIGITS) and len(items) > PLAY_ITEMS:
            raise ValueError(f"at most {PLAY_ITEMS} tones or digits at once")
        store32(&request.version, version, RELEASE)
        fence(RELEASE)
        request.generation = <uint32_t>(leg >> 32)
        request.kind = kind
        request.serial = serial
        request.payload_type = payload_type
        request.count = <uint32_t>len(items)
        if kind == REQUEST_TONES or kind == REQUEST_DIGITS:
            for at, (first, second, milliseconds, event) in enumerate(items):
                item = &request.items[at]
                item.first, item.second, item.milliseconds, item.event = first, second, milliseconds, event
        else:
            names = b"".join(path + b"\0" for path in items) + b"\0"
            memcpy(request.paths, <const char *>names, len(names))
        store32(&request.version, version + 1, RELEASE)
        self._command_sound(COMMAND_PLAY, leg)

    def play(self, uint64_t leg, tones, int payload_type, *, uint32_t serial=0):
        """Send tones; PlayEnded follows. Takes the place of what plays; no tones: only stops that."""
        _check_payload(self._config(leg), payload_type)
        if self._goes_on(leg, serial):
            return
        items = [(first, second, milliseconds, ITEM_TONE) for first, second, milliseconds in tones]
        if any(not (0 <= a < 4000 and 0 <= b < 4000 and 0 < ms <= 600_000) for a, b, ms, _ in items):
            raise ValueError("a tone is below 4000 Hz and lasts 1 ms to 10 minutes")
        self._request(leg, REQUEST_TONES, payload_type, items, serial)

    def send_digits(self, uint64_t leg, str digits, *, uint32_t serial=0):
        """RFC 4733 events where the far end takes them, else the tones in G.711. ValueError: no digit, or neither is possible."""
        cdef Config *config = self._config(leg)
        cdef uint32_t payload_type = leg_at(self.memory, <uint32_t>leg).sent.payload_type
        if _sending(config) >= 0:
            payload_type = config.codec_payloads[_sending(config)]
        elif config.telephone_event >= 0 and payload_type not in (0, 8):
            payload_type = 0  # what was sent last were digits, or nobody knows its codec: events count in 8 kHz (RFC 4733 section 2.1)
        if any(digit not in DIGITS for digit in digits):
            raise ValueError(f"digits are {DIGITS}")
        if config.telephone_event < 0 and payload_type not in (0, 8) and _sending(config) < 0:
            raise ValueError("the far end takes no telephone-event, and its codec is not one of ours")
        if self._goes_on(leg, serial):
            return
        items = []
        for digit in digits:
            code = DIGITS.index(digit)
            if config.telephone_event < 0:
                items.append((*DTMF[code], DIGIT_MS, ITEM_TONE))
            else:
                items.append((0, 0, DIGIT_MS, code))
            items.append((0, 0, DIGIT_GAP_MS, ITEM_TONE))
        self._request(leg, REQUEST_DIGITS, payload_type, items, serial)

    def play_files(self, uint64_t leg, paths, int payload_type, *, loop=False, uint32_t serial=0):
        """Sound files one after the other; PlayEnded follows. ValueError: a path is not absolute, or they are too long together."""
        _check_payload(self._config(leg), payload_type)
        names = [os.fsencode(path) for path in paths]
        if any(not name.startswith(b"/") or b"\0" in name for name in names):
            raise ValueError("the path of a sound file is absolute")
        if sum(len(name) + 1 for name in names) > PATHS_ROOM - 3:
            raise ValueError(f"the paths of the files are longer than {PATHS_ROOM - 3} octets together")
        if self._goes_on(leg, serial):
            return
        self._request(leg, REQUEST_LOOPED if loop else REQUEST_FILES, payload_type, names, serial)

    def record(self, uint64_t leg, path, *, sides="both", int seconds=0, uint32_t serial=0):
        """Record what a leg receives and is sent; RecordEnded follows. An empty path ends the recording."""
        cdef Config config = self._config(leg)[0]
        cdef uint32_t index = <uint32_t>leg
        cdef Take *take = take_at(self.memory, index)
        name = os.fsencode(path)
        if sides not in SIDES:
            raise ValueError(f"sides: {', '.join(SIDES)}")
        if name and (not name.startswith(b"/") or b"\0" in name or len(name) > PATHS_ROOM - 8 or not name.endswith((b".wav", b".ogg", b".opus"))):
            raise ValueError("a recording is an absolute path that ends in .wav, .ogg or .opus")
        if not 0 <= seconds <= 86_400:
            raise ValueError("a recording is at most a day long")
        known = take.generation == leg >> 32 and not take.version & 1
        if not name and not known:
            return
        if name and serial and known and take.serial == serial:
            if load32(&take.done, ACQUIRE) == take.version:
                self._tell_again(RecordEnded(leg, take.length, take.failed != 0, serial))
                return
        elif name:
            version = take.version | 1
            store32(&take.version, version, RELEASE)
            fence(RELEASE)
            take.generation = <uint32_t>(leg >> 32)
            take.sides, take.limit, take.serial, take.began, take.stopped = SIDES[sides], seconds * 1000, serial, 0, 0
            memset(take.path, 0, PATHS_ROOM)
            memcpy(take.path, <const char *>name, len(name))
            store32(&take.version, version + 1, RELEASE)
        else:
            store32(&take.stopped, 1, RELEASE)
        config.flags = config.flags & ~<uint32_t>LEG_RECORDED if take.stopped else config.flags | LEG_RECORDED
        self._publish_change(leg, &config, False)
        self._command_sound(COMMAND_RECORD, leg)

    def close(self, uint64_t leg):
        """Idempotent as long as the leg is not in use again; returns the final counters."""
        cdef uint32_t index = <uint32_t>leg
        cdef Config config
        final = self.stats(leg)
        try:
            self._config(leg)
        except StaleHandle:
            return final
        self._part(leg, NO_LEG)
        memset(&config, 0, sizeof(Config))
        config.generation = <uint32_t>(leg >> 32)
        config.peer = NO_LEG
        self._publish(index, &config)
        self._publish(index, &config)  # the keys go from both copies
        self.free[worker_of(self.memory, index)].append(index)
        return final

    def legs(self):
        """The open legs."""
        cdef uint32_t index
        out = []
        for index in range(self.memory.legs):
            block = config_at(self.memory, index)
            config = &block.copies[block.version & 1]
            if config.flags & LEG_OPEN:
                out.append(<uint64_t>config.generation << 32 | index)
        return out

    def stats(self, uint64_t leg):
        """The counters of a leg, open or just closed. StaleHandle: it is in use again."""
        cdef uint32_t index = <uint32_t>leg
        cdef Leg record
        cdef uint64_t now = clock_now()
        if index >= self.memory.legs or config_at(self.memory, index).copies[config_at(self.memory, index).version & 1].generation != leg >> 32:
            raise StaleHandle(f"leg {index} is closed")
        record = leg_at(self.memory, index)[0]
        if record.generation != leg >> 32:  # the worker has not come to it yet
            memset(&record, 0, sizeof(Leg))
        return _stats(&record, now)

    # ---- SIP flows
    def dial(self, transport, host, port, *, server_name=""):
        return self.sip.dial(transport, host, port, server_name=server_name)

    def send(self, flow, data):
        self.sip.send(flow, data)

    def shut(self, flow):
        self.sip.shut(flow)

    def keep(self, flow, kept=True):
        self.sip.keep(flow, kept)

    def flow(self, flow):
        return self.sip.flow(flow)

    def flows(self):
        return self.sip.flows()

    def listeners(self):
        return self.sip.listeners()

    # ---- figures
    def counters(self):
        """legs, legs_free, rtp_ports, flows, packets_in, packets_out, dropped, stray, crossed, crossing_lost, events_lost, generation."""
        cdef uint32_t worker
        cdef WorkerCounters *c
        total = {"packets_in": 0, "packets_out": 0, "dropped": 0, "stray": 0, "crossed": 0, "crossing_lost": 0, "events_lost": 0, "dsp_lost": 0, "recorder_lost": 0, "dsp_skipped": 0}
        for worker in range(self.memory.workers):
            c = counters_at(self.memory, worker)
            total["packets_in"] += c.packets_in
            total["packets_out"] += c.packets_out
            total["dropped"] += c.dropped
            total["stray"] += c.stray
            total["crossed"] += c.crossed
            total["crossing_lost"] += c.crossing_lost
            total["dsp_lost"] += c.dsp_lost
            total["recorder_lost"] += c.recorder_lost
            total["dsp_skipped"] += c.dsp_skipped
            total["events_lost"] += event_ring(self.memory, worker).dropped
        if self.memory.usable != self.usable:
            self._find_free()
        free = sum(map(len, self.free))
        return {"legs": self.usable - free, "legs_free": free, "rtp_ports": 2 * self.usable, **total, "generation": self.memory.generation,
                **{name if name == "flows" else f"flow_{name}": value for name, value in self.sip.counters().items()}}

    def datapath(self):
        return (<bytes>self.memory.datapath).decode()


cdef _age(uint64_t last, uint64_t now):
    return -1 if last == 0 else max(0, <int64_t>(now - last) // 1000000)


cdef _stats(Leg *leg, uint64_t now):
    r, s = leg.received, leg.sent
    cdef uint32_t khz = r.khz or 8, at
    stream_end_run(&leg.losses)  # of this copy: the run in progress counts as it stands
    x = leg.losses
    received = Direction(r.packets, r.bytes, r.lost, r.reordered, r.duplicates, r.jitter / 16.0 / khz, _age(r.last, now), leg.rtcp_received,
                         leg.dropped_source, leg.dropped_auth, leg.dropped_other, x.bursts, x.burst_lost, x.burst_packets, x.burst_longest,
                         leg.ssrc_changes, leg.source_changes,
                         leg.secured_received + (r.packets - leg.keyed_received if leg.secure_in else 0))
    for at in range(LEG_CODECS):
        if leg.clock_khz[at] and leg.clock_payloads[at] == s.payload_type:
            khz = leg.clock_khz[at]
            break
    reported = None
    if leg.reported:
        reported = FarReport(_age(leg.reported, now), leg.reported_lost, leg.reported_fraction / 256.0, <double>leg.reported_jitter / khz,
                             leg.round_trip / 1000.0)
    sent = Direction(s.packets, s.bytes, leg.reported_lost, 0, 0, <double>leg.reported_jitter / khz, _age(s.last, now), s.rtcp, 0, 0, s.failed,
                     secured=leg.secured_sent + (s.packets - leg.keyed_sent if leg.secure_out else 0))
    return LegStats(received, sent, leg.locked != 0, bool(leg.secure_in and leg.secure_out), endpoint_tuple(&leg.to), reported)
