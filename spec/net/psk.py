# SPDX-License-Identifier: MIT
"""TLS 1.3 with an external pre-shared key, over OpenSSL by ctypes (Python's ssl has no such keys before 3.13).

One end of a connection over memory BIOs, with what a socket has: recv, sendall, close."""
import ctypes
import ctypes.util
import threading

CALLBACK_CLIENT = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char),
                                   ctypes.c_uint, ctypes.POINTER(ctypes.c_char), ctypes.c_uint)
CALLBACK_SERVER = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char),
                                   ctypes.c_uint)
CALLBACK_ALPN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p),
                                 ctypes.POINTER(ctypes.c_ubyte), ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p)

IDENTITY = b"asyncoro"
SUITE = b"TLS_AES_128_GCM_SHA256"
SET_MIN_PROTO_VERSION, TLS1_3 = 123, 0x0304
WANT_READ = 2


def _libraries():
    ssl = ctypes.CDLL(ctypes.util.find_library("ssl"))
    crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
    pointer, integer, text, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
    for library, name, result, *arguments in (
            (ssl, "TLS_client_method", pointer), (ssl, "TLS_server_method", pointer),
            (ssl, "SSL_CTX_new", pointer, pointer), (ssl, "SSL_CTX_free", None, pointer),
            (ssl, "SSL_CTX_ctrl", ctypes.c_long, pointer, integer, ctypes.c_long, pointer),
            (ssl, "SSL_CTX_set_ciphersuites", integer, pointer, text),
            (ssl, "SSL_CTX_set_num_tickets", integer, pointer, size),
            (ssl, "SSL_CTX_set_session_id_context", integer, pointer, text, ctypes.c_uint),
            (ssl, "SSL_CTX_set_psk_client_callback", None, pointer, CALLBACK_CLIENT),
            (ssl, "SSL_CTX_set_psk_server_callback", None, pointer, CALLBACK_SERVER),
            (ssl, "SSL_CTX_set_alpn_select_cb", None, pointer, CALLBACK_ALPN, pointer),
            (ssl, "SSL_new", pointer, pointer), (ssl, "SSL_free", None, pointer),
            (ssl, "SSL_set_alpn_protos", integer, pointer, text, ctypes.c_uint),
            (ssl, "SSL_set_bio", None, pointer, pointer, pointer),
            (ssl, "SSL_set_connect_state", None, pointer), (ssl, "SSL_set_accept_state", None, pointer),
            (ssl, "SSL_do_handshake", integer, pointer),
            (ssl, "SSL_read", integer, pointer, pointer, integer), (ssl, "SSL_write", integer, pointer, text, integer),
            (ssl, "SSL_shutdown", integer, pointer), (ssl, "SSL_get_error", integer, pointer, integer),
            (ssl, "SSL_session_reused", integer, pointer),
            (crypto, "BIO_new", pointer, pointer), (crypto, "BIO_s_mem", pointer),
            (crypto, "BIO_read", integer, pointer, pointer, integer),
            (crypto, "BIO_write", integer, pointer, text, integer),
            (crypto, "ERR_get_error", ctypes.c_ulong), (crypto, "ERR_clear_error", None),
            (crypto, "ERR_reason_error_string", text, ctypes.c_ulong)):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return ssl, crypto


class Refused(Exception):
    """The handshake did not succeed."""


