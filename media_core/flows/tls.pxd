from libc.stdint cimport uint32_t

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass

cdef enum:  # what the calls below return beside a count of bytes
    TLS_CLOSED = 0      # the peer has closed
    TLS_READ = -1       # go on when the socket is readable
    TLS_WRITE = -2      # go on when the socket is writable
    TLS_FAILED = -3     # tls_reason says why

cdef class TlsContext:
    cdef SSL_CTX *context
    cdef bint server
    cdef int show(self, str certificate, str key) except -1
    cdef int seal(self, bytes ticket_keys) except -1

cdef SSL *tls_open(SSL_CTX *context, int fd, bint server, const char *name) noexcept nogil
cdef int tls_handshake(SSL *ssl) noexcept nogil
cdef int tls_read(SSL *ssl, void *place, int room) noexcept nogil
cdef int tls_write(SSL *ssl, const void *bytes, int count) noexcept nogil
cdef void tls_close(SSL *ssl, bint orderly) noexcept nogil
cdef void tls_describe(SSL *ssl, char *text, uint32_t room) noexcept nogil
cdef int tls_failure(SSL *ssl, char *detail, uint32_t room) noexcept nogil
cdef void tls_reason(SSL *ssl, char *text, uint32_t room) noexcept nogil
