# SPDX-License-Identifier: MIT
"""A process of the network as docs/protocol.md has it: it connects and accepts, has coros with mailboxes, and knows
those of others. Threads: one reads each connection, one looks after its liveness; whoever calls waits."""
import itertools
import os
import queue
import socket
import struct
import threading
import time

import psk
import wire

MESSAGE_LIMIT = 64 << 20


class Failed(Exception):
    """An answer with a code other than 0, or none because the peer is down."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Coro:
    """Something with a mailbox. on_message(value, reply or None), when given, is called instead of queueing."""

    def __init__(self, process, serial, name, on_message=None):
        self.process, self.serial, self.name, self.on_message = process, serial, name, on_message
        self.mailbox = queue.Queue()
        self.watchers = []
        self.stop = threading.Event()

    @property
    def handle(self):
        return wire.Handle(wire.EXT_CORO, self.process.id, 0, self.serial, self.process.location, self.name)

    def put(self, value, reply=None):
        if self.on_message:
            self.on_message(value, reply)
        else:
            self.mailbox.put((value, reply))

    def end(self, reason, value=None):
        self.process.forget(self)
        message = wire.encode(wire.Instance("asyncoro.exit", {
            "coro": self.handle, "reason": wire.REASONS[reason], "values": value}))
        for link in self.watchers:
            link.send(wire.EXIT, self.handle.target + bytes([reason]) + message)


class Process:
    """`events` is a queue of tuples: ("peer", link), ("down", link, why), ("exit", target, reason, value)."""

    def __init__(self, name, secret=None, key_path=None, heartbeat=5.0, timeout=15.0):
        self.id, self.name, self.location = os.urandom(16), name, ""
        self.mode = "S" if secret else "K"
        if secret:
            self.key, _ = wire.stretch(secret)
        else:
            self.key = wire.hkdf(wire.read_key(key_path), wire.KEY_INFO)
        self.heartbeat, self.timeout = heartbeat, timeout
        self.coros, self.names, self.waiting = {}, {}, []
        self.links, self.events = {}, queue.Queue()
        self.lock = threading.Lock()
        self.serials = itertools.count(1)
        self.listener = None

    # Coros -----------------------------------------------------------------------------------

    def spawn(self, name, on_message=None):
        """A coro that is registered by its name."""
        coro = Coro(self, next(self.serials), name, on_message)
        with self.lock:
            self.coros[coro.serial], self.names[name] = coro, coro
            waiting = [entry for entry in self.waiting if entry[2] == name]
            self.waiting = [entry for entry in self.waiting if entry[2] != name]
        for link, asked, _ in waiting:
            link.send(wire.REPLY, struct.pack(">Q", asked) + wire.encode(coro.handle))
        return coro

    def forget(self, coro):
        with self.lock:
            self.coros.pop(coro.serial, None)
            if self.names.get(coro.name) is coro:
                del self.names[coro.name]
        coro.stop.set()

    def find(self, target):
        engine, serial = struct.unpack(">IQ", target)
        return self.coros.get(serial) if engine == 0 else None

    # Connections -----------------------------------------------------------------------------

    def connect(self, location, **options):
        host, port, server = wire.split_location(location)
        return Link(self, socket.create_connection((host, port), 10), port, server=server, **options)

    def offer(self, location, first):
        """Connect, and say something else than START: what the other side's HELLO said, and its answer."""
        link = self.connect(location, first=first)
        try:
            kind, _, body = link._next()
            answer = "%d %s" % (kind, body[1:].decode())
        except EOFError:
            answer = "closed"
        link.sock.close()
        return link.peer, answer

    def listen(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family)
        port = self.listener.getsockname()[1]
        self.location = ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)
        threading.Thread(target=self._accept, args=(port,), daemon=True).start()

    def _accept(self, port):
        while True:
            plain, _ = self.listener.accept()
            threading.Thread(target=self._take, args=(plain, port), daemon=True).start()

    def _take(self, plain, port):
        try:
            Link(self, plain, port, accepted=True)
        except (OSError, EOFError, wire.ProtocolError, psk.Refused) as error:
            self.events.put(("refused", str(error)))
            plain.close()

    def close(self):
        for link in list(self.links.values()):
            link.close("shutdown", "the process ends")


def exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError("the connection was closed")
        data += piece
    return data


