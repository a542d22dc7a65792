# SPDX-License-Identifier: MIT
"""The wire protocol of docs/protocol.md, as an implementation of its own: no line is shared with the C side.

Bytes only: prefaces, the two ways to prove oneself that need no certificate, frames and their parts, values and
handles. connection.py makes a process of the network of it."""
import hashlib
import hmac
import os
import socket
import struct

import msgpack

# Frames ------------------------------------------------------------------------------------------

HELLO, BYE, PING, PONG, PART, START = 1, 2, 3, 4, 5, 6
SEND, DELIVER, CALL, ACK, REPLY, REQUEST, KILL, WATCH, UNWATCH, EXIT = range(10, 20)
PAUSE, RESUME, LOCATE, FORGET = 20, 21, 22, 23
CH_SUBSCRIBE, CH_UNSUBSCRIBE, CH_PUBLISH, CH_CAST, CH_COUNT, CH_CLOSED = range(32, 38)

TYPES = {value: name for name, value in list(globals().items()) if isinstance(value, int) and name.isupper()}

FORCED = 1  # of SEND
FIRST, LAST = 1, 2  # of PART

CODES = ["ok", "notfound", "closed", "toolarge", "denied", "protocol", "unsupported", "busy", "timeout", "auth",
         "duplicate", "shutdown", "exists", "invalid", "nomem"]
REASONS = {1: "finished", 2: "failed", 3: "terminated", 4: "notfound"}

HEAD = 8
PIECE = 65536  # bytes of a large message in one PART
LARGEST = PIECE + 64  # of a frame's body
OPEN_PARTS = 64  # messages in parts at once


class ProtocolError(Exception):
    """What the other side did is against docs/protocol.md; or it refused, in its own words."""

    def __init__(self, text, code="protocol"):
        super().__init__(text)
        self.code = code


def frame(kind, body=b"", flags=0):
    """One frame: size, type, flags, zero, body."""
    assert len(body) <= LARGEST, len(body)
    return struct.pack(">IBBH", len(body), kind, flags, 0) + body


def parts(number, kind, body, flags=0):
    """The frames of a body that is too large for one."""
    at = 0
    while at < len(body):
        piece = body[at:at + PIECE]
        head, mark = struct.pack(">I", number), 0
        if at == 0:
            head += struct.pack(">IBBH", len(body), kind, flags, 0)
            mark |= FIRST
        at += len(piece)
        if at == len(body):
            mark |= LAST
        yield frame(PART, head + piece, mark)


class Reader:
    """Bytes in, whole messages (type, flags, body) out."""

    def __init__(self, limit):
        self.limit = limit
        self.bytes = bytearray()
        self.open = {}  # number -> [type, flags, total, bytes so far]

    def feed(self, data):
        self.bytes += data

    def __iter__(self):
        while len(self.bytes) >= HEAD:
            size, kind, flags, zero = struct.unpack_from(">IBBH", self.bytes)
            if size > LARGEST:
                raise ProtocolError("a frame of %d bytes" % size)
            if zero != 0:
                raise ProtocolError("bytes 6 and 7 of a frame's head are not zero")
            if len(self.bytes) < HEAD + size:
                return
            body = bytes(self.bytes[HEAD:HEAD + size])
            del self.bytes[:HEAD + size]
            if kind != PART:
                yield kind, flags, body
                continue
            whole = self._part(flags, body)
            if whole:
                yield whole

    def _part(self, flags, body):
        if len(body) < 4:
            raise ProtocolError("a part without a number")
        (number,) = struct.unpack_from(">I", body)
        at = 4
        if flags & FIRST:
            if len(body) < 12 or number in self.open:
                raise ProtocolError("a first part that is malformed or not the first")
            total, kind, inner, zero = struct.unpack_from(">IBBH", body, 4)
            if total > self.limit:
                raise ProtocolError("a message of %d bytes" % total, "toolarge")
            if zero != 0 or kind == PART or len(self.open) == OPEN_PARTS:
                raise ProtocolError("a malformed first part, or too many messages in parts")
            self.open[number] = [kind, inner, total, bytearray()]
            at = 12
        if number not in self.open:
            raise ProtocolError("a part of a message that has not begun")
        kind, inner, total, so_far = self.open[number]
        so_far += body[at:]
        if len(so_far) > total or (flags & LAST and len(so_far) != total):
            raise ProtocolError("parts that are not as long as announced")
        if flags & LAST:
            del self.open[number]
            return kind, inner, bytes(so_far)
        return None


