"""TLS on non-blocking sockets: OpenSSL used directly, no memory BIO, no lock of the interpreter.

TLS 1.2 with AEAD suites and ECDHE, and TLS 1.3 (RFC 9325); no renegotiation, no compression, no early data, no session cache.
As server we show an ECDSA certificate, and an RSA one, where it is there, to who takes no other: the client's suites (TLS 1.2) or signature
algorithms (TLS 1.3) decide. Session tickets are sealed with keys from outside, so a phone resumes after the core was restarted. Buffers are released while a
connection is idle. As client: a name, when given, goes into SNI and has to be in a certificate the system's CAs vouch for; without
a name any certificate is taken (a phone's own).
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdio cimport snprintf

import os

from media_core.flows.flow_table cimport REFUSAL_BROKEN, REFUSAL_CERTIFICATE, REFUSAL_CIPHER, REFUSAL_NOT_TLS, REFUSAL_VERSION

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_peek_error()
    int ERR_GET_REASON(unsigned long error)
    void ERR_clear_error()
    const char *ERR_reason_error_string(unsigned long error)

cdef extern from "openssl/x509v3.h" nogil:
    ctypedef struct X509_VERIFY_PARAM:
        pass
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *parameters, const char *address)
    const char *X509_verify_cert_error_string(long code)
    const long X509_V_OK

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_METHOD:
        pass
    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *context)
    uint64_t SSL_CTX_set_options(SSL_CTX *context, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX *context, long mode)
    int SSL_CTX_set_min_proto_version(SSL_CTX *context, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *context, const char *suites)
    int SSL_CTX_set1_groups_list(SSL_CTX *context, const char *groups)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *path)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *path, int type)
    int SSL_CTX_check_private_key(SSL_CTX *context)
    int SSL_CTX_set_session_id_context(SSL_CTX *context, const unsigned char *id, unsigned int length)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode)
    int SSL_CTX_set_num_tickets(SSL_CTX *context, size_t count)
    long SSL_CTX_set_tlsext_ticket_keys(SSL_CTX *context, void *keys, long length)
    long SSL_CTX_set_read_ahead(SSL_CTX *context, int on)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *context)
    SSL *SSL_new(SSL_CTX *context)
    void SSL_free(SSL *ssl)
    int SSL_set_fd(SSL *ssl, int fd)
    void SSL_set_accept_state(SSL *ssl)
    void SSL_set_connect_state(SSL *ssl)
    long SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    int SSL_set1_host(SSL *ssl, const char *name)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    void SSL_set_verify(SSL *ssl, int mode, void *callback)
    long SSL_get_verify_result(const SSL *ssl)
    int SSL_do_handshake(SSL *ssl)
    int SSL_read(SSL *ssl, void *place, int room)
    int SSL_write(SSL *ssl, const void *bytes, int count)
    int SSL_shutdown(SSL *ssl)
    int SSL_get_error(const SSL *ssl, int result)
    const char *SSL_get_version(const SSL *ssl)
    const char *SSL_get_cipher_name(const SSL *ssl)
    const int TLS1_2_VERSION, SSL_FILETYPE_PEM, SSL_VERIFY_PEER, SSL_VERIFY_NONE
    const int SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN
    const long SSL_SESS_CACHE_OFF
    const long SSL_MODE_RELEASE_BUFFERS, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    const uint64_t SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_COMPRESSION, SSL_OP_CIPHER_SERVER_PREFERENCE
    const uint64_t SSL_OP_IGNORE_UNEXPECTED_EOF, SSL_OP_PRIORITIZE_CHACHA
    ctypedef int (*HelloCallback)(SSL *ssl, int *alert, void *argument) noexcept nogil
    void SSL_CTX_set_client_hello_cb(SSL_CTX *context, HelloCallback callback, void *argument)
    unsigned int SSL_client_hello_get0_legacy_version(SSL *ssl)
    int SSL_client_hello_get0_ext(SSL *ssl, unsigned int type, const unsigned char **bytes, size_t *count)
    int SSL_set_ex_data(SSL *ssl, int place, void *value)
    void *SSL_get_ex_data(const SSL *ssl, int place)
    const char *SSL_alert_desc_string_long(int alert)
    const int SSL_CLIENT_HELLO_SUCCESS, SSL_AD_REASON_OFFSET
    const int SSL_AD_HANDSHAKE_FAILURE, SSL_AD_PROTOCOL_VERSION
    const int SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED, SSL_AD_CERTIFICATE_EXPIRED
    const int SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_UNKNOWN_CA, SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE
    const int SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SUITABLE_GROUPS
    const int SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM
    const int SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_UNKNOWN_PROTOCOL, SSL_R_WRONG_SSL_VERSION

cdef enum:
    SUPPORTED_VERSIONS = 43     # RFC 8446 section 4.2.1
    OLDEST = 0x0300             # SSL 3.0
    NEWEST = 0x0304             # TLS 1.3

TICKET_KEYS = 80  # name 16, HMAC key 32, AES key 32: what SSL_CTX_set_tlsext_ticket_keys takes


cdef str pending_error():
    cdef const char *reason = ERR_reason_error_string(ERR_peek_error())
    ERR_clear_error()
    return (<bytes>reason).decode() if reason != NULL else "unknown error"


cdef int note_version(SSL *ssl, int *alert, void *argument) noexcept nogil:
    """The highest version a ClientHello offers, kept beside the connection: when the handshake fails it is said."""
    cdef unsigned int version = SSL_client_hello_get0_legacy_version(ssl), offered
    cdef const unsigned char *bytes = NULL
    cdef size_t count = 0, at = 1
    if SSL_client_hello_get0_ext(ssl, SUPPORTED_VERSIONS, &bytes, &count) == 1:
        while at + 1 < count:
            offered = bytes[at] << 8 | bytes[at + 1]
            if OLDEST <= offered <= NEWEST:  # not one of the values that only keep servers tolerant (RFC 8701)
                version = max(version, offered)
            at += 2
    SSL_set_ex_data(ssl, 0, <void *><size_t>version)
    return SSL_CLIENT_HELLO_SUCCESS


cdef class TlsContext:
    """What all connections in one direction share; made before the loop runs, so that bad files are told at once."""

    def __cinit__(self):
        self.context = NULL

    def __init__(self, bint server, tls=None):
        """tls: TlsFiles of the server. ValueError says which of the PEM files or keys cannot be used."""
        self.server = server
        self.context = SSL_CTX_new(TLS_server_method() if server else TLS_client_method())
        if self.context == NULL:
            raise MemoryError("TLS context")
        SSL_CTX_set_options(self.context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE
                            | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_mode(self.context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                         | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_read_ahead(self.context, 1)
        if (not SSL_CTX_set_min_proto_version(self.context, TLS1_2_VERSION)
                or not SSL_CTX_set_cipher_list(self.context, b"ECDHE+AESGCM:ECDHE+CHACHA20")
                or not SSL_CTX_set1_groups_list(self.context, b"X25519:P-256:P-384")):
            raise ValueError(f"this OpenSSL cannot do what we need: {pending_error()}")
        if not server:
            SSL_CTX_set_default_verify_paths(self.context)
            return
        self.show(tls.certificate, tls.key)
        if os.path.exists(tls.rsa_certificate) and os.path.exists(tls.rsa_key):
            self.show(tls.rsa_certificate, tls.rsa_key)
        SSL_CTX_set_client_hello_cb(self.context, note_version, NULL)
        SSL_CTX_set_session_id_context(self.context, b"sip", 3)
        SSL_CTX_set_num_tickets(self.context, 1)
        if tls.ticket_keys:
            self.seal(tls.ticket_keys)

    cdef int show(self, str certificate, str key) except -1:
        """One certificate of each kind of key may be shown."""
        if SSL_CTX_use_certificate_chain_file(self.context, certificate.encode()) != 1:
            raise ValueError(f"certificate {certificate}: {pending_error()}")
        if SSL_CTX_use_PrivateKey_file(self.context, key.encode(), SSL_FILETYPE_PEM) != 1:
            raise ValueError(f"private key {key}: {pending_error()}")
        if SSL_CTX_check_private_key(self.context) != 1:
            raise ValueError(f"private key {key} does not belong to certificate {certificate}: {pending_error()}")
        return 0

    cdef int seal(self, bytes ticket_keys) except -1:
        cdef unsigned char *keys = ticket_keys
        if len(ticket_keys) != TICKET_KEYS:
            raise ValueError(f"ticket keys are {TICKET_KEYS} bytes, not {len(ticket_keys)}")
        if SSL_CTX_set_tlsext_ticket_keys(self.context, keys, TICKET_KEYS) != 1:
            raise ValueError(f"ticket keys: {pending_error()}")
        return 0

    def __dealloc__(self):
        if self.context != NULL:
            SSL_CTX_free(self.context)


cdef SSL *tls_open(SSL_CTX *context, int fd, bint server, const char *name) noexcept nogil:
    """name (client only): whom the certificate has to be of; "" checks nothing. NULL: out of memory or no such name."""
    cdef SSL *ssl = SSL_new(context)
    if ssl == NULL:
        return NULL
    if SSL_set_fd(ssl, fd) != 1:
        SSL_free(ssl)
        return NULL
    if server:
        SSL_set_accept_state(ssl)
        return ssl
    SSL_set_connect_state(ssl)
    if name[0] == 0:
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL)
        return ssl
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL)
    if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1:
        return ssl
    if SSL_set1_host(ssl, name) != 1 or SSL_set_tlsext_host_name(ssl, name) != 1:
        SSL_free(ssl)
        return NULL
    return ssl


cdef int outcome(SSL *ssl, int result) noexcept nogil:
    cdef int error = SSL_get_error(ssl, result)
    if error == SSL_ERROR_WANT_READ:
        return TLS_READ
    if error == SSL_ERROR_WANT_WRITE:
        return TLS_WRITE
    if error == SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED
    return TLS_FAILED


cdef int tls_handshake(SSL *ssl) noexcept nogil:
    """1: done."""
    cdef int result
    ERR_clear_error()
    result = SSL_do_handshake(ssl)
    return 1 if result == 1 else outcome(ssl, result)


cdef int tls_read(SSL *ssl, void *place, int room) noexcept nogil:
    cdef int result
    ERR_clear_error()
    result = SSL_read(ssl, place, room)
    return result if result > 0 else outcome(ssl, result)


cdef int tls_write(SSL *ssl, const void *bytes, int count) noexcept nogil:
    """May take less than given. After TLS_READ or TLS_WRITE the same bytes (and perhaps more) have to be given again."""
    cdef int result
    ERR_clear_error()
    result = SSL_write(ssl, bytes, count)
    return result if result > 0 else outcome(ssl, result)


cdef void tls_close(SSL *ssl, bint orderly) noexcept nogil:
    """Free; orderly: tell the peer first, if that does not block. The socket is not closed."""
    ERR_clear_error()
    if orderly:
        SSL_shutdown(ssl)
    SSL_free(ssl)
    ERR_clear_error()


cdef void tls_describe(SSL *ssl, char *text, uint32_t room) noexcept nogil:
    snprintf(text, room, b"%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl))


cdef void tls_reason(SSL *ssl, char *text, uint32_t room) noexcept nogil:
    """Why the last call failed."""
    cdef long verify = SSL_get_verify_result(ssl)
    cdef const char *reason
    if verify != X509_V_OK:
        snprintf(text, room, b"TLS: %s", X509_verify_cert_error_string(verify))
        return
    reason = ERR_reason_error_string(ERR_peek_error())
    if reason == NULL:
        reason = b"connection lost"
    snprintf(text, room, b"TLS: %s", reason)


cdef const char *version_name(size_t version) noexcept nogil:
    if version == OLDEST:
        return b"SSL 3.0"
    if version == OLDEST + 1:
        return b"TLS 1.0"
    if version == OLDEST + 2:
        return b"TLS 1.1"
    return b"an unknown one"


cdef int alerted(int alert) noexcept nogil:
    """What it means that the other side ended the handshake with this alert (RFC 8446 section 6.2)."""
    if alert in (SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED, SSL_AD_CERTIFICATE_EXPIRED,
                 SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_UNKNOWN_CA, SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE):
        return REFUSAL_CERTIFICATE
    if alert == SSL_AD_HANDSHAKE_FAILURE:
        return REFUSAL_CIPHER
    return REFUSAL_VERSION if alert == SSL_AD_PROTOCOL_VERSION else REFUSAL_BROKEN


cdef int tls_failure(SSL *ssl, char *detail, uint32_t room) noexcept nogil:
    """Which REFUSAL_ a server's handshake ended with, when asked right after; detail as HandshakeFailed says. -1: nobody had begun one."""
    cdef size_t version = <size_t>SSL_get_ex_data(ssl, 0)
    cdef unsigned long error = ERR_peek_error()
    cdef int reason = ERR_GET_REASON(error), found = REFUSAL_BROKEN
    detail[0] = 0
    if version == 0:
        return -1 if error == 0 else REFUSAL_NOT_TLS
    if error == 0:
        snprintf(detail, room, b"after our certificate")
        return REFUSAL_BROKEN
    if reason > SSL_AD_REASON_OFFSET and reason < SSL_AD_REASON_OFFSET + 256:
        found = alerted(reason - SSL_AD_REASON_OFFSET)
        snprintf(detail, room, b"%s", SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET))
    elif reason in (SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, SSL_R_NO_SUITABLE_GROUPS,
                    SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM):
        found = REFUSAL_CIPHER
        snprintf(detail, room, b"%s", ERR_reason_error_string(error))
    elif reason in (SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_UNKNOWN_PROTOCOL, SSL_R_WRONG_SSL_VERSION):
        found = REFUSAL_VERSION
    elif ERR_reason_error_string(error) != NULL:
        snprintf(detail, room, b"%s", ERR_reason_error_string(error))
    if found == REFUSAL_VERSION:
        snprintf(detail, room, b"%s", version_name(version))
    return found
