# Who has to make room: the unproved flows of one part of the table, by where they come from.
from libc.stdint cimport uint32_t, uint64_t

from media_core.flows.flow_table cimport Endpoint

cdef enum:
    NOWHERE = 0xFFFFFFFF        # no index

cdef struct Place:              # an unproved flow, at the index of its entry
    uint32_t host               # its group; NOWHERE: proved, dialled or free
    uint32_t older              # of the same host
    uint32_t newer
    uint64_t since              # ms

cdef struct Ranks:              # of groups beside each other: all networks, or the hosts of one
    uint32_t heaviest           # NOWHERE: there are none
    uint32_t lightest

cdef struct Group:              # a host that has flows here, or a network that has hosts here
    Endpoint address            # of a network: its first address
    uint32_t network            # of a host: its network; of a network: NOWHERE
    uint32_t chained            # the next in the same bucket, or in the stack of free ones
    uint32_t count              # flows
    uint32_t rank
    uint32_t before             # in the same rank; the first has been there longest
    uint32_t after
    Ranks hosts                 # of a network
    uint32_t oldest             # of a host: its flows
    uint32_t newest

cdef struct Rank:               # groups beside each other with the same count of flows
    uint32_t count
    uint32_t first
    uint32_t last
    uint32_t heavier
    uint32_t lighter

cdef struct Places:
    uint32_t count              # flows that may be here
    uint32_t mask
    uint64_t seed
    Ranks networks
    uint32_t free_group
    uint32_t free_rank
    Place *place                # [count]
    Group *group                # [2 * count]
    Rank *rank                  # [2 * count + 2]
    uint32_t *bucket            # [mask + 1]

cdef bint places_open(Places *places, uint32_t count, uint64_t seed) noexcept nogil
cdef void places_close(Places *places) noexcept nogil
cdef void places_enter(Places *places, uint32_t index, const Endpoint *remote, uint64_t now) noexcept nogil
cdef void places_leave(Places *places, uint32_t index) noexcept nogil
cdef uint32_t places_victim(const Places *places, uint64_t now, uint64_t grace) noexcept nogil
