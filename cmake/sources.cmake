# SPDX-License-Identifier: MIT
# The sources of the library: ACO_CORE_SOURCES, ACO_BINDING_SOURCES, ACO_LUA_FILES (relative to lua/).
set(ACO_CORE_SOURCES
    core/base/buf.c core/base/clock.c core/base/digest.c core/base/error.c core/base/map.c core/base/msgpack.c
    core/base/random.c core/base/version.c core/engine/channel.c core/engine/channel_frame.c core/engine/channel_member.c core/engine/channel_peer.c core/engine/export.c core/engine/identity.c core/engine/inbox.c core/engine/loop.c core/engine/mailbox.c core/engine/pool.c
    core/engine/process.c core/engine/publish.c core/engine/scope.c core/engine/task.c core/engine/timer.c core/engine/watch.c
    core/engine/watchdog.c core/io/address.c core/io/certificate.c core/io/child.c core/io/file.c core/io/datagram.c core/io/issue.c core/io/lookup.c core/io/path.c core/io/signals.c core/io/sigpipe.c core/io/socket.c core/io/stream.c
    core/io/tls.c core/io/tls_bio.c core/io/tls_context.c core/io/tls_error.c
    core/net/airwave.c core/net/beacon.c core/net/carrier.c core/net/connection.c core/net/dest.c core/net/discovery.c
    core/net/endpoint.c core/net/frame.c core/net/gate.c core/net/handover.c core/net/hello.c core/net/interface.c core/net/key.c core/net/location.c
    core/net/net.c core/net/offer.c core/net/outq.c core/net/part.c core/net/peer.c core/net/place.c
    core/net/preface.c core/net/probe.c core/net/probe_peer.c core/net/proof.c core/net/receive.c core/net/receiver.c
    core/net/search.c core/net/secret.c core/net/secure.c core/net/serve.c core/net/transfer.c)
set(ACO_BINDING_SOURCES
    bindings/alloc.c bindings/call.c bindings/cancel.c bindings/channel.c bindings/codec.c bindings/coro.c bindings/coroutine.c
    bindings/decode.c bindings/digest.c bindings/dispatch.c bindings/doctor.c bindings/drain.c bindings/issue.c bindings/drive.c
    bindings/encode.c bindings/engine.c bindings/export.c bindings/file.c bindings/finish.c bindings/fork.c bindings/isolate.c bindings/job.c
    bindings/group.c bindings/leash.c bindings/location.c bindings/lock.c bindings/message.c bindings/module.c bindings/names.c bindings/native.c bindings/network.c
    bindings/nest.c bindings/place.c bindings/process.c bindings/publish.c bindings/reach.c bindings/rci.c bindings/read.c bindings/request.c bindings/resolve.c bindings/remote.c bindings/report.c bindings/run.c bindings/runtime.c
    bindings/sched.c bindings/send.c bindings/spawn.c bindings/state.c bindings/subscribe.c bindings/swap.c bindings/wait.c
    bindings/signals.c bindings/socket.c bindings/stream.c bindings/tls.c bindings/transfer.c bindings/udp.c bindings/waitq.c bindings/watch.c bindings/write.c)
if(ACO_LLHTTP)
    list(APPEND ACO_CORE_SOURCES core/io/http.c)
    list(APPEND ACO_BINDING_SOURCES bindings/http.c bindings/http_head.c)
endif()
set(ACO_LUA_FILES
    asyncoro/atexit.lua asyncoro/categories.lua asyncoro/channel.lua asyncoro/class.lua asyncoro/cli.lua asyncoro/cli/cert.lua asyncoro/cli/doctor.lua asyncoro/cli/secret.lua
    asyncoro/complete.lua asyncoro/event.lua asyncoro/file.lua asyncoro/group.lua asyncoro/http.lua
    asyncoro/http/body.lua asyncoro/http/client.lua asyncoro/http/request.lua asyncoro/http/response.lua
    asyncoro/http/server.lua asyncoro/http/url.lua asyncoro/http/websocket.lua
    asyncoro/init.lua asyncoro/lexer.lua
    asyncoro/load.lua asyncoro/lock.lua asyncoro/log.lua asyncoro/names.lua asyncoro/network.lua asyncoro/options.lua asyncoro/peer_status.lua asyncoro/pool.lua asyncoro/process.lua asyncoro/prototype.lua asyncoro/queue.lua asyncoro/rci.lua
    asyncoro/repl.lua asyncoro/require.lua asyncoro/resolve.lua asyncoro/select.lua asyncoro/semaphore.lua asyncoro/signal.lua asyncoro/socket.lua asyncoro/source.lua asyncoro/standard.lua
    asyncoro/supervisor.lua asyncoro/tls.lua asyncoro/transfer.lua asyncoro/udp.lua
    asyncoro/compat/luasocket.lua asyncoro/compat/luasocket_udp.lua asyncoro/compat/luasocket_words.lua)
set_source_files_properties(core/base/version.c PROPERTIES COMPILE_DEFINITIONS ASYNCORO_VERSION="${PROJECT_VERSION}")
