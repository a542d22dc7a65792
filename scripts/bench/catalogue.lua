-- SPDX-License-Identifier: MIT
-- The workloads: sizes, units, who takes part, and the targets. A target compares the median of asyncoro's
-- first figure with a peer's (`peer`, `ratio`) or with a constant (`value`); `low` says that less is better.
-- `notes` names the figures after the first. `served` and `load` are about servers that a
-- load client starts; `pair` about two processes that talk. `once` means one run without a warm-up, `memory` is how
-- many bytes each of the n must find free.

local LOCAL <const> = { "ceiling", "go", "erlang", "pure", "cqueues", "luv" }

return {
    {
        name = "w1", title = "spawn and finish trivial coros, batches of 1,000", unit = "coros/s",
        n = 1000000, quick = 200000, peers = { "ceiling", "go", "erlang", "pure", "cqueues", "luv", "copas" },
        targets = { { peer = "go", ratio = 1.4 } },
    },
    {
        name = "w2", title = "idle coros blocked in receive, handles kept", unit = "bytes each", low = true,
        n = 1000000, quick = 200000, peers = LOCAL, notes = { "s to make them" },
        targets = { { value = 1350 } },
    },
    {
        name = "w3", title = "ping-pong between two coros", unit = "round trips/s",
        n = 1000000, quick = 200000, peers = LOCAL, targets = { { peer = "go", ratio = 1.1 } },
    },
    {
        name = "w4", title = "fan-in: 1,000 senders, one receiver", unit = "messages/s",
        n = 1000000, quick = 200000, peers = LOCAL, targets = { { peer = "erlang", ratio = 2 } },
    },
    {
        name = "w5", title = "a token round a ring of 1,000 coros", unit = "hops/s",
        n = 1000000, quick = 200000, peers = LOCAL, targets = { { peer = "go", ratio = 1 } },
    },
    {
        name = "w6", title = "coros sleep uniformly 0..1 s", unit = "s beyond 1 s", low = true,
        n = 1000000, quick = 200000, peers = { "ceiling", "go", "erlang", "cqueues", "luv" },
        targets = { { peer = "ceiling", ratio = 1.2 } },
    },
    {
        name = "w7", title = "TCP echo: 100 connections, 64 bytes, one outstanding each", low = true, served = "echo",
        unit = "us of the server's CPU per round trip", n = 500000, quick = 100000,
        peers = { "ceiling", "go", "luv", "cqueues", "copas", "node" }, notes = { "round trips/s" },
        targets = { { peer = "ceiling", ratio = 1.15 }, { peer = "luv", ratio = 1 }, { peer = "node", ratio = 1 } },
    },
    {
        name = "w8", title = "HTTP: 100 connections, keep-alive, a body of 5 bytes", low = true, served = "http",
        unit = "us of the server's CPU per request", n = 500000, quick = 100000, peers = { "nginx", "go", "node" },
        notes = { "requests/s" },
        targets = { { peer = "nginx", ratio = 1.5 }, { peer = "go", ratio = 1 }, { peer = "node", ratio = 1 } },
    },
    {
        name = "idle", title = "idle TCP connections, a coro that reads on each", unit = "bytes each", low = true,
        n = 15000, quick = 3000, peers = {}, targets = { { value = 4096 } },
    },
    {
        name = "pipe", title = "n MiB from a program to another, through us or through cat", unit = "MB/s",
        n = 2048, quick = 512, peers = { "shell" }, targets = { { peer = "shell", ratio = 0.8 } },
    },
    {
        name = "copy", title = "a file of n MiB, copied from tmpfs to tmpfs", unit = "MB/s", n = 1024, quick = 256,
        memory = 2.2 * 2 ^ 20, peers = { "shell" }, notes = { "by a loop over its chunks" },
        targets = { { peer = "shell", ratio = 0.8 } },
    },
    {
        name = "w9", title = "messages of 100 bytes one way between two processes, in order", unit = "messages/s",
        pair = true, n = 1000000, quick = 200000, peers = { "ceiling", "zeromq", "nats", "redis", "erlang", "skynet" },
        targets = {
            { peer = "zeromq", ratio = 0.8 }, { peer = "nats", ratio = 1 }, { peer = "redis", ratio = 1 },
            { peer = "erlang", ratio = 1 },
        },
    },
    {
        name = "w9_secret", title = "w9 with a secret: beside itself without one", unit = "messages/s",
        pair = true, n = 1000000, quick = 200000, peers = { "plain" }, targets = { { peer = "plain", ratio = 0.6 } },
    },
    {
        name = "w10", title = "round trips between two processes, one outstanding", unit = "round trips/s",
        pair = true, n = 20000, quick = 5000, peers = { "ceiling", "zeromq", "nats", "redis", "erlang", "skynet" },
        targets = {
            { peer = "ceiling", ratio = 0.8 }, { peer = "zeromq", ratio = 1 }, { peer = "nats", ratio = 1 },
            { peer = "erlang", ratio = 1 }, { peer = "skynet", ratio = 1 },
        },
    },
    {
        name = "w10_secret", title = "w10 with a secret: beside itself without one", unit = "round trips/s",
        pair = true, n = 20000, quick = 5000, peers = { "plain" }, targets = {},
    },
    {
        name = "w12", title = "a file of n MiB between two processes, tmpfs to tmpfs", unit = "MB/s", pair = true,
        n = 1024, quick = 256, memory = 2.2 * 2 ^ 20, peers = { "sendfile", "netcat" },
        targets = { { peer = "sendfile", ratio = 0.8 } },
    },
    {
        name = "w12_secret", title = "w12 with a secret: beside netcat and itself without one", unit = "MB/s",
        pair = true, n = 1024, quick = 256, memory = 2.2 * 2 ^ 20, peers = { "netcat", "plain" },
        targets = { { peer = "netcat", ratio = 1 } },
    },
    {
        name = "tls", title = "TLS 1.3, AES-128-GCM: writes of 64 KiB over one connection", unit = "MiB/s",
        load = "bulk", n = 20000, quick = 4000, peers = { "ceiling" }, notes = { "us of the server's CPU per MiB" },
        targets = { { peer = "ceiling", ratio = 0.9 } },
    },
    {
        name = "tls_shake", title = "TLS 1.3, P-256: full handshakes, one after the other", unit = "handshakes/s",
        load = "shake", n = 5000, quick = 1000, peers = { "ceiling" }, notes = { "us of the server's CPU each" },
        targets = { { peer = "ceiling", ratio = 0.85 } },
    },
    {
        name = "turn", title = "sleep(0) beside the raw lua_resume/lua_yield pair, 100 coros",
        unit = "ns per turn", low = true, n = 5000000, quick = 1000000, peers = { "ceiling" },
        targets = { { peer = "ceiling", ratio = 1.5 } },
    },
    {
        name = "idle10m", title = "10 million idle coros", unit = "bytes each", low = true, once = true,
        n = 10000000, quick = 1000000, peers = {}, memory = 1503,
        notes = { "s to make them", "s full collection", "s worst timer lateness" },
        targets = { { value = 1503 } },
    },
    {
        name = "isolates", title = "small messages from one isolate to another", unit = "messages/s",
        n = 1000000, quick = 100000, peers = {}, targets = {},
    },
    {
        name = "counting", title = "Savina: counting", unit = "messages/s",
        n = 1000000, quick = 200000, peers = { "erlang" }, targets = {},
    },
    {
        name = "big", title = "Savina: big, 120 actors", unit = "pings/s",
        n = 600000, quick = 120000, peers = { "erlang" }, targets = {},
    },
    {
        name = "chameneos", title = "Savina: chameneos, 100 creatures", unit = "meetings/s",
        n = 400000, quick = 100000, peers = { "erlang" }, targets = {},
    },
    {
        name = "concdict", title = "Savina: concurrent dictionary, 20 workers", unit = "requests/s",
        n = 400000, quick = 100000, peers = { "erlang" }, targets = {},
    },
}
