-- SPDX-License-Identifier: MIT
-- The examples, each as the host runs it and as stock Lua with the module runs it, with what they print checked.
local program = require "spec.program"

local EXAMPLES <const> = "scripts/examples/"

local forms <const> = {
    host = {},
    ["stock Lua"] = {
        program = "lua5.4",
        env = { LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = program.module_path },
    },
}

-- The lines an example prints; it must end well and say nothing on stderr.
local function run(form, name, args, stdin)
    local options <const> = setmetatable({ stdin = stdin }, { __index = form })
    local code <const>, out <const>, err <const> =
        program.run({ EXAMPLES .. name .. ".lua", table.unpack(args or {}) }, options)
    assert.equal("", err)
    assert.equal(0, code)
    local lines <const> = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return lines
end

local function check_coros(form, count, longest)
    local lines <const> = run(form, "tut_coros", { count, longest })
    assert.equal(2 * count, #lines)
    local wanted <const>, first, last = {}, math.huge, 0
    for _, line in ipairs(lines) do
        local time, n, seconds = line:match "^(%d+%.%d+): coroutine (%d+) sleeping for (%d+%.%d+) seconds$"
        if time then
            wanted[n] = tonumber(time) + tonumber(seconds)
            first = math.min(first, tonumber(time))
        else
            time, n = line:match "^(%d+%.%d+): coroutine (%d+) terminating$"
            assert.is_true(tonumber(time) >= wanted[n] - 0.001, line)
            last = math.max(last, tonumber(time))
            wanted[n] = nil
        end
    end
    assert.is_nil(next(wanted))
    return last - first
end

for form_name, form in pairs(forms) do
    describe("examples with " .. form_name, function()
        it("tut_coros", function()
            assert.is_true(check_coros(form, "20", "0.2") < 2)
        end)

        it("tut_client_server", function()
            local lines <const> = run(form, "tut_client_server", { "10", "0.1" })
            local seen <const> = {}
            assert.equal(30, #lines)
            for i, line in ipairs(lines) do
                local id <const>, n <const>, x <const> = line:match "^processing (%d+): (%d+) / (%d)$"
                assert.equal(i, tonumber(id))
                assert.equal(seen[n] or 0, tonumber(x))
                seen[n] = tonumber(x) + 1
            end
        end)

        it("tut_channel", function()
            local sum, product = 0, 1
            local lines <const> = run(form, "tut_channel")
            assert.equal(6, #lines)
            for _, line in ipairs(lines) do
                local number <const> = tonumber(line:match "^sent (%d+%.%d+)$")
                if number then sum, product = sum + number, product * number end
            end
            local results <const> = lines[5] .. "\n" .. lines[6]
            assert.is_true(math.abs(results:match "sum: (%S+)" - sum) < 0.001)
            assert.is_true(math.abs(results:match "prod: (%S+)" - product) < 0.001)
        end)

        it("hotswap", function()
            local lines <const> = run(form, "hotswap", { "0.003" }, "server\n" .. ("\n"):rep(20) .. "client\nserver\n"
                .. ("\n"):rep(200) .. "nonsense\n")
            local text <const> = table.concat(lines, "\n")
            assert.matches("new function: server_proc2, 1", text)
            assert.matches("replacing with function: server_proc2, 1", text)
            assert.matches("%* coro server_proc2#%d+ received: ", text)
        end)

        it("tut_group", function()
            assert.same({
                "all: one after 0.01 s, three after 0.03 s, two after 0.02 s", "an error: \tfalse\tbroken: no answer",
                "a time limit: \tnil\twith_timeout: timed out\ttimeout", "the first: racer after 0.01 s",
            }, run(form, "tut_group"))
        end)

        it("tut_supervisor", function()
            local lines <const> = run(form, "tut_supervisor")
            for i = 1, 4 do
                assert.equal("log: crawler runs, number " .. i, lines[2 * i - 1])
                assert.equal(("crawler ended: page %d is broken"):format(i), lines[2 * i])
            end
            assert.matches("^false\tsupervisor site: more than 3 restarts", lines[9])
        end)

        it("tut_isolates", function()
            assert.same({ "669 primes below 5000, counted by 3 isolates", "97 is prime: true" },
                run(form, "tut_isolates", { "3", "5000" }))
        end)
    end)
end

describe("examples", function()
    it("tut_coros runs 100,000 coros", function()
        check_coros({}, "100000", "0.5")
    end)
end)
