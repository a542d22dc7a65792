# SPDX-License-Identifier: MIT
"""Files over the wire, as docs/protocol.md has it: both sides, as an implementation of its own.

    files.py SECRET put LOCATION FILE PATH [overwrite] [checksum] [resume] [stop=BYTES]
    files.py SECRET remove LOCATION PATH
    files.py SECRET take [have=BYTES] [refuse=CODE]   prints its port, takes one file, prints what came"""
import hashlib
import os
import socket
import struct
import sys

import psk
import wire

PUT, REMOVE, HAVE, START, END, RESULT, WORKING = range(1, 8)
OVERWRITE, CHECKSUM, RESUME, WHOLE, SAME = 1, 2, 4, 1, 1
CODES = wire.CODES + ["nospace", "limit", "system", "canceled"]


class Line:
    """A connection for files, after the handshake."""

    def __init__(self, plain, secret, server):
        first = wire.preface("S", kind="F")
        if server:
            first = self.exactly(8, plain)
            assert first == wire.preface("S", kind="F"), first
            plain.sendall(b"ACO\x01\x00S\x00\x00")
        else:
            plain.sendall(first)
            wire.check_answer(self.exactly(8, plain), "S")
        self.socket = psk.Socket(plain, wire.stretch(secret)[0], "F", server=server)

    def exactly(self, size, source=None):
        data = b""
        while len(data) < size:
            more = (source or self.socket).recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def put(self, kind, body=b"", flags=0):
        self.socket.sendall(wire.frame(kind, body, flags))

    def get(self):
        while True:
            size, kind, flags, zero = struct.unpack(">IBBH", self.exactly(8))
            assert size <= 4160 and zero == 0
            body = self.exactly(size)
            if kind != WORKING:
                return kind, flags, body


def say(flags, body):
    print(CODES[body[0]], "same" if flags & SAME else "sent", body[1:].decode())


def put(line, path, name, words):
    about, flags = os.stat(path), 0
    with open(path, "rb") as file:
        data = file.read()
    for word, flag in (("overwrite", OVERWRITE), ("checksum", CHECKSUM), ("resume", RESUME)):
        flags |= flag if word in words else 0
    seconds, rest = divmod(about.st_mtime_ns, 10 ** 9)
    line.put(PUT, struct.pack(">QqII", len(data), seconds, rest, about.st_mode & 0o777) + name.encode(), flags)
    kind, mark, body = line.get()
    if kind == HAVE:
        (offset,) = struct.unpack_from(">Q", body)
        if offset and hashlib.sha256(data[:offset]).digest() != body[8:]:
            offset = 0
        line.put(START, struct.pack(">Q", offset))
        if not (mark & WHOLE and offset == len(data)):
            stop = [int(word[5:]) for word in words if word.startswith("stop=")]
            line.socket.sendall(data[offset:stop[0] if stop else None])
            if stop:
                return
            line.put(END, hashlib.sha256(data).digest() if flags & CHECKSUM else b"")
        print("from", offset)
        kind, mark, body = line.get()
    assert kind == RESULT
    say(mark, body)


def take(line, words):
    kind, flags, body = line.get()
    assert kind == PUT
    size, seconds, rest, mode = struct.unpack_from(">QqII", body)
    print(body[24:].decode(), size, seconds, rest, mode, flags)
    for word in words:
        if word.startswith("refuse="):
            line.put(RESULT, bytes([CODES.index(word[7:])]) + b"in words\x1b[2J")
            return
    have = sum(int(word[5:]) for word in words if word.startswith("have="))
    known = b"x" * have
    line.put(WORKING)
    line.put(HAVE, struct.pack(">Q", have) + (hashlib.sha256(known).digest() if have else bytes(32)))
    kind, _, body = line.get()
    assert kind == START
    (offset,) = struct.unpack(">Q", body)
    assert offset in (0, have)
    data = known[:offset] + line.exactly(size - offset)
    kind, _, body = line.get()
    assert kind == END
    good = body == hashlib.sha256(data).digest() if flags & CHECKSUM else body == b""
    print("from", offset, hashlib.sha256(data).hexdigest(), good)
    line.put(RESULT, b"\0/somewhere/else")


def main():
    secret, what, *words = sys.argv[1:]
    if what == "take":
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        take(Line(listener.accept()[0], secret.encode(), True), words)
    else:
        host, port = words[0].rsplit(":", 1)
        line = Line(socket.create_connection((host, int(port)), 10), secret.encode(), False)
        if what == "put":
            put(line, words[1], words[2], words[3:])
        else:
            line.put(REMOVE, words[1].encode())
            kind, mark, body = line.get()
            assert kind == RESULT
            say(mark, body)
        line.socket.close()


main()