class Link:
    """A connection to another process, ready when the constructor returns."""

    def __init__(self, process, plain, port, accepted=False, server=0, first=(wire.START, b"")):
        """`first`: what a connecting side says after both HELLOs; unless it is START, nothing follows but `_next`."""
        self.process, self.accepted, self.first = process, accepted, first
        self.write_lock, self.target_locks = threading.Lock(), {}
        self.ids, self.numbers, self.answers = itertools.count(1), itertools.count(1), {}
        self.paused, self.resumed = set(), threading.Condition()
        self.down, self.frozen = None, False
        self.last_sent = self.last_heard = time.monotonic()
        self.frames_read = 0
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(10)
        self.sock = self._secure(plain, port, server)
        self.reader = wire.Reader(MESSAGE_LIMIT)
        self.pending = iter(())
        self._hello()
        if first[0] != wire.START:
            return
        plain.settimeout(None)
        process.links[self.peer["process"]] = self
        process.events.put(("peer", self))
        threading.Thread(target=self._read_all, daemon=True).start()
        threading.Thread(target=self._stay_alive, daemon=True).start()

    # Handshake -------------------------------------------------------------------------------

    def _secure(self, plain, port, server):
        process = self.process
        if self.accepted:
            first = exactly(plain, 8)
            plain.sendall(b"ACO" + bytes([wire.VERSION, self._judge(first)]) + process.mode.encode() + b"\0\0")
            if self._judge(first) != 0:
                raise wire.ProtocolError("refused a preface")
        else:
            first = wire.preface(process.mode, server)
            plain.sendall(first)
            wire.check_answer(exactly(plain, 8), process.mode)
        if process.mode == "S":
            return psk.Socket(plain, process.key, "M", server=self.accepted)
        self._prove(plain, first, port)
        return plain

    def _judge(self, first):
        if first[:3] != b"ACO":
            raise wire.ProtocolError("what connected does not speak this protocol")
        if first[3] != wire.VERSION:
            return 1
        if first[5:6] != self.process.mode.encode():
            return 2
        if first[6:8] != b"\0\0":
            return 3
        return 0 if first[4:5] == b"M" else 6

    def _prove(self, plain, first, port):
        key, mine = self.process.key, os.urandom(32)
        host = (plain.getsockname() if self.accepted else plain.getpeername())[0]
        if self.accepted:
            theirs = exactly(plain, 32)
            plain.sendall(mine + wire.proof(key, b"server", first, host, port, theirs, mine))
            if exactly(plain, 32) != wire.proof(key, b"client", first, host, port, theirs, mine):
                raise wire.ProtocolError("the key files differ", "auth")
        else:
            plain.sendall(mine)
            theirs = exactly(plain, 32)
            if exactly(plain, 32) != wire.proof(key, b"server", first, host, port, mine, theirs):
                raise wire.ProtocolError("the key files differ", "auth")
            plain.sendall(wire.proof(key, b"client", first, host, port, mine, theirs))

    def _hello(self):
        process = self.process
        mine = wire.encode({
            "version": wire.VERSION, "process": process.id, "name": process.name, "location": process.location,
            "agent": "python", "heartbeat": process.heartbeat, "timeout": process.timeout, "message": MESSAGE_LIMIT,
            "time": time.time(), "an unknown key": True})
        if not self.accepted:
            self.send(wire.HELLO, mine)
        kind, _, body = self._next()
        if kind == wire.BYE:
            raise wire.ProtocolError("refused: %s" % body[1:].decode(errors="replace"), wire.CODES[body[0]])
        if kind != wire.HELLO:
            raise wire.ProtocolError("it did not say HELLO")
        self.peer = wire.decode(body)
        if not self.accepted:
            self.send(*self.first)
            return
        self.send(wire.HELLO, mine)
        kind, _, body = self._next()
        if kind == wire.BYE:
            raise wire.ProtocolError("left: %s" % body[1:].decode(errors="replace"), wire.CODES[body[0]])
        if kind != wire.START:
            raise wire.ProtocolError("it did not say START")

    # Writing ---------------------------------------------------------------------------------

    def write(self, data):
        with self.write_lock:
            self.last_sent = time.monotonic()
            self.sock.sendall(data)

    def send(self, kind, body=b"", flags=0):
        """Queue nothing: write it, in parts when it is large; others may write in between."""
        if len(body) <= wire.PIECE:
            lock = self.target_locks.get(body[:12]) if kind >= wire.SEND else None
            if lock:
                with lock:
                    self.write(wire.frame(kind, body, flags))
            else:
                self.write(wire.frame(kind, body, flags))
            return
        if len(body) > self.peer.get("message", MESSAGE_LIMIT):
            raise Failed("toolarge")
        with self.target_locks.setdefault(body[:12], threading.Lock()):
            for part in wire.parts(next(self.numbers), kind, body, flags):
                self.write(part)

    def _ask(self, kind, make_body, timeout):
        asked, answer = next(self.ids), queue.Queue()
        self.answers[asked] = answer
        try:
            if self.down:
                raise Failed("peerdown")
            self.send(kind, make_body(struct.pack(">Q", asked)))
            code, value = answer.get(timeout=timeout)
        except queue.Empty:
            self.send(wire.FORGET, struct.pack(">Q", asked))
            raise Failed("timeout") from None
        finally:
            self.answers.pop(asked, None)
        if code != "ok":
            raise Failed(code)
        return value

    def _may_send(self, target, timeout):
        with self.resumed:
            if not self.resumed.wait_for(lambda: self.down or target not in self.paused, timeout):
                raise Failed("timeout")
        if self.down:
            raise Failed("peerdown")

    def message(self, handle, value, timeout=None):
        self._may_send(handle.target, timeout)
        self.send(wire.SEND, handle.target + wire.encode(value))

    def deliver(self, handle, value, timeout=None):
        self._may_send(handle.target, timeout)
        return self._ask(wire.DELIVER, lambda asked: handle.target + asked + wire.encode(value), timeout)

    def call(self, handle, value, timeout=None):
        self._may_send(handle.target, timeout)
        return self._ask(wire.CALL, lambda asked: handle.target + asked + wire.encode(value), timeout)

    def request(self, handle, value, timeout=None):
        return self._ask(wire.REQUEST, lambda asked: handle.target + asked + wire.encode(value), timeout)

    def locate(self, name, wait=False, timeout=None):
        return self._ask(wire.LOCATE, lambda asked: asked + bytes([wait]) + name.encode(), timeout)

    def ping(self, timeout=None):
        """Seconds until its PONG."""
        start, answer = time.monotonic(), queue.Queue()
        token = os.urandom(8)
        self.answers[token] = answer
        self.send(wire.PING, token)
        try:
            answer.get(timeout=timeout)
        except queue.Empty:
            raise Failed("timeout") from None
        return time.monotonic() - start

    def close(self, code="ok", text=""):
        try:
            self.send(wire.BYE, bytes([wire.CODES.index(code)]) + text.encode())
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self._lost("closed")

    # Reading ---------------------------------------------------------------------------------

    def _next(self):
        while True:
            for whole in self.pending:
                return whole
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the connection was closed")
            while self.frozen:
                time.sleep(0.01)
            self.last_heard = time.monotonic()
            self.reader.feed(data)
            self.pending = iter(self.reader)

    def _read_all(self):
        try:
            while not self.down:
                kind, flags, body = self._next()
                self.frames_read += 1
                handler = self._handlers.get(kind)
                if handler is None:
                    raise wire.ProtocolError("a frame of type %d" % kind)
                handler(self, body, flags)
        except wire.ProtocolError as error:
            self.close("toolarge" if error.code == "toolarge" else "protocol", str(error))
            self._lost(str(error))
        except (EOFError, OSError) as error:
            self._lost(str(error))

    def _stay_alive(self):
        limit = max(self.process.timeout, 3 * float(self.peer.get("heartbeat", 5)))
        while not self.down:
            time.sleep(min(self.process.heartbeat / 4, 0.5))
            now = time.monotonic()
            if self.frozen:
                continue
            try:
                if now - self.last_sent >= self.process.heartbeat:
                    self.send(wire.PING, os.urandom(8))
            except OSError as error:
                self._lost(str(error))
            if now - self.last_heard >= limit:
                self._lost("nothing came for %g s" % limit)

    def _lost(self, why):
        with self.resumed:
            if self.down:
                return
            self.down = why
            self.resumed.notify_all()
        for answer in list(self.answers.values()):
            answer.put(("peerdown", None))
        if self.process.links.get(self.peer["process"]) is self:
            del self.process.links[self.peer["process"]]
        self.process.events.put(("down", self, why))
        try:
            self.sock.close()
        except OSError:
            pass

    # What comes --------------------------------------------------------------------------------

    def _ack(self, asked, code):
        self.send(wire.ACK, asked + bytes([wire.CODES.index(code)]))

    def _answer(self, asked, code, value=None):
        answer = self.answers.get(struct.unpack(">Q", asked)[0])
        if answer:
            answer.put((code, value))

    def _on_bye(self, body, _flags):
        code = wire.CODES[body[0]] if body[0] < len(wire.CODES) else str(body[0])
        self._lost("bye %s: %s" % (code, body[1:].decode(errors="replace")))

    def _on_ping(self, body, _flags):
        self.send(wire.PONG, body)

    def _on_pong(self, body, _flags):
        answer = self.answers.pop(bytes(body), None)
        if answer:
            answer.put(("ok", None))

    def _on_send(self, body, _flags):
        coro = self.process.find(body[:12])
        if coro:
            coro.put(wire.decode(body[12:]))

    def _on_deliver(self, body, _flags):
        coro = self.process.find(body[:12])
        if coro:
            coro.put(wire.decode(body[20:]))
        self._ack(body[12:20], "ok" if coro else "notfound")

    def _on_call(self, body, _flags):
        coro, asked = self.process.find(body[:12]), bytes(body[12:20])
        if not coro:
            self._ack(asked, "notfound")
            return
        coro.put(wire.decode(body[20:]), lambda value: self.send(wire.REPLY, asked + wire.encode(value)))

    def _on_ack(self, body, _flags):
        self._answer(body[:8], wire.CODES[body[8]])

    def _on_reply(self, body, _flags):
        self._answer(body[:8], "ok", wire.decode(body[8:]))

    def _on_request(self, body, _flags):
        if body[12:20] != bytes(8):
            self._ack(body[12:20], "unsupported")

    def _on_kill(self, body, _flags):
        coro = self.process.find(body[:12])
        if coro:
            coro.end(3)

    def _on_watch(self, body, _flags):
        coro = self.process.find(body[:12])
        if coro:
            coro.watchers.append(self)
        else:
            self.send(wire.EXIT, body[:12] + b"\4" + wire.encode(None))

    def _on_unwatch(self, body, _flags):
        coro = self.process.find(body[:12])
        if coro and self in coro.watchers:
            coro.watchers.remove(self)

    def _on_exit(self, body, _flags):
        self.process.events.put(("exit", self.peer["process"] + body[:12], wire.REASONS[body[12]],
                                 wire.decode(body[13:])))

    def _on_pause(self, body, _flags):
        with self.resumed:
            self.paused.add(bytes(body))

    def _on_resume(self, body, _flags):
        with self.resumed:
            self.paused.discard(bytes(body))
            self.resumed.notify_all()

    def _on_locate(self, body, _flags):
        (asked, wait), name = struct.unpack_from(">QB", body), body[9:].decode(errors="replace")
        with self.process.lock:
            coro = self.process.names.get(name)
            if not coro and wait:
                self.process.waiting.append((self, asked, name))
        if coro:
            self.send(wire.REPLY, body[:8] + wire.encode(coro.handle))
        elif not wait:
            self._ack(body[:8], "notfound")

    def _on_forget(self, body, _flags):
        (asked,) = struct.unpack(">Q", body)
        with self.process.lock:
            self.process.waiting = [entry for entry in self.process.waiting if entry[:2] != (self, asked)]

    _handlers = {
        wire.BYE: _on_bye, wire.PING: _on_ping, wire.PONG: _on_pong, wire.SEND: _on_send, wire.DELIVER: _on_deliver,
        wire.CALL: _on_call, wire.ACK: _on_ack, wire.REPLY: _on_reply, wire.REQUEST: _on_request, wire.KILL: _on_kill,
        wire.WATCH: _on_watch, wire.UNWATCH: _on_unwatch, wire.EXIT: _on_exit, wire.PAUSE: _on_pause,
        wire.RESUME: _on_resume, wire.LOCATE: _on_locate, wire.FORGET: _on_forget,
    }
