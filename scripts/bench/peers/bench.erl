%% SPDX-License-Identifier: MIT

%% Erlang's side of the workloads and of the four Savina programs: `bench:main([Workload, N])` prints the figures.
-module(bench).
-export([main/1]).

-define(BATCH, 1000).

main([Name, Count]) ->
    N = list_to_integer(Count),
    io:format("~s~n", [lists:join(" ", [io_lib:format("~w", [X]) || X <- run(Name, N)])]),
    halt(0, [{flush, true}]).

run("w1", N) -> spawning(N);
run("w2", N) -> idle(N);
run("w3", N) -> ping_pong(N);
run("w4", N) -> fan_in(N);
run("w5", N) -> ring(N);
run("w6", N) -> sleepers(N);
run("counting", N) -> counting(N);
run("big", N) -> big(N);
run("chameneos", N) -> chameneos(N);
run("concdict", N) -> concdict(N).

now_s() -> erlang:monotonic_time(nanosecond) / 1.0e9.

rate(N, Start) -> [N / (now_s() - Start)].

rss() ->
    [_, Pages | _] = string:tokens(os:cmd("cat /proc/" ++ os:getpid() ++ "/statm"), " "),
    list_to_integer(Pages) * 4096.

times(0, _) -> ok;
times(N, F) -> F(N), times(N - 1, F).

wait(0) -> ok;
wait(N) -> receive _ -> wait(N - 1) end.

%% W1
spawning(N) ->
    Done = atomics:new(1, []),
    Trivial = fun() -> atomics:add(Done, 1, 1) end,
    Start = now_s(),
    batches(N, ?BATCH, Done, Trivial),
    rate(N, Start).

batches(N, Sum, _, _) when Sum > N -> ok;
batches(N, Sum, Done, Trivial) ->
    times(?BATCH, fun(_) -> spawn(Trivial) end),
    until(Done, Sum),
    batches(N, Sum + ?BATCH, Done, Trivial).

until(Done, Sum) ->
    case atomics:get(Done, 1) of
        Sum -> ok;
        _ -> erlang:yield(), until(Done, Sum)
    end.

%% W2
idle(N) ->
    Waiting = atomics:new(1, []),
    Idle = fun() -> atomics:add(Waiting, 1, 1), receive stop -> ok end end,
    erlang:garbage_collect(),
    Before = rss(),
    Start = now_s(),
    Pids = [spawn(Idle) || _ <- lists:seq(1, N)],
    until(Waiting, N),
    Seconds = now_s() - Start,
    Bytes = (rss() - Before) / length(Pids),
    [Bytes, Seconds].

%% W3
ping_pong(N) ->
    Main = self(),
    Pong = spawn(fun() -> pong(Main) end),
    Start = now_s(),
    ping(N, Pong),
    rate(N, Start).

ping(0, _) -> ok;
ping(N, Pong) -> Pong ! N, receive _ -> ping(N - 1, Pong) end.

pong(Main) -> receive Msg -> Main ! Msg, pong(Main) end.

%% W4
fan_in(N) ->
    Main = self(),
    Start = now_s(),
    times(?BATCH, fun(_) -> spawn(fun() -> sender(N div ?BATCH, Main) end) end),
    wait(N div ?BATCH * ?BATCH),
    rate(N, Start).

sender(0, _) -> ok;
sender(N, Main) -> Main ! N, sender(N - 1, Main).

%% W5
ring(N) ->
    First = lists:foldl(fun(_, Next) -> spawn(fun() -> pong(Next) end) end, self(), lists:seq(2, ?BATCH)),
    Start = now_s(),
    ping(N div ?BATCH, First),
    rate(N, Start).

%% W6
sleepers(N) ->
    Main = self(),
    Left = atomics:new(1, []),
    atomics:put(Left, 1, N),
    Sleeper = fun() ->
        timer:sleep(rand:uniform(1001) - 1),
        atomics:sub_get(Left, 1, 1) =:= 0 andalso (Main ! done)
    end,
    Start = now_s(),
    times(N, fun(_) -> spawn(Sleeper) end),
    wait(1),
    [now_s() - Start - 1].

%% Savina: counting
counting(N) ->
    Start = now_s(),
    Counter = spawn(fun() -> counter(0) end),
    times(N, fun(_) -> Counter ! increment end),
    Counter ! self(),
    receive N -> rate(N, Start) end.

counter(Count) ->
    receive
        increment -> counter(Count + 1);
        From -> From ! Count
    end.

next(Seed) -> (Seed * 1309 + 13849) band 65535.

%% Savina: big
big(N) ->
    Main = self(),
    Start = now_s(),
    Actors = [spawn(fun() -> receive All -> big_ping(Seed, N div 120, Main, All) end end)
              || Seed <- lists:seq(1, 120)],
    All = list_to_tuple(Actors),
    [Actor ! All || Actor <- Actors],
    wait(120),
    [Actor ! exit || Actor <- Actors],
    rate(N, Start).

big_ping(Seed, Left, Sink, All) ->
    Seed1 = next(Seed),
    element(Seed1 rem 120 + 1, All) ! self(),
    big_actor(Seed1, Left, Sink, All).

big_actor(Seed, Left, Sink, All) ->
    receive
        exit -> ok;
        pong when Left > 1 -> big_ping(Seed, Left - 1, Sink, All);
        pong -> Sink ! done, big_actor(Seed, Left, Sink, All);
        From -> From ! pong, big_actor(Seed, Left, Sink, All)
    end.

%% Savina: chameneos
chameneos(N) ->
    Mall = self(),
    Start = now_s(),
    times(100, fun(I) -> spawn(fun() -> creature(Mall, I rem 3, 0) end) end),
    Sum = mall(N, none, 100, 0),
    Sum = 2 * N,
    rate(N, Start).

mall(_, _, 0, Sum) -> Sum;
mall(Left, Waiting, Creatures, Sum) ->
    receive
        {count, Met} -> mall(Left, Waiting, Creatures - 1, Sum + Met);
        {meet, From, _} when Left =:= 0 -> From ! exit, mall(Left, Waiting, Creatures, Sum);
        {meet, From, _} when Waiting =:= none -> mall(Left, From, Creatures, Sum);
        Meet -> Waiting ! Meet, mall(Left - 1, none, Creatures, Sum)
    end.

creature(Mall, Colour, Met) ->
    Mall ! {meet, self(), Colour},
    receive
        exit -> Mall ! {count, Met};
        {change, New} -> creature(Mall, New, Met + 1);
        {meet, From, Other} ->
            New = complement(Colour, Other),
            From ! {change, New},
            creature(Mall, New, Met + 1)
    end.

complement(Colour, Colour) -> Colour;
complement(One, Other) -> 3 - One - Other.

%% Savina: concurrent dictionary
concdict(N) ->
    Main = self(),
    Start = now_s(),
    Dict = spawn(fun() -> dictionary(#{}) end),
    times(20, fun(Seed) -> spawn(fun() -> worker(Seed, N div 20, Dict, Main) end) end),
    wait(20),
    rate(N, Start).

dictionary(Data) ->
    receive
        {From, Key, none} ->
            From ! maps:get(Key, Data, 0),
            dictionary(Data);
        {From, Key, Value} ->
            From ! Value,
            dictionary(Data#{Key => Value})
    end.

worker(_, 0, _, Main) -> Main ! done;
worker(Seed, Left, Dict, Main) ->
    Next = next(Seed),
    Dict ! {self(), Next, case Next rem 10 of 0 -> Left; _ -> none end},
    receive _ -> worker(Next, Left - 1, Dict, Main) end.
