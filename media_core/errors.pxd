# Statuses of the packet path become exceptions here and nowhere else.
from libc.stdint cimport int32_t

cdef int32_t raise_packet_error(int32_t status) except -1
