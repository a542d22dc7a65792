# SPDX-License-Identifier: MIT
"""document.py FILE: checks that the examples of docs/protocol.md are what wire.py makes."""
import re
import struct
import sys

import wire

PROCESS = bytes(range(16))
BOX = wire.Handle(wire.EXT_CORO, PROCESS, 1, 7, "127.0.0.1:4000", "box")


def examples():
    """name -> bytes, or (first bytes, last bytes) of something long."""
    first = wire.preface("K")
    key = wire.hkdf(bytes(range(32)), wire.KEY_INFO)
    psk, base = wire.stretch(b"open sesame")
    long = list(wire.parts(1, wire.SEND, BOX.target + wire.encode("x" * 70000)))
    return {
        "preface": first, "preface2": wire.preface("S", 3, "F"), "answer": b"ACO\1\2S\0\0",
        "K": key,
        "server": wire.proof(key, b"server", first, "127.0.0.1", 4000, bytes(32), b"\xff" * 32),
        "client": wire.proof(key, b"client", first, "127.0.0.1", 4000, bytes(32), b"\xff" * 32),
        "psk": psk, "base": base,
        "send": wire.frame(wire.SEND, BOX.target + wire.encode("hi")),
        "deliver": wire.frame(wire.DELIVER, BOX.target + struct.pack(">Q", 1) + wire.encode([1, 2.5])),
        "ack": wire.frame(wire.ACK, struct.pack(">QB", 1, 0)),
        "locate": wire.frame(wire.LOCATE, struct.pack(">QB", 2, 1) + b"box"),
        "watch": wire.frame(wire.WATCH, BOX.target),
        "ping": wire.frame(wire.PING, struct.pack(">Q", 1)),
        "bye": wire.frame(wire.BYE, bytes([wire.CODES.index("protocol")]) + b"a frame of type 99"),
        "part1": long[0][:37], "part2": long[1][:12],
        "reply": wire.frame(wire.REPLY, struct.pack(">Q", 2) + wire.encode(BOX)),
        "put": wire.frame(1, struct.pack(">QqII", 2, 1700000000, 0, 0o644) + b"odd/a", 5),
        "have": wire.frame(3, bytes(40)), "start": wire.frame(4, bytes(8)) + b"hi" + wire.frame(5),
        "result": wire.frame(6, b"\0/srv/files/odd/a"), "remove": wire.frame(2, b"odd/a"),
        "none": wire.frame(6, b"\1there is no file"),
    }


def check_parts():
    """What is cut into parts comes together again, in whatever pieces the bytes come."""
    reader, found = wire.Reader(1 << 20), []
    body = BOX.target + wire.encode("x" * 200000)
    stream = b"".join(wire.parts(5, wire.SEND, body, wire.FORCED)) + wire.frame(wire.PING, bytes(8))
    for at in range(0, len(stream), 997):
        reader.feed(stream[at:at + 997])
        found += reader
    assert found == [(wire.SEND, wire.FORCED, body), (wire.PING, 0, bytes(8))]


def check_values():
    """The examples of docs/values.md, and a handle."""
    shared = wire.decode(bytes.fromhex("82a1619105a162d60500000001"))
    assert shared["a"] is shared["b"] and shared["a"] == [5]
    cycle = wire.decode(bytes.fromhex("91d60500000000"))
    assert cycle[0] is cycle
    for value in (None, True, 1, -1, 1.5, "text", b"\xff", [1, [2]], {"a": {}}, BOX):
        assert wire.decode(wire.encode(value)) == value, value


def main():
    check_parts()
    check_values()
    with open(sys.argv[1]) as file:
        text = file.read()
    known = [re.sub(r"[^0-9a-f]", "", code) for code in re.findall(r"`([0-9a-f ]+)`|^    ([0-9a-f ]+)$", text, re.M)
             for code in code]
    missing = [(name, data.hex()) for name, data in examples().items() if data.hex() not in known]
    for name, data in missing:
        print("%s should be: %s" % (name, data))
    sys.exit(len(missing) > 0)


if __name__ == "__main__":
    main()
