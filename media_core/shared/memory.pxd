from media_core.shared.abi cimport Header

cdef Header *map_memory(int fd) except NULL
cdef void unmap_memory(Header *memory) noexcept