# Prefaces ----------------------------------------------------------------------------------------

VERSION = 1
KEY_INFO = b"asyncoro key"
STATUS = {1: "it has another version", 2: "it has another mode", 3: "no such server", 4: "too many connections",
          5: "it ignores us", 6: "it does not know this kind"}


def preface(mode, server=0, kind="M"):
    return b"ACO" + struct.pack(">BccH", VERSION, kind.encode(), mode.encode(), server)


def check_answer(answer, mode):
    """The acceptor's 8 bytes; raises unless they say: go on."""
    if len(answer) != 8 or answer[:3] != b"ACO":
        raise ProtocolError("what answers does not speak this protocol")
    if answer[4] != 0:
        text = STATUS.get(answer[4], "status %d" % answer[4])
        raise ProtocolError("refused: %s (version %d, mode %s)" % (text, answer[3], chr(answer[5])),
                            "auth" if answer[4] == 2 else "protocol")
    if answer[5:6] != mode.encode():
        raise ProtocolError("its mode is %r" % chr(answer[5]), "auth")


# Keys --------------------------------------------------------------------------------------------

def hkdf(key, info, size=32, salt=b""):
    """RFC 5869 with SHA-256."""
    secret = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    block, out, n = b"", b"", 0
    while len(out) < size:
        n += 1
        block = hmac.new(secret, block + info + bytes([n]), hashlib.sha256).digest()
        out += block
    return out[:size]


def key_path():
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(config, "asyncoro", "key")


def read_key(path=None):
    with open(path or key_path(), "rb") as file:
        return file.read()


def stretch(secret):
    """Of a secret: the key of TLS and the key that others are derived from."""
    both = hashlib.scrypt(secret, salt=b"asyncoro 1 psk", n=2 ** 15, r=8, p=1, maxmem=2 ** 26, dklen=64)
    return both[:32], both[32:]


def proof(key, who, first, host, port, client_nonce, server_nonce):
    """Mode K: what only a reader of the key file can compute. `host`: an address, as text."""
    if ":" not in host:
        host = "::ffff:" + host
    said = (b"asyncoro " + who + first + socket.inet_pton(socket.AF_INET6, host) + struct.pack(">H", port)
            + client_nonce + server_nonce)
    return hmac.new(key, said, hashlib.sha256).digest()


# Handles -----------------------------------------------------------------------------------------

EXT_CORO, EXT_CHANNEL, EXT_RCI, EXT_LOCATION, EXT_REFERENCE, EXT_INSTANCE, EXT_CODE = range(1, 8)
KINDS = {EXT_CORO: "coro", EXT_CHANNEL: "channel", EXT_RCI: "rci"}


class Handle:
    """Of a coro, a channel or an RCI. Equal when the process, the engine and the serial are."""

    def __init__(self, kind, process, engine, serial, location="", name=""):
        self.kind, self.process, self.engine, self.serial = kind, process, engine, serial
        self.location, self.name = location, name

    @property
    def identity(self):
        return self.process + struct.pack(">IQ", self.engine, self.serial)

    @property
    def target(self):
        return struct.pack(">IQ", self.engine, self.serial)

    def __eq__(self, other):
        return isinstance(other, Handle) and (self.kind, self.identity) == (other.kind, other.identity)

    def __hash__(self):
        return hash(self.identity)

    def __repr__(self):
        return "%s %s#%d at %s" % (KINDS[self.kind], self.name, self.serial, self.location or "?")

    def pack(self):
        location, name = self.location.encode(), self.name.encode()[:64]
        return self.identity + bytes([len(location)]) + location + bytes([len(name)]) + name

    @staticmethod
    def unpack(kind, data):
        engine, serial = struct.unpack_from(">IQ", data, 16)
        size = data[28]
        location = data[29:29 + size]
        name = data[30 + size:30 + size + data[29 + size]]
        if len(data) != 30 + len(location) + len(name):
            raise ProtocolError("a malformed handle")
        return Handle(kind, bytes(data[:16]), engine, serial, location.decode(), name.decode(errors="replace"))


