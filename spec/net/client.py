# SPDX-License-Identifier: MIT
"""A process of the network in Python, driven by lines on standard input; each gets one line of answer.

    client.py [--name NAME] [--secret-file FILE | --key FILE] [--heartbeat S] [--timeout S]

Values are JSON; {"$handle": "LABEL"} is a handle, {"$bytes": "HEX"} a string that is not UTF-8. Commands:

    listen [HOST [PORT]]             listening LOCATION
    connect LOCATION                 connected PROCESS-ID NAME
    offer LOCATION bye|ping          offered [connected]: ANSWER; a connection that is dropped, or not started
    coro NAME                        coro LABEL: registered, with a mailbox
    echo NAME                        coro LABEL: answers calls with what they bring
    locate NAME [SECONDS]            located LABEL: SECONDS waits for the name
    send|deliver|call LABEL JSON     sent | delivered | reply JSON
    flood LABEL COUNT SIZE           sent COUNT: [number, text of SIZE bytes], one after the other
    large LABEL SIZE                 sent SIZE: one text, in parts
    receive NAME [SECONDS]           message JSON
    drain NAME COUNT                 drained COUNT: [number, ...] messages, in order from 1
    reply JSON                       replied: to the call that was received last
    watch LABEL                      watching
    kill LABEL                       killed
    end NAME                         ended: a coro of ours
    event KIND [SECONDS]             KIND ...: the next event of it: exit, down, peer, refused
    ping                             pong MILLISECONDS
    freeze SECONDS                   frozen: neither reads nor writes, in the background
    raw HEX                          written
    cut                              cut: closes without BYE
    bye                              closed
    quit                             ends

A failure is the line: failed CODE TEXT."""
import argparse
import json
import queue
import sys
import threading
import time

import process
import psk
import wire


