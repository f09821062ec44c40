# What the datapath uses of the kernel's io_uring (linux/io_uring.h), and of what maps and calls it.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<linux/io_uring.h>" nogil:
    enum:
        IORING_SETUP_CQSIZE, IORING_SETUP_CLAMP, IORING_SETUP_R_DISABLED, IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN
        IORING_ENTER_GETEVENTS, IORING_ENTER_EXT_ARG
        IORING_REGISTER_FILES, IORING_REGISTER_PBUF_RING, IORING_REGISTER_ENABLE_RINGS
        IORING_OP_SEND, IORING_OP_RECV, IORING_OP_RECVMSG, IORING_OP_POLL_ADD
        IORING_RECV_MULTISHOT, IORING_POLL_ADD_MULTI
        IOSQE_FIXED_FILE, IOSQE_BUFFER_SELECT, IOSQE_CQE_SKIP_SUCCESS
        IORING_CQE_F_BUFFER, IORING_CQE_F_MORE, IORING_CQE_BUFFER_SHIFT
        IORING_OFF_SQ_RING, IORING_OFF_SQES
        IORING_FEAT_SINGLE_MMAP
    struct io_sqring_offsets:
        uint32_t head, tail, ring_mask, ring_entries, flags, array
    struct io_cqring_offsets:
        uint32_t head, tail, ring_mask, ring_entries, overflow, cqes
    struct io_uring_params:
        uint32_t sq_entries, cq_entries, flags, features
        io_sqring_offsets sq_off
        io_cqring_offsets cq_off
    struct io_uring_sqe:
        uint8_t opcode, flags
        uint16_t ioprio
        int32_t fd
        uint64_t addr, addr2, user_data
        uint32_t len, msg_flags, poll32_events
        uint16_t buf_group, addr_len
    struct io_uring_cqe:
        uint64_t user_data
        int32_t res
        uint32_t flags
    struct io_uring_buf_reg:
        uint64_t ring_addr
        uint32_t ring_entries
        uint16_t bgid

cdef extern from "<sys/syscall.h>" nogil:
    enum: SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)
    int close(int fd)

cdef extern from "<sys/mman.h>" nogil:
    enum: PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_POPULATE
    void *MAP_FAILED
    void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)
    int munmap(void *address, size_t length)

cdef extern from "<poll.h>" nogil:
    enum: POLLIN
