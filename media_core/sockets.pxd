# The kernel's datagram calls with their ancillary data (recvmsg(2), ip(7), ipv6(7)), for what receives and answers on UDP listeners.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "sys/socket.h" nogil:
    struct sockaddr:
        pass
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        uint32_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    struct timespec:
        pass
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *control)
    void *CMSG_DATA(cmsghdr *control)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int setsockopt(int fd, int level, int name, const void *value, uint32_t length)
    int socket(int family, int kind, int protocol)
    int connect(int fd, const sockaddr *address, uint32_t length)
    int getsockname(int fd, sockaddr *address, uint32_t *length)
    const int AF_INET, AF_INET6, SOCK_DGRAM, SOCK_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, MSG_ERRQUEUE

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    const int IPPROTO_IP, IPPROTO_IPV6, IP_PKTINFO, IPV6_PKTINFO, IPV6_RECVPKTINFO, IP_RECVERR, IPV6_RECVERR

cdef extern from "time.h":      # the next one needs its timespec
    pass

cdef extern from "linux/errqueue.h" nogil:
    struct sock_extended_err:
        uint32_t ee_errno
        uint8_t ee_origin
        uint8_t ee_type
        uint8_t ee_code
    const int SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