class Location(str):
    """The text of a location, as a value of its own type."""


class Instance:
    """Of a class: its name and its fields, or what its __encode gave."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def __repr__(self):
        return "%s%r" % (self.name, self.value)


class Code:
    """A function, class or module: kept as it came."""

    def __init__(self, value):
        self.value = value


class Reference:
    """To a value that began earlier in the same message."""

    def __init__(self, number):
        self.number = number


# Values ------------------------------------------------------------------------------------------

class _Map(list):
    """The pairs of a map, in their order, until references are resolved."""


def _decode_all(data):
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, ext_hook=_extension, object_pairs_hook=_Map,
                                max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    return list(unpacker)


def _extension(kind, data):
    if kind in KINDS:
        return Handle.unpack(kind, data)
    if kind == EXT_LOCATION:
        return Location(data.decode())
    if kind == EXT_REFERENCE:
        return Reference(int.from_bytes(data, "big"))
    if kind == EXT_INSTANCE:
        return Instance(*_decode_all(data))
    if kind == EXT_CODE:
        return Code(*_decode_all(data))
    raise ProtocolError("extension type %d" % kind)


def _resolve(value, seen):
    """Number what is numbered, in the order in which it began, and put references in place."""
    if isinstance(value, Reference):
        if value.number >= len(seen):
            raise ProtocolError("a reference to what has not begun")
        return seen[value.number]
    if isinstance(value, _Map):
        table = {}
        seen.append(table)
        for key, item in value:
            key = _resolve(key, seen)
            table[_key(key)] = _resolve(item, seen)
        return table
    if isinstance(value, list):
        array = []
        seen.append(array)
        array.extend([None] * len(value))
        for i, item in enumerate(value):
            array[i] = _resolve(item, seen)
        return array
    if isinstance(value, (Instance, Code)):
        seen.append(value)
        value.value = _resolve(value.value, seen)
    return value


def _key(key):
    """Lua's tables may be keys; Python's may not."""
    return key if isinstance(key, (str, bytes, int, float, bool, Handle)) else repr(key)


def decode(data):
    """One value, which must be all there is."""
    try:
        values = _decode_all(data)
    except (ValueError, TypeError, UnicodeDecodeError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError("a malformed value: %s" % error)
    if len(values) != 1:
        raise ProtocolError("%d values where one is expected" % len(values))
    return _resolve(values[0], [])


def _encode_more(value):
    if isinstance(value, Handle):
        return msgpack.ExtType(value.kind, value.pack())
    if isinstance(value, Location):
        return msgpack.ExtType(EXT_LOCATION, value.encode())
    if isinstance(value, Reference):
        return msgpack.ExtType(EXT_REFERENCE, struct.pack(">I", value.number))
    if isinstance(value, Instance):
        return msgpack.ExtType(EXT_INSTANCE, encode(value.name) + encode(value.value))
    raise TypeError("cannot send a %s" % type(value).__name__)


def encode(value):
    return msgpack.packb(value, default=_encode_more, use_bin_type=True, strict_types=True)


# Locations ---------------------------------------------------------------------------------------

def split_location(text):
    """host, port, server."""
    server = 0
    if "/" in text:
        text, server = text.rsplit("/", 1)
    host, port = text.rsplit(":", 1)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host, int(port), int(server)
