%% SPDX-License-Identifier: MIT
%% Two Erlang nodes: erl -noinput -sname NAME -run dist main w9|w10 N. See pair.c for what is measured.
-module(dist).
-export([main/1, count/2, echo/0]).

main([What, Count]) ->
    N = list_to_integer(Count),
    {ok, Peer, Node} = peer:start_link(#{name => peer:random_name(), args => ["-pa", filename:dirname(code:which(?MODULE))]}),
    Payload = binary:copy(<<"x">>, 100),
    Seconds = case What of
        "w9" -> one_way(Node, Payload, N);
        "w10" -> both_ways(Node, Payload, N)
    end,
    io:format("~f~n", [N / Seconds]),
    peer:stop(Peer),
    halt(0).

one_way(Node, Payload, N) ->
    Receiver = spawn(Node, ?MODULE, count, [self(), N]),
    receive ready -> ok end,
    Start = erlang:monotonic_time(),
    pour(Receiver, Payload, N),
    receive done -> ok end,
    seconds_since(Start).

pour(_, _, 0) -> ok;
pour(Receiver, Payload, N) -> Receiver ! Payload, pour(Receiver, Payload, N - 1).

count(Asker, N) ->
    Asker ! ready,
    take(N),
    Asker ! done.

take(0) -> ok;
take(N) -> receive _ -> take(N - 1) end.

both_ways(Node, Payload, N) ->
    Echo = spawn(Node, ?MODULE, echo, []),
    ping(Echo, Payload, 100),
    Start = erlang:monotonic_time(),
    ping(Echo, Payload, N),
    seconds_since(Start).

ping(_, _, 0) -> ok;
ping(Echo, Payload, N) ->
    Echo ! {self(), Payload},
    receive {Echo, _} -> ping(Echo, Payload, N - 1) end.

echo() ->
    receive {From, Payload} -> From ! {self(), Payload} end,
    echo().

seconds_since(Start) ->
    erlang:convert_time_unit(erlang:monotonic_time() - Start, native, microsecond) / 1.0e6.