class Socket:
    """A connection that has shaken hands."""

    def __init__(self, plain, key, kind, server=False):
        self.ssl, self.crypto = _libraries()
        self.plain, self.key = plain, key
        self.alpn = b"asyncoro/1 " + kind.encode()
        self.lock = threading.Lock()  # one SSL object, two threads: one reads, others write
        self.context = self._context(server)
        self.end = self.ssl.SSL_new(self.context)
        memory = self.crypto.BIO_s_mem()
        self.incoming, self.outgoing = self.crypto.BIO_new(memory), self.crypto.BIO_new(memory)
        self.ssl.SSL_set_bio(self.end, self.incoming, self.outgoing)
        self._shake(server)

    def _context(self, server):
        ssl = self.ssl
        context = ssl.SSL_CTX_new(ssl.TLS_server_method() if server else ssl.TLS_client_method())
        ssl.SSL_CTX_ctrl(context, SET_MIN_PROTO_VERSION, TLS1_3, None)
        ssl.SSL_CTX_set_ciphersuites(context, SUITE)
        # The callbacks must live as long as the context.
        self.callbacks = (CALLBACK_CLIENT(self._client_key), CALLBACK_SERVER(self._server_key),
                          CALLBACK_ALPN(self._select))
        if server:
            ssl.SSL_CTX_set_num_tickets(context, 0)
            ssl.SSL_CTX_set_session_id_context(context, IDENTITY, len(IDENTITY))
            ssl.SSL_CTX_set_psk_server_callback(context, self.callbacks[1])
            ssl.SSL_CTX_set_alpn_select_cb(context, self.callbacks[2], None)
        else:
            ssl.SSL_CTX_set_psk_client_callback(context, self.callbacks[0])
        return context

    def _client_key(self, _ssl, _hint, identity, _size, key, _key_size):
        ctypes.memmove(identity, IDENTITY + b"\0", len(IDENTITY) + 1)
        ctypes.memmove(key, self.key, len(self.key))
        return len(self.key)

    def _server_key(self, _ssl, identity, key, _size):
        if identity != IDENTITY:
            return 0
        ctypes.memmove(key, self.key, len(self.key))
        return len(self.key)

    def _select(self, _ssl, out, out_size, offered, size, _argument):
        data, at = ctypes.string_at(offered, size), 0
        while at < len(data):
            if data[at + 1:at + 1 + data[at]] == self.alpn:
                out[0] = offered + at + 1
                out_size[0] = data[at]
                return 0
            at += 1 + data[at]
        return 2  # fatal alert

    def _shake(self, server):
        if server:
            self.ssl.SSL_set_accept_state(self.end)
        else:
            protocols = bytes([len(self.alpn)]) + self.alpn
            self.ssl.SSL_set_alpn_protos(self.end, protocols, len(protocols))
            self.ssl.SSL_set_connect_state(self.end)
        while True:
            self.crypto.ERR_clear_error()
            result = self.ssl.SSL_do_handshake(self.end)
            error = self.ssl.SSL_get_error(self.end, result)
            reason = self.crypto.ERR_reason_error_string(self.crypto.ERR_get_error()) or b"closed"
            self._flush()
            if result == 1:
                break
            if error != WANT_READ or not self._fill():
                raise Refused("TLS: " + reason.decode())
        if not self.ssl.SSL_session_reused(self.end):
            raise Refused("TLS: the pre-shared key was not used")

    def _flush(self):
        piece = ctypes.create_string_buffer(65536)
        while True:
            size = self.crypto.BIO_read(self.outgoing, piece, len(piece))
            if size <= 0:
                return
            self.plain.sendall(piece.raw[:size])

    def _fill(self):
        data = self.plain.recv(65536)
        if data:
            with self.lock:
                self.crypto.BIO_write(self.incoming, data, len(data))
        return data

    def recv(self, size):
        """As of a socket: b"" at the end."""
        piece = ctypes.create_string_buffer(size)
        while True:
            with self.lock:
                if self.end is None:
                    return b""
                self.crypto.ERR_clear_error()
                got = self.ssl.SSL_read(self.end, piece, size)
                error = self.ssl.SSL_get_error(self.end, got) if got <= 0 else 0
                self._flush()
            if got > 0:
                return piece.raw[:got]
            if error != WANT_READ or not self._fill():
                return b""

    def sendall(self, data):
        with self.lock:
            if self.end is None:
                raise OSError("closed")
            for at in range(0, len(data), 16384):
                piece = bytes(data[at:at + 16384])
                if self.ssl.SSL_write(self.end, piece, len(piece)) <= 0:
                    raise OSError("TLS: write failed")
            self._flush()

    def shutdown(self, how):
        self.plain.shutdown(how)

    def close(self):
        with self.lock:
            if self.end is not None:
                self.ssl.SSL_free(self.end)
                self.ssl.SSL_CTX_free(self.context)
                self.end = None
        self.plain.close()