class Client:
    def __init__(self, options):
        secret = None
        if options.secret_file:
            with open(options.secret_file, "rb") as file:
                secret = file.read().rstrip(b"\r\n")
        self.process = process.Process(options.name, secret, options.key, heartbeat=options.heartbeat,
                                       timeout=options.timeout)
        self.link, self.reply, self.labels, self.kept = None, None, {}, []

    # Values ------------------------------------------------------------------------------------

    def label(self, handle):
        text = "%s%d" % (wire.KINDS[handle.kind][0], len(self.labels) + 1)
        for known, other in self.labels.items():
            if other == handle:
                return known
        self.labels[text] = handle
        return text

    def from_json(self, value):
        if isinstance(value, dict):
            if "$handle" in value:
                return self.labels[value["$handle"]]
            if "$bytes" in value:
                return bytes.fromhex(value["$bytes"])
            return {key: self.from_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.from_json(item) for item in value]
        return value

    def to_json(self, value, depth=0):
        if isinstance(value, wire.Handle):
            return {"$handle": self.label(value)}
        if isinstance(value, wire.Location):
            return {"$location": str(value)}
        if isinstance(value, wire.Instance):
            return {"$class": value.name, "$value": self.to_json(value.value, depth + 1)}
        if isinstance(value, wire.Code):
            return {"$code": True}
        if isinstance(value, bytes):
            return {"$bytes": value.hex()}
        if depth > 50:
            return "$deep"
        if isinstance(value, dict):
            return {key if isinstance(key, str) else repr(key): self.to_json(item, depth + 1)
                    for key, item in value.items()}
        if isinstance(value, list):
            return [self.to_json(item, depth + 1) for item in value]
        return value

    def text(self, value):
        return json.dumps(self.to_json(value), sort_keys=True)

    # Commands ----------------------------------------------------------------------------------

    def listen(self, host="127.0.0.1", port="0"):
        self.process.listen(host, int(port))
        return "listening " + self.process.location

    def connect(self, location):
        self.link = self.process.connect(location)
        return "connected %s %s" % (self.link.peer["process"].hex(), self.link.peer["name"])

    def offer(self, location, what):
        first = {"bye": (wire.BYE, b"\x0aanother one"), "ping": (wire.PING, bytes(8))}[what]
        peer, answer = self.process.offer(location, first)
        return "offered%s: %s" % (" connected" if peer.get("connected") else "", answer)

    def _to(self, handle):
        """The link to the process of a handle: the one we made, or one that was made to us."""
        link = self.process.links.get(handle.process) or self.link
        if link is None:
            raise process.Failed("peerdown")
        return link

    def coro(self, name):
        return "coro " + self.label(self.process.spawn(name).handle)

    def echo(self, name):
        return "coro " + self.label(self.process.spawn(
            name, lambda value, reply: reply(value) if reply else None).handle)

    def locate(self, name, seconds=None):
        handle = self.link.locate(name, seconds is not None, float(seconds or 10))
        return "located " + self.label(handle)

    def send(self, label, value):
        handle = self.labels[label]
        self._to(handle).message(handle, self.from_json(json.loads(value)), 10)
        return "sent"

    def deliver(self, label, value):
        handle = self.labels[label]
        self._to(handle).deliver(handle, self.from_json(json.loads(value)), 10)
        return "delivered"

    def call(self, label, value):
        handle = self.labels[label]
        return "reply " + self.text(self._to(handle).call(handle, self.from_json(json.loads(value)), 10))

    def flood(self, label, count, size):
        handle, text = self.labels[label], "x" * int(size)
        link = self._to(handle)
        for number in range(1, int(count) + 1):
            link.message(handle, [number, text], 60)
        return "sent " + count

    def large(self, label, size):
        handle = self.labels[label]
        self._to(handle).message(handle, "y" * int(size), 60)
        return "sent " + size

    def receive(self, name, seconds="10"):
        value, self.reply = self.process.names[name].mailbox.get(timeout=float(seconds))
        return "message " + self.text(value)

    def drain(self, name, count):
        mailbox = self.process.names[name].mailbox
        for number in range(1, int(count) + 1):
            value, _ = mailbox.get(timeout=30)
            if value[0] != number:
                raise wire.ProtocolError("message %r where %d is due" % (value[0], number), "order")
        return "drained " + count

    def reply_with(self, value):
        self.reply(self.from_json(json.loads(value)))
        return "replied"

    def watch(self, label):
        handle = self.labels[label]
        self._to(handle).send(wire.WATCH, handle.target)
        return "watching"

    def kill(self, label):
        handle = self.labels[label]
        self._to(handle).send(wire.KILL, handle.target)
        return "killed"

    def end(self, name):
        self.process.names[name].end(1)
        return "ended"

    def event(self, kind, seconds="10"):
        deadline = time.monotonic() + float(seconds)
        while True:
            for i, event in enumerate(self.kept):
                if event[0] == kind:
                    return self._event(*self.kept.pop(i))
            self.kept.append(self.process.events.get(timeout=max(deadline - time.monotonic(), 0)))

    def _event(self, kind, *rest):
        if kind == "exit":
            return "exit %s %s" % (rest[1], self.text(rest[2]))
        if kind == "down":
            return "down %s: %s" % (rest[0].peer["name"], rest[1])
        if kind == "peer":
            self.link = self.link or rest[0]
            return "peer %s %s" % (rest[0].peer["process"].hex(), rest[0].peer["name"])
        return "%s %s" % (kind, " ".join(str(word) for word in rest))

    def ping(self):
        return "pong %.3f" % (self.link.ping(10) * 1000)

    def freeze(self, seconds):
        self.link.frozen = True
        threading.Timer(float(seconds), setattr, (self.link, "frozen", False)).start()
        return "frozen"

    def raw(self, text):
        self.link.write(bytes.fromhex(text))
        return "written"

    def cut(self):
        self.link.sock.shutdown(2)
        return "cut"

    def bye(self):
        self.link.close("ok", "good bye")
        return "closed"

    def obey(self, line):
        words = line.split(None, 1)
        command = {"reply": "reply_with"}.get(words[0], words[0])
        method = getattr(self, command, None)
        if command.startswith("_") or not method:
            return "failed invalid no such command: " + words[0]
        rest = words[1] if len(words) > 1 else ""
        arguments = rest.split(None, 1) if command in ("send", "deliver", "call") else rest.split()
        if command == "reply_with":
            arguments = [rest]
        try:
            return method(*arguments)
        except (process.Failed, wire.ProtocolError) as error:
            return "failed %s %s" % (error.code, error)
        except queue.Empty:
            return "failed timeout nothing came"
        except psk.Refused as error:
            return "failed auth %s" % error
        except ConnectionRefusedError as error:
            return "failed refused %s" % error
        except (EOFError, OSError) as error:
            return "failed closed %s" % error
        except (KeyError, ValueError, TypeError) as error:
            return "failed invalid %s: %s" % (type(error).__name__, error)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="python")
    parser.add_argument("--secret-file")
    parser.add_argument("--key")
    parser.add_argument("--heartbeat", type=float, default=5.0)
    parser.add_argument("--timeout", type=float, default=15.0)
    client = Client(parser.parse_args())
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        if line.strip():
            print(client.obey(line.strip()), flush=True)
    client.process.close()


if __name__ == "__main__":
    main()
