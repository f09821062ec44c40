"""The table of SIP flows in shared memory, and the client that `calls` drives them with.

A flow is a TCP or TLS connection, or a remote address on a UDP listener; its id is index | generation << 32. The core owns the
entries; the client reads them (a sequence number tells a torn read) and asks for changes through its command ring. Dialled flows
have their own part of the table: the client picks a free entry and a generation never used before, so `dial` answers at once,
and the core refuses an entry that is taken. UDP and accepted streams have separate parts too: a flood in one starves no other.
A client started anew finds the flows in the table and in the ring the events that none has consumed; FlowClosed comes at least once per flow.
"""

from libc.string cimport memcmp, memcpy, memset

import socket

from media_core.shared.atomic cimport ACQUIRE, RELAXED, RELEASE, fence, load32, load64, store32, store64
from media_core.shared.ring cimport RING_MAX, RING_WAKE, Bell, Record, Ring, ring_behind, ring_consume, ring_payload, ring_peek, ring_push, ring_within

from media_core.records import FlowClosed, FlowInfo, FlowOpened, FlowReceived, FlowUnreachable, HandshakeFailed, OutOfService, StaleHandle, Transport

REFUSALS = ("no common cipher", "old version", "not TLS", "certificate refused", "broken off")  # by REFUSAL_

cdef uint64_t MAGIC = 0x31574F4C46574853


# ---- memory ---------------------------------------------------------------------------------------------------------

cdef uint64_t flows_area_size(uint32_t count) noexcept nogil:
    return sizeof(FlowArea) + <uint64_t>count * sizeof(FlowEntry)


cdef int flows_area_init(FlowArea *area, uint32_t count) noexcept nogil:
    """count: 16..65536 flows, an eighth for dialled ones, three for UDP, four for accepted connections. -1: out of range."""
    if count < 16 or count > 65536:
        return -1
    memset(area, 0, flows_area_size(count))
    area.version = FLOW_VERSION
    area.count = count
    area.dial_end = count // 8
    area.udp_end = count // 2
    store64(&area.magic, MAGIC, RELEASE)
    return 0


cdef bint flows_area_valid(const FlowArea *area, uint64_t room) noexcept nogil:
    return (room >= sizeof(FlowArea) and area.magic == MAGIC and area.version == FLOW_VERSION
            and flows_area_size(area.count) <= room and area.dial_end < area.udp_end < area.count)


# ---- addresses ------------------------------------------------------------------------------------------------------

cdef uint32_t endpoint_port(const Endpoint *place) noexcept nogil:
    """Both families have it at the same offset."""
    return place.address[2] << 8 | place.address[3]


cdef uint64_t hash_place(uint64_t seed, uint32_t salt, const Endpoint *place, bint port) noexcept nogil:
    """Keyed, so that nobody outside can choose addresses that fall into one bucket."""
    cdef uint64_t hash = seed ^ salt
    cdef uint32_t at = 4, end = 8
    if place.length == 28:
        at, end = 8, 24
    if port:
        hash = (hash ^ (place.address[2] << 8 | place.address[3])) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 29
    while at < end:
        hash = (hash ^ (<const uint32_t *>(place.address + at))[0]) * <uint64_t>0xBF58476D1CE4E5B9
        hash ^= (hash >> 31) ^ (seed >> 7)
        at += 4
    return hash ^ hash >> 33


cdef bint same_place(const Endpoint *a, const Endpoint *b, bint port) noexcept nogil:
    if a.length != b.length:
        return False
    if port and (a.address[2] != b.address[2] or a.address[3] != b.address[3]):
        return False
    if a.length == 28:
        return memcmp(a.address + 8, b.address + 8, 16) == 0
    return memcmp(a.address + 4, b.address + 4, 4) == 0


