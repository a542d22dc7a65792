# SPDX-License-Identifier: MIT
"""A WebSocket peer of its own making, on Python's standard library only.

websocket_peer.py client PORT [ORIGIN]: connects, echoes what the server sends until it closes, then prints the status
of the close. websocket_peer.py server: prints its port, takes one connection, sends a few messages, pings, and prints
what comes back."""
import base64
import hashlib
import os
import socket
import struct
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def receive(sock, masked):
    first, second = exactly(sock, 2)
    size = second & 127
    assert bool(second & 128) == masked, "mask"
    if size == 126:
        (size,) = struct.unpack(">H", exactly(sock, 2))
    elif size == 127:
        (size,) = struct.unpack(">Q", exactly(sock, 8))
    key = exactly(sock, 4) if masked else b"\0\0\0\0"
    data = bytes(c ^ key[i % 4] for i, c in enumerate(exactly(sock, size)))
    return first & 15, bool(first & 128), data


def send(sock, opcode, data, mask, last=True):
    size, bit = len(data), 128 if mask else 0
    head = bytes([opcode | (128 if last else 0)])
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    if mask:
        key = os.urandom(4)
        head += key
        data = bytes(c ^ key[i % 4] for i, c in enumerate(data))
    sock.sendall(head + data)


def head_of(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(sock, 1)
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return lines[0], fields, head


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()


def client(port, origin=None):
    sock = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16))
    extra = "Origin: %s\r\n" % origin if origin else ""
    sock.sendall(
        b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Key: %s\r\n%s\r\n"
        % (port, key, extra.encode())
    )
    line, fields, head = head_of(sock)
    if " 101 " not in line:
        print(line)
        return
    assert accept_of(key) in head.decode("latin-1"), head
    print(fields.get("sec-websocket-protocol"))
    parts, kind = b"", None
    while True:
        opcode, last, data = receive(sock, False)
        if opcode == 8:
            send(sock, 8, data, True)
            print("closed", struct.unpack(">H", data[:2])[0], data[2:].decode())
            break
        if opcode == 9:
            send(sock, 10, data, True)
        elif opcode < 3:
            kind = opcode or kind
            parts += data
            if last:
                half = len(parts) // 2
                send(sock, kind, parts[:half], True, False)
                send(sock, 9, b"in between", True)
                send(sock, 0, parts[half:], True)
                parts = b""
    assert sock.recv(1) == b"", "the server closes"


def server():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    line, fields, head = head_of(sock)
    assert line == "GET /there?x=1 HTTP/1.1", line
    name = b"sec-websocket-key: "
    at = head.lower().index(name) + len(name)
    key = head[at : head.index(b"\r\n", at)]
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept_of(key).encode()
    )
    send(sock, 1, "h\u00e9".encode(), False)
    send(sock, 9, b"ping", False)
    send(sock, 2, bytes(range(256)) * 300, False)
    while True:
        opcode, _, data = receive(sock, True)
        print(opcode, len(data), data[:4])
        if opcode == 8:
            send(sock, 8, data, False)
            break


if sys.argv[1] == "client":
    client(int(sys.argv[2]), *sys.argv[3:])
else:
    server()
