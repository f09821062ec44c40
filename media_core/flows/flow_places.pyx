"""Who has to make room: the unproved flows of one part of the table, by where they come from.

A flow is unproved until the client keeps it (its phone has registered, or is in a call). Nobody is refused for how many come from
where he is, since a whole office may be one address; when there is no place left, one of the network with the most unproved flows has
to go, in it one of the host with the most, and of those the oldest. So a stranger with a thousand flows loses one of his own for
every phone that comes, and ten thousand forged addresses turn over among themselves. A network is an IPv4 /24 or an IPv6 /64, in which
addresses cost nothing. Those who have only just come get their time first: a flow younger than `grace` goes only when the heaviest have
no older one.

Every step is one of a bounded number of moves in linked lists. Groups with the same count stand in one rank, so that one flow more
or less moves a group to the neighbouring rank.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from media_core.flows.flow_table cimport endpoint_set, hash_place, same_place

cdef enum:
    LOOK = 16           # networks, and hosts in each, that are looked at for one past its grace
    HOST = 1            # salts
    NETWORK = 2


cdef bint places_open(Places *places, uint32_t count, uint64_t seed) noexcept nogil:
    """Room for flows with the indices 0 to count - 1. False: out of memory."""
    cdef uint32_t n
    places.count, places.seed, places.mask = count, seed, 1
    while places.mask < 2 * count:
        places.mask = places.mask * 2 + 1
    places.place = <Place *>calloc(count, sizeof(Place))
    places.group = <Group *>calloc(2 * count, sizeof(Group))
    places.rank = <Rank *>calloc(2 * count + 2, sizeof(Rank))
    places.bucket = <uint32_t *>calloc(places.mask + 1, sizeof(uint32_t))
    if not (places.place and places.group and places.rank and places.bucket):
        return False
    for n in range(places.mask + 1):
        places.bucket[n] = NOWHERE
    for n in range(count):
        places.place[n].host = NOWHERE
    for n in range(2 * count):
        places.group[n].chained = n + 1 if n + 1 < 2 * count else NOWHERE
    for n in range(2 * count + 2):
        places.rank[n].lighter = n + 1 if n + 1 < 2 * count + 2 else NOWHERE
    places.free_group = places.free_rank = 0
    places.networks.heaviest = places.networks.lightest = NOWHERE
    return True


cdef void places_close(Places *places) noexcept nogil:
    free(places.place)
    free(places.group)
    free(places.rank)
    free(places.bucket)


# ---- ranks ----------------------------------------------------------------------------------------------------------

cdef inline Ranks *ranks_of(Places *places, const Group *group) noexcept nogil:
    """Those it stands in."""
    return &places.networks if group.network == NOWHERE else &places.group[group.network].hosts


cdef void step_out(Places *places, uint32_t index) noexcept nogil:
    """Out of its rank, which is gone when it was the last there."""
    cdef Group *group = &places.group[index]
    cdef Rank *rank = &places.rank[group.rank]
    if group.before != NOWHERE:
        places.group[group.before].after = group.after
    else:
        rank.first = group.after
    if group.after != NOWHERE:
        places.group[group.after].before = group.before
    else:
        rank.last = group.before
    if rank.first != NOWHERE:
        return
    if rank.heavier != NOWHERE:
        places.rank[rank.heavier].lighter = rank.lighter
    else:
        ranks_of(places, group).heaviest = rank.lighter
    if rank.lighter != NOWHERE:
        places.rank[rank.lighter].heavier = rank.heavier
    else:
        ranks_of(places, group).lightest = rank.heavier
    rank.lighter = places.free_rank
    places.free_rank = group.rank


cdef uint32_t new_rank(Places *places, const Group *group, uint32_t heavier, uint32_t lighter) noexcept nogil:
    cdef uint32_t found = places.free_rank
    cdef Rank *rank = &places.rank[found]
    places.free_rank = rank.lighter
    rank.count, rank.heavier, rank.lighter = group.count, heavier, lighter
    rank.first = rank.last = NOWHERE
    if heavier != NOWHERE:
        places.rank[heavier].lighter = found
    else:
        ranks_of(places, group).heaviest = found
    if lighter != NOWHERE:
        places.rank[lighter].heavier = found
    else:
        ranks_of(places, group).lightest = found
    return found


cdef void step_in(Places *places, uint32_t index, uint32_t heavier, uint32_t lighter) noexcept nogil:
    """Into the rank of its count: `heavier` or `lighter`, which are neighbours, or a new one between them; NOWHERE: the end of the ranks."""
    cdef Group *group = &places.group[index]
    cdef Rank *rank
    if heavier != NOWHERE and places.rank[heavier].count == group.count:
        group.rank = heavier
    elif lighter != NOWHERE and places.rank[lighter].count == group.count:
        group.rank = lighter
    else:
        group.rank = new_rank(places, group, heavier, lighter)
    rank = &places.rank[group.rank]
    group.before, group.after = rank.last, NOWHERE
    if rank.last != NOWHERE:
        places.group[rank.last].after = index
    else:
        rank.first = index
    rank.last = index


cdef void weigh(Places *places, uint32_t index, int change) noexcept nogil:
    """One flow more or less."""
    cdef Group *group = &places.group[index]
    cdef Rank *rank = &places.rank[group.rank]
    cdef uint32_t heavier = rank.heavier, lighter = rank.lighter
    if rank.first != rank.last:  # it stays where it is for the others
        if change > 0:
            lighter = group.rank
        else:
            heavier = group.rank
    step_out(places, index)
    group.count += change
    if group.count:
        step_in(places, index, heavier, lighter)
    else:
        forget(places, index)


# ---- groups ---------------------------------------------------------------------------------------------------------

cdef Endpoint network_of(const Endpoint *remote) noexcept nogil:
    """IPv4 /24; IPv6 /64, and /120 of what is IPv4 written as IPv6 (RFC 4291 section 2.5.5.2)."""
    cdef Endpoint network = remote[0]
    cdef const uint8_t *address = remote.address + 8
    cdef uint32_t at
    cdef bint mapped = address[10] == 0xFF and address[11] == 0xFF
    if remote.length == 16:
        network.address[7] = 0
        return network
    for at in range(10):
        mapped = mapped and address[at] == 0
    memset(network.address + (23 if mapped else 16), 0, 1 if mapped else 8)
    return network


cdef uint32_t *bucket_of(Places *places, uint32_t salt, const Endpoint *address) noexcept nogil:
    return &places.bucket[hash_place(places.seed, salt, address, False) & places.mask]


cdef uint32_t joined(Places *places, uint32_t salt, const Endpoint *address, uint32_t network) noexcept nogil:
    """The group of this address, with one flow more than before."""
    cdef uint32_t *bucket = bucket_of(places, salt, address)
    cdef uint32_t index = bucket[0]
    cdef Group *group
    while index != NOWHERE:
        group = &places.group[index]
        if (group.network == NOWHERE) == (network == NOWHERE) and same_place(&group.address, address, False):
            weigh(places, index, 1)
            return index
        index = group.chained
    index = places.free_group
    group = &places.group[index]
    places.free_group = group.chained
    group.address, group.network, group.count = address[0], network, 1
    group.oldest = group.newest = group.hosts.heaviest = group.hosts.lightest = NOWHERE
    group.chained = bucket[0]
    bucket[0] = index
    step_in(places, index, ranks_of(places, group).lightest, NOWHERE)
    return index


cdef void forget(Places *places, uint32_t index) noexcept nogil:
    """A group without flows."""
    cdef Group *group = &places.group[index]
    cdef uint32_t *link = bucket_of(places, NETWORK if group.network == NOWHERE else HOST, &group.address)
    while link[0] != index:
        link = &places.group[link[0]].chained
    link[0] = group.chained
    group.chained = places.free_group
    places.free_group = index


# ---- flows ----------------------------------------------------------------------------------------------------------

cdef void places_enter(Places *places, uint32_t index, const Endpoint *remote, uint64_t now) noexcept nogil:
    """An unproved flow. One that is here already stays where it is."""
    cdef Place *place = &places.place[index]
    cdef Endpoint network
    cdef Group *host
    if place.host != NOWHERE:
        return
    network = network_of(remote)
    place.host = joined(places, HOST, remote, joined(places, NETWORK, &network, NOWHERE))
    host = &places.group[place.host]
    place.since, place.older, place.newer = now, host.newest, NOWHERE
    if host.newest != NOWHERE:
        places.place[host.newest].newer = index
    else:
        host.oldest = index
    host.newest = index


cdef void places_leave(Places *places, uint32_t index) noexcept nogil:
    """It is proved, or gone. One that is not here is none the worse."""
    cdef Place *place = &places.place[index]
    cdef uint32_t network
    cdef Group *host
    if place.host == NOWHERE:
        return
    host = &places.group[place.host]
    if place.older != NOWHERE:
        places.place[place.older].newer = place.newer
    else:
        host.oldest = place.newer
    if place.newer != NOWHERE:
        places.place[place.newer].older = place.older
    else:
        host.newest = place.older
    network = host.network
    weigh(places, place.host, -1)
    weigh(places, network, -1)
    place.host = NOWHERE


cdef uint32_t next_group(const Places *places, uint32_t index) noexcept nogil:
    """The next in its rank, or the first of the next lighter one."""
    cdef const Group *group = &places.group[index]
    cdef uint32_t rank = places.rank[group.rank].lighter
    if group.after != NOWHERE:
        return group.after
    return NOWHERE if rank == NOWHERE else places.rank[rank].first


cdef uint32_t first_group(const Places *places, const Ranks *ranks) noexcept nogil:
    return NOWHERE if ranks.heaviest == NOWHERE else places.rank[ranks.heaviest].first


cdef uint32_t places_victim(const Places *places, uint64_t now, uint64_t grace) noexcept nogil:
    """The flow that has to go, or NOWHERE: all are proved. now, grace: ms."""
    cdef uint32_t network = first_group(places, &places.networks), host, flow, looked = 0, hosts, heaviest = NOWHERE
    while network != NOWHERE and looked < LOOK:
        host = first_group(places, &places.group[network].hosts)
        hosts = 0
        while host != NOWHERE and hosts < LOOK:
            flow = places.group[host].oldest
            if heaviest == NOWHERE:
                heaviest = flow
            if now - places.place[flow].since >= grace:
                return flow
            host = next_group(places, host)
            hosts += 1
        network = next_group(places, network)
        looked += 1
    return heaviest


# ---- for tests ------------------------------------------------------------------------------------------------------

cdef class Unproved:
    """The unproved flows of one part on their own, for tests: enter, leave, victim."""

    cdef Places places

    def __init__(self, uint32_t count):
        if not places_open(&self.places, count, 0x123456789ABCDEF):
            raise MemoryError

    def __dealloc__(self):
        places_close(&self.places)

    def enter(self, uint32_t index, str host, uint64_t now):
        cdef Endpoint remote
        endpoint_set(&remote, host, 1)
        places_enter(&self.places, index, &remote, now)

    def leave(self, uint32_t index):
        places_leave(&self.places, index)

    def victim(self, uint64_t now, uint64_t grace):
        """The index of a flow, or None."""
        cdef uint32_t found = places_victim(&self.places, now, grace)
        return None if found == NOWHERE else found