cdef int endpoint_set(Endpoint *place, str host, int port) except -1:
    """host: a numeric address; names are resolved by the caller. ValueError for anything else."""
    cdef bytes packed
    if not 0 < port < 65536:
        raise ValueError(f"no such port: {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        packed = socket.inet_pton(family, host)
    except OSError:
        raise ValueError(f"not a numeric address: {host!r}") from None
    memset(place, 0, sizeof(Endpoint))
    (<uint16_t *>place.address)[0] = <uint16_t>int(family)
    place.address[2], place.address[3] = port >> 8, port & 255
    if family == socket.AF_INET6:
        memcpy(place.address + 8, <char *>packed, 16)
        place.length = 28
    else:
        memcpy(place.address + 4, <char *>packed, 4)
        place.length = 16
    return 0


cdef tuple endpoint_tuple(const Endpoint *place):
    """(host, port); ("", 0) when there is none."""
    if place.length == 16:
        return socket.inet_ntop(socket.AF_INET, (<char *>place.address)[4:8]), endpoint_port(place)
    if place.length == 28:
        return socket.inet_ntop(socket.AF_INET6, (<char *>place.address)[8:24]), endpoint_port(place)
    return "", 0


cdef object info_of(uint64_t id, const FlowBody *body):
    return FlowInfo(id, Transport(body.transport), endpoint_tuple(&body.local), endpoint_tuple(&body.remote),
                    (<bytes>body.text).decode("ascii", "replace"))


# ---- client ---------------------------------------------------------------------------------------------------------

cdef class FlowClient:
    """The side of `calls`: one thread. Commands raise OutOfService when the core does not keep up; none blocks."""

    cdef FlowArea *area
    cdef Ring *commands
    cdef Ring *events
    cdef readonly Bell bell
    cdef uint32_t next_dial
    cdef readonly uint64_t position  # of the first event that poll has not given yet
    cdef dict dialling  # id -> FlowInfo: asked for, not reported open or closed yet

    def __init__(self, uint64_t area, uint64_t commands, uint64_t events, int core_wake):
        """Addresses of the flow area and of the command and event rings in the mapped memory."""
        self.area = <FlowArea *>area
        if not flows_area_valid(self.area, <uint64_t>-1):
            raise ValueError("no flow area here")
        self.commands = <Ring *>commands
        self.events = <Ring *>events
        self.bell = Bell(core_wake)
        self.position = self.events.tail
        self.dialling = {}
        self.next_dial = self.area.dialled % self.area.dial_end
        self.bell.ring()

    cdef int command(self, uint32_t type, uint64_t id, const void *payload, uint32_t length) except -1:
        cdef int result = ring_push(self.commands, type, id, payload, length)
        if result < 0:
            raise OutOfService("the core does not take commands for SIP flows" if length <= RING_MAX else "message too long")
        if result == RING_WAKE:
            self.bell.ring()
        return 0

    cdef bint look(self, uint64_t id, FlowEntry *copy) noexcept:
        """A whole copy of the entry if it still is that flow and open."""
        cdef uint32_t index = id & 0xFFFFFFFF, generation = id >> 32, before
        cdef FlowEntry *entry
        cdef int attempt
        if index >= self.area.count:
            return False
        entry = flow_at(self.area, index)
        for attempt in range(1000):
            before = load32(&entry.sequence, ACQUIRE)
            memcpy(copy, entry, sizeof(FlowEntry))
            fence(ACQUIRE)
            if not before & 1 and load32(&entry.sequence, RELAXED) == before:
                copy.body.text[FLOW_TEXT - 1] = 0
                return copy.generation == generation and copy.state == FLOW_OPEN
        return False

    cdef int require(self, uint64_t id) except -1:
        cdef FlowEntry copy
        if not self.look(id, &copy) and id not in self.dialling:
            raise StaleHandle("the flow is closed")
        return 0

    def dial(self, transport, str host, int port, *, str server_name=""):
        """Open a flow to a numeric address; FlowOpened or FlowClosed follows, sending is allowed at once.

        With server_name a TLS server must present a certificate for it that the system's CAs vouch for; without, any is taken.
        """
        cdef DialBody body
        cdef bytes name = server_name.encode("idna") if server_name and ":" not in server_name else server_name.encode()
        cdef uint32_t tried, index, generation
        cdef uint64_t id
        if len(name) >= FLOW_NAME:
            raise ValueError("server name too long")
        memset(&body, 0, sizeof(body))
        body.transport = Transport(transport)
        endpoint_set(&body.remote, host, port)
        memcpy(body.server_name, <char *>name, len(name))
        busy = {flow & 0xFFFFFFFF for flow in self.dialling}
        for tried in range(self.area.dial_end):
            index = (self.next_dial + tried) % self.area.dial_end
            if index not in busy and load32(&flow_at(self.area, index).state, ACQUIRE) == FLOW_FREE:
                break
        else:
            raise OutOfService("too many dialled flows")
        generation = max(1, <uint32_t>(self.area.dialled + 1))
        store32(&self.area.dialled, generation, RELEASE)
        self.next_dial = (index + 1) % self.area.dial_end
        id = index | <uint64_t>generation << 32
        self.command(FLOW_DIAL, id, &body, sizeof(body))
        self.dialling[id] = FlowInfo(id, Transport(transport), ("", 0), (host, port), "")
        return id

    def send(self, uint64_t flow, const unsigned char[::1] data not None):
        """One whole message. StaleHandle: the flow is closed."""
        if data.shape[0] == 0 or data.shape[0] > RING_MAX:
            raise ValueError("a message is 1 byte to 68 kB")
        self.require(flow)
        self.command(FLOW_SEND, flow, &data[0], <uint32_t>data.shape[0])

    def shut(self, uint64_t flow):
        """Close after what was sent is out; FlowClosed follows. A flow that is gone already is no error."""
        cdef FlowEntry copy
        if self.look(flow, &copy) or flow in self.dialling:
            self.command(FLOW_SHUT, flow, NULL, 0)

    def keep(self, uint64_t flow, bint kept=True):
        """A kept flow (a registered phone's, or one in a call) makes no room for new sources, and may be silent for long."""
        cdef uint8_t value = kept
        self.require(flow)
        self.command(FLOW_KEEP, flow, &value, 1)

    def flow(self, uint64_t flow):
        cdef FlowEntry copy
        if self.look(flow, &copy):
            return info_of(flow, &copy.body)
        if flow in self.dialling:
            return self.dialling[flow]
        raise StaleHandle("the flow is closed")

    def flows(self):
        """All open flows."""
        cdef FlowEntry copy
        cdef uint32_t index
        cdef uint64_t id
        found = []
        for index in range(self.area.count):
            if load32(&flow_at(self.area, index).state, ACQUIRE) == FLOW_OPEN:
                id = index | <uint64_t>load32(&flow_at(self.area, index).generation, ACQUIRE) << 32
                if self.look(id, &copy):
                    found.append(info_of(id, &copy.body))
        return found

    def listeners(self):
        """What the core listens on, in the order the sockets were given; the ids mean nothing, the remote is ("", 0)."""
        cdef uint32_t n
        return [info_of(n, &self.area.listener[n]) for n in range(load32(&self.area.listeners, ACQUIRE))]

    def poll(self, int limit=256):
        """Up to `limit` events behind those that it has given already. They stay in the ring until consumed()."""
        cdef Record *record
        events = []
        while len(events) < limit:
            record = ring_peek(self.events, &self.position)
            if record == NULL:
                break
            self.position = ring_behind(record, self.position)
            event = self.decode(record)
            if event is not None:
                events.append(event)
        return events

    def consumed(self):
        """Drop the events that poll has given. True: others wait; False: the next one signals calls_wake."""
        cdef bint more = ring_consume(self.events, self.position)
        if load32(&self.area.starved, ACQUIRE):
            self.bell.ring()
        return more

    def resume(self, uint64_t position):
        """Go on from the position of a client that has died; what is before it is dropped. Nonsense changes nothing."""
        if ring_within(self.events, position):
            self.position = position
            self.consumed()

    cdef object decode(self, Record *record):
        cdef uint64_t id = record.id
        cdef bytes payload
        cdef RefusalBody *refusal
        if record.type == FLOW_RECEIVED:
            return FlowReceived(id, (<char *>ring_payload(record))[:record.length])
        if record.type == FLOW_OPENED and record.length == sizeof(FlowBody):
            self.dialling.pop(id, None)
            return FlowOpened(info_of(id, <FlowBody *>ring_payload(record)))
        if record.type == FLOW_CLOSED:
            self.dialling.pop(id, None)
            payload = (<char *>ring_payload(record))[:record.length]
            return FlowClosed(id, payload.decode("ascii", "replace"))
        if record.type == FLOW_UNREACHABLE:
            return FlowUnreachable(id)
        if record.type == FLOW_REFUSED and record.length == sizeof(RefusalBody):
            refusal = <RefusalBody *>ring_payload(record)
            return HandshakeFailed(*endpoint_tuple(&refusal.remote), REFUSALS[refusal.reason], (<bytes>refusal.detail).decode("ascii", "replace"))
        return None

    def counters(self):
        """flows (open now) and what FlowCounters holds, since the memory was made."""
        cdef FlowCounters *c = &self.area.counters
        cdef uint32_t index, flows = 0
        for index in range(self.area.count):
            flows += load32(&flow_at(self.area, index).state, RELAXED) == FLOW_OPEN
        return {
            "flows": flows, "opened": load64(&c.opened, RELAXED), "closed": load64(&c.closed, RELAXED),
            "refused": c.refused, "messages_in": c.messages_in, "messages_out": c.messages_out,
            "dropped_full": c.dropped_full, "dropped_noise": c.dropped_noise, "dropped_table": c.dropped_table,
            "dropped_send": c.dropped_send, "evicted": c.evicted, "framing": c.framing, "timeouts": c.timeouts,
            "handshakes": c.handshakes, "handshakes_failed": c.handshakes_failed, "unreachable": c.unreachable, "keepalives": c.keepalives,
            "starts": self.area.starts,
        }


# ---- for tests and tools --------------------------------------------------------------------------------------------

def area_size(uint32_t count):
    """Bytes the flow area takes for so many flows."""
    return flows_area_size(count)


def area_init(uint64_t address, uint32_t count):
    """Initialise the flow area at `address`."""
    if address & 63 or flows_area_init(<FlowArea *>address, count):
        raise ValueError("flow area: 16..65536 flows, on a cache line")
