-- SPDX-License-Identifier: MIT
-- Files between processes. The other side is a program of its own.
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local peer = require "spec.peer"
local program = require "spec.program"
local python = require "spec.net.python"
local fails, run = helper.fails, helper.run

local file <const> = asyncoro.file
local MIB <const> = 2 ^ 20 // 1

-- A receiver: it ends when it is killed.
local WAITS <const> = "asyncoro.sleep(100)"

describe("files between processes:", function()
    local folder, other

    -- A file of the spec's own, of this many bytes.
    local function make(name, size, seed)
        return program.write(folder .. "/" .. name, (seed or "asyncoro "):rep(size // 9 + 1):sub(1, size))
    end

    local function there(name) return folder .. "/dest/" .. name end

    local function same(name, other_name)
        return os.execute(("cmp -s %s %s"):format(folder .. "/" .. name, there(other_name or name))) == true
    end

    local function start(more)
        other = peer.start(WAITS, ("dest_path = %q, %s"):format(folder .. "/dest", more or ""))
        return other.location
    end

    -- Runs fn with the location of a receiver.
    local function with_receiver(fn, more)
        local where <const> = start(more)
        run(function()
            assert(asyncoro.network(peer.options { dest_path = "" }))
            fn(where)
        end)
    end

    before_each(function() folder, other = program.folder(), nil end)
    after_each(function()
        if other then
            peer.kill(other)
            other:finish()
        end
        program.remove(folder)
    end)

    it("a file arrives with its permissions and its time, once", function()
        with_receiver(function(where)
            local path = make("data", 100000)
            assert(file.chmod(path, tonumber("640", 8)))
            assert(os.execute("touch -d '2020-02-02 02:02:02.5' " .. path))
            local arrived, sent = assert(asyncoro.send_file(where, path, { dir = "in/here" }))
            assert.same({ there "in/here/data", 100000 }, { arrived, sent })
            assert.is_true(same("data", "in/here/data"))
            local a, b = assert(file.stat(path)), assert(file.stat(arrived))
            assert.same({ a.mode, a.modified, a.size }, { b.mode, b.modified, b.size })
            assert.same({ there "in/here/data", 0 }, { asyncoro.send_file(where, path, { dir = "in/here" }) })
            assert.same({ there "in/here/data", 0 },
                { asyncoro.send_file(where, path, { dir = "in/here", checksum = true }) })
            assert.same({ there "data", 100000 }, { asyncoro.send_file(where, path, { checksum = true }) })
        end)
    end)

    it("another file of that name is replaced only when that is wished", function()
        with_receiver(function(where)
            local path = make("data", 1000)
            assert(asyncoro.send_file(where, path))
            make("data", 900, "different")
            fails("exists", "another file 'data' is there", asyncoro.send_file(where, path))
            assert.is_false(same "data")
            assert.equal(there "data", asyncoro.send_file(where, path, { overwrite = true }))
            assert.is_true(same "data")
        end)
    end)

    it("a change that only a sum shows is seen with checksum", function()
        with_receiver(function(where)
            local path = make("data", 900, "asyncoro ")
            assert(os.execute("touch -d '2020-02-02' " .. path))
            assert(asyncoro.send_file(where, path))
            make("data", 900, "different")
            assert(os.execute("touch -d '2020-02-02' " .. path))
            assert.equal(0, select(2, asyncoro.send_file(where, path)))
            fails("exists", "another file", asyncoro.send_file(where, path, { checksum = true }))
            assert.equal(900, select(2, asyncoro.send_file(where, path, { checksum = true, overwrite = true })))
            assert.is_true(same "data")
        end)
    end)

    it("del_file removes a file and the folders that are empty then", function()
        with_receiver(function(where)
            local path = make("data", 10)
            local arrived = assert(asyncoro.send_file(where, path, { dir = "a/b" }))
            assert(asyncoro.send_file(where, path, { dir = "a" }))
            assert.is_true(asyncoro.del_file(where, arrived))
            assert.is_false(file.exists(there "a/b"))
            assert.equal("file", file.exists(there "a/data"))
            assert.is_true(asyncoro.del_file(where, "data", { dir = "a" }))
            assert.is_false(file.exists(there "a"))
            assert.equal("directory", file.exists(folder .. "/dest"))
            fails("notfound", "there is no file 'data'", asyncoro.del_file(where, "data"))
        end)
    end)

    it("nothing leaves the folder", function()
        with_receiver(function(where)
            local path = make("data", 10)
            assert(file.mkdir(folder .. "/dest2"))
            assert(file.mkdir(folder .. "/outside"))
            program.write(folder .. "/outside/data", "mine")
            assert(file.symlink(folder .. "/outside", there "link"))
            local function refused(code, text, dir)
                fails(code, text, asyncoro.send_file(where, path, { dir = dir, overwrite = true }))
                fails(code, text, asyncoro.del_file(where, "data", { dir = dir }))
            end
            refused("denied", "'..'", "..")
            refused("denied", "'..'", "../dest2")
            refused("denied", "'..'", "a/../../outside")
            refused("denied", "absolute", folder .. "/outside")
            refused("denied", "symbolic link", "link")
            refused("denied", "on their way", ".asyncoro")
            fails("denied", "'..'", asyncoro.del_file(where, there "../outside/data"))
            fails("denied", "absolute", asyncoro.del_file(where, folder .. "/dest2/data"))
            assert.same({ "data" }, file.list(folder .. "/outside"))
            assert.equal("mine", file.read(folder .. "/outside/data"))
            assert.same({}, file.list(folder .. "/dest2"))
        end)
    end)

    it("what is no plain file is neither sent, replaced nor removed", function()
        with_receiver(function(where)
            local path = make("data", 10)
            assert(os.execute(("cd %s && mkfifo pipe dest/data && mkdir dest/folder"):format(folder)))
            assert(file.symlink("/etc/passwd", there "link"))
            make("link", 10)
            fails("invalid", "not a plain file", asyncoro.send_file(where, folder .. "/pipe"))
            fails("invalid", "not a plain file", asyncoro.send_file(where, folder))
            fails("invalid", "not a plain file", asyncoro.send_file(where, "/dev/null"))
            fails("notfound", "No such file", asyncoro.send_file(where, folder .. "/none"))
            fails("invalid", "a named pipe", asyncoro.send_file(where, path, { overwrite = true }))
            fails("invalid", "a named pipe", asyncoro.del_file(where, "data"))
            fails("invalid", "a folder", asyncoro.del_file(where, "folder"))
            fails("denied", "a symbolic link", asyncoro.send_file(where, folder .. "/link", { overwrite = true }))
            fails("denied", "a symbolic link", asyncoro.del_file(where, "link"))
        end)
    end)

    it("a file over max_file_size is refused before it is sent", function()
        with_receiver(function(where)
            assert(asyncoro.send_file(where, make("small", 5000)))
            fails("toolarge", "5001 bytes are more than the 5000", asyncoro.send_file(where, make("large", 5001)))
            assert.is_false(file.exists(there "large"))
        end, "max_file_size = 5000")
    end)

    -- Until the other side has seen the end of a transfer, too, and has let go of what came.
    local function await_part()
        local limit <const> = asyncoro.now() + 10
        repeat
            assert(asyncoro.now() < limit, "nothing was kept")
            local part <const> = program.capture("ls " .. there ".asyncoro")
        until part ~= "" and os.execute(("flock -n %s/%s true"):format(there ".asyncoro", part))
    end

    -- Passes bytes on to a port, and cuts the connection when so many have gone there.
    local function relay_to(where, bytes)
        local listener = assert(asyncoro.listen("127.0.0.1", 0))
        local _, port = listener:address()
        asyncoro.spawn({ daemon = true }, function()
            local from <close> = assert(listener:accept())
            local to <close> = assert(asyncoro.connect("127.0.0.1", tonumber(where:match(":(%d+)$"))))
            asyncoro.spawn({ daemon = true }, function()
                while true do
                    local data = to:read(65536)
                    if not data or not from:write(data) then return end
                end
            end)
            while bytes > 0 do
                local data = from:read(65536)
                if not data or not to:write(data) then break end
                bytes = bytes - #data
            end
            listener:close()
        end)
        return "127.0.0.1:" .. port
    end

    -- Passes bytes on to a port in small pieces, with a rest after each.
    local function slow_relay_to(where)
        local listener = assert(asyncoro.listen("127.0.0.1", 0))
        local _, port = listener:address()
        asyncoro.spawn({ daemon = true }, function()
            local from <close> = assert(listener:accept())
            local to <close> = assert(asyncoro.connect("127.0.0.1", tonumber(where:match(":(%d+)$"))))
            asyncoro.spawn({ daemon = true }, function()
                repeat local data = to:read(65536) until not data or not from:write(data)
            end)
            repeat
                local data = from:read(65536)
                asyncoro.sleep(0.01)
            until not data or not to:write(data)
            listener:close()
        end)
        return "127.0.0.1:" .. port
    end

    it("a slow way is no standstill", function()
        with_receiver(function(where)
            local path = make("data", 8 * MIB)
            local began = asyncoro.now()
            assert(asyncoro.send_file(slow_relay_to(where), path, { timeout = 0.15 }))
            assert.truthy(asyncoro.now() - began > 0.5)
            assert.is_true(same "data")
        end)
    end)

    it("a transfer that was cut off is resumed, and what came is compared", function()
        for _, checksum in ipairs { false, true } do
            local size = 8 * MIB
            with_receiver(function(where)
                local path = make("data", size)
                fails("reset", "connection was lost",
                    asyncoro.send_file(relay_to(where, size // 2), path, { checksum = checksum }))
                assert.is_false(file.exists(there "data"))
                await_part()
                local _, sent = assert(asyncoro.send_file(where, path, { checksum = checksum }))
                assert.truthy(sent < size and sent > size // 4, sent)
                assert.is_true(same "data")
                assert.same({}, file.list(there ".asyncoro"))
            end)
            peer.kill(other)
            other:finish()
            other = nil
            os.execute("rm -rf " .. folder .. "/dest")
        end
    end)

    it("a script that computes holds up no file, and files hold up no messages", function()
        other = peer.start(peer.ECHO, ("dest_path = %q"):format(folder .. "/dest"))
        run(function()
            assert(asyncoro.network(peer.options { dest_path = "" }))
            local echo = assert(asyncoro.locate("echo", other.location, 10))
            local path = make("data", 32 * MIB)
            local transfer = asyncoro.spawn(asyncoro.send_file, other.location, path)
            assert.equal("here", echo:call("here", 10))
            local limit = asyncoro.now() + 15
            repeat local arrived = io.open(there "data") until arrived or asyncoro.now() > limit
            assert.same({ true, there "data", 32 * MIB }, { transfer:finish() })
            assert.is_true(same "data")
        end)
    end)

    it("a transfer with a side that says nothing ends after timeout, or with its coro", function()
        run(function()
            assert(asyncoro.network(peer.options()))
            local listener <close> = assert(asyncoro.listen("127.0.0.1", 0))
            local _, port = listener:address()
            local where = "127.0.0.1:" .. port
            fails("timeout", "nothing has moved for 0.05 s",
                asyncoro.send_file(where, make("data", 10), { timeout = 0.05 }))
            fails("timeout", "", asyncoro.with_timeout(0.05, asyncoro.del_file, where, "data"))
            local coro = asyncoro.spawn(asyncoro.send_file, where, make("data", 10))
            asyncoro.yield()
            coro:terminate()
            assert.same({ false, "terminated" }, { coro:finish() })
        end)
    end)

    it("says in words what keeps a connection from being made", function()
        local where = start()
        run(function()
            assert(asyncoro.network(peer.options { secret = "another secret, which is not the same" }))
            local path = make("data", 10)
            fails("auth", "secrets differ", asyncoro.send_file(where, path))
            fails("refused", "connect to 127.0.0.1:1", asyncoro.send_file("127.0.0.1:1", path))
            fails("notfound", "no such server", asyncoro.send_file(where .. "/7", path))
        end)
    end)

    it("a process sends to itself, and takes none when its dest_path is empty", function()
        run(function()
            local where = assert(asyncoro.network(peer.options { dest_path = folder .. "/dest" }))
            assert.equal(folder .. "/dest", asyncoro.dest_path())
            assert.equal(there "data", asyncoro.send_file(where, make("data", 10)))
        end)
        run(function()
            local where = assert(asyncoro.network(peer.options { dest_path = "" }))
            fails("notfound", "takes no files", asyncoro.dest_path())
            fails("denied", "no files are taken", asyncoro.send_file(where, make("data", 10)))
        end)
    end)

    it("the usual folder is the user's own, and made when it is needed", function()
        local code, out, err = program.run({ "-e", ([[
            local asyncoro = require "asyncoro"
            local where = assert(asyncoro.network { discovery = false })
            print(asyncoro.file.exists(%q))
            print(asyncoro.dest_path())
            print(asyncoro.file.stat(asyncoro.dest_path()).mode & 511)
        ]]):format(folder .. "/asyncoro/files") },
            { env = { XDG_STATE_HOME = folder, XDG_CONFIG_HOME = folder .. "/config" } })
        assert.same({ "", 0 }, { err, code })
        assert.equal(("false\n%s/asyncoro/files\n%d\n"):format(folder, tonumber("700", 8)), out)
    end)

    it("raises on what is no location, no path, or no option", function()
        run(function()
            local function refuses(text, fn, ...)
                local ok, message = pcall(fn, ...)
                assert.is_false(ok)
                assert.truthy(message:find(text, 1, true), message)
            end
            refuses("it has no port", asyncoro.send_file, "nowhere", "x")
            refuses("a location expected, got nil", asyncoro.del_file, nil, "x")
            refuses("a path expected, got nil", asyncoro.send_file, "127.0.0.1:1")
            refuses("unknown option 'overwirte'", asyncoro.send_file, "127.0.0.1:1", "x", { overwirte = true })
            refuses("option 'timeout'", asyncoro.del_file, "127.0.0.1:1", "x", { timeout = -1 })
        end)
    end)

    describe("in Python, by the document,", function()
        local missing <const> = python.missing()
        if missing then
            it("# SKIP " .. missing, function() end)
            return
        end

        local function sender(...)
            local code, out, err = python.run("spec/net/files.py", peer.SECRET, ...)
            assert.same({ 0, "" }, { code, err })
            return out
        end

        it("a sender is understood", function()
            local where = start()
            local path = make("data", 300000)
            local arrived = "ok sent " .. there "in/data" .. "\n"
            assert.equal("from 0\n" .. arrived, sender("put", where, path, "in/data"))
            assert.is_true(same("data", "in/data"))
            assert.equal("ok same " .. there "in/data" .. "\n", sender("put", where, path, "in/data"))
            assert.equal("from 300000\nok same " .. there "in/data" .. "\n",
                sender("put", where, path, "in/data", "checksum"))
            make("data", 200000, "different")
            assert.truthy(sender("put", where, path, "in/data"):find("^exists sent another file"))
            assert.equal("from 0\n" .. arrived, sender("put", where, path, "in/data", "overwrite", "checksum"))
            assert.is_true(same("data", "in/data"))
            assert.equal("", sender("put", where, path, "part", "resume", "stop=150000"))
            await_part()
            assert.equal("from 150000\nok sent " .. there "part" .. "\n",
                sender("put", where, path, "part", "resume", "checksum"))
            assert.is_true(same("data", "part"))
            assert.truthy(sender("put", where, path, "../data"):find("^denied sent a path with '..'"))
            assert.equal("ok sent in/data\n", sender("remove", where, "in/data"))
            assert.truthy(sender("remove", where, "in/data"):find("^notfound sent there is no"))
        end)

        it("a receiver is, too", function()
            local path = make("data", 300000, "xxxxxxxxx")
            assert(os.execute("touch -d '2020-02-02 02:02:02.25 UTC' " .. path .. " && chmod 640 " .. path))
            local sum = program.capture("sha256sum <" .. path):match("%x+")
            run(function()
                assert(asyncoro.network(peer.options { dest_path = "" }))
                local function receiver(opts, ...)
                    local taker <close> = assert(asyncoro.process.spawn(
                        { "/usr/bin/python3", "-B", "spec/net/files.py", peer.SECRET, "take", ... }, { stdout = "pipe" }))
                    local where = "127.0.0.1:" .. taker.stdout:read_line()
                    local results = table.pack(asyncoro.send_file(where, path, opts))
                    local out = taker.stdout:read_all()
                    assert.truthy(out:find("data 300000 1580608922 250000000 416 ", 1, true), out)
                    return out:match("\n(.*)$"), table.unpack(results, 1, results.n)
                end
                assert.same({ "from 0 " .. sum .. " True\n", "/somewhere/else", 300000 }, { receiver {} })
                assert.same({ "from 0 " .. sum .. " True\n", "/somewhere/else", 300000 },
                    { receiver { checksum = true, dir = "a", overwrite = true, resume = false } })
                assert.same({ "from 100000 " .. sum .. " True\n", "/somewhere/else", 200000 },
                    { receiver({ checksum = true }, "have=100000") })
                fails("nospace", "in words?[2J", select(2, receiver({}, "refuse=nospace")))
            end)
        end)
    end)
end)
