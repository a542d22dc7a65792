-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"
local helper = require "spec.helper"
local run = helper.run
local file = asyncoro.file

-- Run fn(folder) as a program, with a folder of its own that is removed afterwards.
local function within(fn)
    run(function()
        local folder <const> = assert(file.temporary_dir())
        local _ <close> = setmetatable({}, { __close = function()
            for _, name in ipairs(assert(file.list(folder))) do assert(file.remove(folder .. "/" .. name)) end
            assert(file.remove(folder))
        end })
        fn(folder)
    end)
end

local LINES <const> = os.getenv "ASYNCORO_TEST_GC" and 10000 or 100000

-- A disk of one's own that is soon full can be made by root, where that may mount.
local it_disk <const> = helper.needing(os.execute [[
    d=$(mktemp -d) && mount -t tmpfs -o size=1m none "$d" 2>/dev/null && umount "$d"; r=$?; rmdir "$d"; exit $r]],
    "only root may mount the disk that gets full", it)

describe("files", function()
    it("are read and written whole", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            assert.equal(11, file.write(name, "hello\nworld"))
            assert.equal("hello\nworld", file.read(name))
            assert.equal(1, file.write(name, "!", { append = true }))
            assert.equal("hello\nworld!", file.read(name))
            assert.equal("toolarge", select(3, file.read(name, 5)))
            assert.equal(3, file.write(name, "new", { atomic = true }))
            assert.equal("new", file.read(name))
            assert.same({ "a" }, file.list(folder))
            assert.equal(0, file.write(name, ""))
            assert.equal("", file.read(name))
        end)
    end)

    it("are opened in the modes of io.open", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            assert.equal("notfound", select(3, file.open(name)))
            assert.equal("notfound", select(3, file.open(name, "r+")))
            local stream = file.open(name, "x")
            stream:write "abc"
            assert.is_true(stream:close())
            assert.equal("exists", select(3, file.open(name, "x")))
            stream = file.open(name, "a+")
            assert.equal("abc", stream:read_all())
            stream:write "def"
            stream:seek "set"
            assert.equal("abcdef", stream:read_all())
            stream:close()
            stream = file.open(name, "r+b")
            stream:write "AB"
            assert.equal("cdef", stream:read(100))
            stream:close()
            assert.equal("ABcdef", file.read(name))
            stream = file.open(name)
            assert.equal("invalid", select(3, stream:write "x"))
            stream:close()
            stream = file.open(name, "w")
            assert.equal("invalid", select(3, stream:read()))
            stream:close()
            file.write(name, "ABcdef")
            file.open(name, "w"):close()
            assert.equal("", file.read(name))
            for _, mode in ipairs { "", "z", "r++", "rw", "+" } do
                assert.error_matches(function() file.open(name, mode) end, "is no mode")
            end
        end)
    end)

    it("mix reads, writes and seeks", function()
        within(function(folder)
            local stream <close> = file.open(folder .. "/a", "w+")
            stream:write("0123456789\n", "second line\n")
            assert.equal(0, stream:seek "set")
            assert.equal("0123456789", stream:read_line())
            assert.equal(11, stream:seek())
            stream:write "SECOND"
            assert.equal(17, stream:seek())
            assert.equal(" line", stream:read_line())
            assert.is_nil((stream:read(1)))
            assert.equal(5, stream:seek("set", 5))
            assert.equal("5", stream:read(1))
            assert.equal(23, stream:seek "end")
            assert.equal(20, stream:seek("end", -3))
            assert.equal("ne\n", stream:read_all())
            assert.same({ nil, "invalid" }, { stream:seek("set", -1), select(3, stream:seek("set", -1)) })
            assert.equal("unsupported", select(3, asyncoro.socket.pair():seek()))
        end)
    end)

    it("may grow: seek looks again", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            file.write(name, "one\n")
            local stream <close> = file.open(name)
            assert.equal("one", stream:read_line())
            assert.equal("eof", select(3, stream:read_line()))
            file.write(name, "two\n", { append = true })
            assert.equal("eof", select(3, stream:read_line()))
            assert.equal(4, stream:seek())
            assert.equal("two", stream:read_line())
        end)
    end)

    it("give lines", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            file.write(name, "one\ntwo\r\n\nlast")
            local lines <const> = {}
            for line in file.lines(name) do lines[#lines + 1] = line end
            assert.same({ "one", "two", "", "last" }, lines)
            local whole = ""
            for line in file.lines(name, "L") do whole = whole .. line end
            assert.equal("one\ntwo\r\n\nlast", whole)
            assert.error_matches(function() file.lines(folder .. "/none") end, "No such file")
        end)
    end)

    it("hold much, written in little pieces", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            local stream = file.open(name, "w")
            for i = 1, LINES do stream:write("line ", i, "\n") end
            assert.is_true(stream:flush())
            stream:close()
            local n = 0
            for line in file.lines(name) do
                n = n + 1
                if line ~= "line " .. n then error("line " .. n .. " is " .. line) end
            end
            assert.equal(LINES, n)
            local sum <const> = asyncoro.process.run({ "wc", "-l", name })
            assert.equal(LINES, tonumber(sum:match "%d+"))
        end)
    end)

    it("are written to the end when nobody closes them", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            local function write()
                local stream <const> = file.open(name, "w")
                stream:write(("x"):rep(300000))
                stream:write "end"
            end
            write()
            collectgarbage()
            collectgarbage()
            assert.equal(300003, file.stat(name).size)
        end)
    end)

    it("tell that the disk is full", function()
        within(function()
            assert.same({ nil, "write /dev/full: No space left on device", "nospace" },
                { file.write("/dev/full", "x") })
            local stream <const> = file.open("/dev/full", "w")
            local done, _, code = stream:write(("x"):rep(1 << 20))
            assert.same({ nil, "nospace" }, { done, code })
            stream:close()
        end)
    end)

    it_disk("keep what a full disk could not take", function()
        within(function(folder)
            local disk <const> = folder .. "/disk"
            file.mkdir(disk)
            assert(select(3, asyncoro.process.run { "mount", "-t", "tmpfs", "-o", "size=1m", "none", disk }))
            local _ <close> = setmetatable({}, { __close = function()
                asyncoro.process.run { "umount", disk }
            end })
            file.write(disk .. "/ballast", ("b"):rep(700 * 1024))
            local stream <const> = file.open(disk .. "/a", "w")
            local text <const> = ("0123456789abcdef"):rep(32768) -- 512 KiB
            local sent, message, code, part = stream:write(text)
            if sent then sent, message, code = stream:flush() else assert(part < #text) end
            assert.same({ nil, "nospace" }, { sent, code })
            assert.matches("No space left", message)
            file.remove(disk .. "/ballast")
            assert.is_true(stream:flush())
            stream:write(text:sub((part or #text) + 1))
            assert.is_true(stream:close())
            assert.is_true(file.read(disk .. "/a") == text)
        end)
    end)

    it("reach the disk when that is wanted", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            assert.equal(3, file.write(name, "abc", { sync = true }))
            assert.equal(4, file.write(name, "defg", { sync = true, atomic = true }))
            assert.equal("defg", file.read(name))
            assert.same({ "a" }, file.list(folder))
            local stream <const> = file.open(name, "r+")
            stream:seek "end"
            local text <const> = ("0123456789abcdef"):rep(50000)
            assert.equal(#text, stream:write(text))
            assert.is_true(stream:sync())
            assert.equal(#text + 4, file.stat(name).size)
            assert.is_true(stream:sync())
            stream:seek "set"
            local syncer <const> = asyncoro.spawn(function() return stream:sync() end)
            local reader <const> = asyncoro.spawn(function() return stream:read(4) end) -- at the same time
            assert.is_true(syncer:finish())
            assert.same({ true, "defg" }, { reader:finish() })
            local cancelled <const> = asyncoro.spawn(function() return stream:sync() end)
            asyncoro.yield()
            cancelled:terminate()
            cancelled:finish()
            assert.is_true(stream:sync())
            assert.is_true(stream:close())
            helper.fails("closed", "sync", stream:sync())
            local one <close>, other <const> = asyncoro.socket.pair()
            helper.fails("unsupported", "sync", one:sync())
            other:close()
        end)
    end)

    it("get what was written to them before os.exit", function()
        within(function(folder)
            local program <const> = require "spec.program"
            local text <const> = ("x"):rep(300000)
            for i, ending in ipairs { "os.exit(3)", "asyncoro.spawn(function() os.exit(3) end) asyncoro.sleep(5)" } do
                local name <const> = folder .. "/out" .. i
                local script <const> = program.write(folder .. "/script.lua", ([[
                    local asyncoro = require "asyncoro"
                    local stream = assert(asyncoro.file.open("%s", "w"))
                    stream:write(("x"):rep(300000))
                    local empty = assert(asyncoro.file.open("%s.none", "w"))
                    %s]]):format(name, name, ending))
                assert.equal(3, (program.run { script }))
                assert.is_true(file.read(name) == text)
            end
        end)
    end)

    it("over the limit of their size say so, and end nothing", function()
        within(function(folder)
            local program <const> = require "spec.program"
            local script <const> = program.write(folder .. "/script.lua", ([[
                local asyncoro = require "asyncoro"
                local stream = assert(asyncoro.file.open("%s/a", "w"))
                stream:write(("x"):rep(20000))
                print(select(3, stream:flush()), (select(3, stream:close())))
                local other = assert(asyncoro.file.open("%s/b", "w"))
                other:write(("x"):rep(20000))
                other = nil
                collectgarbage()
                collectgarbage()
                print "goes on"]]):format(folder, folder))
            local command <const> = ("ulimit -f 4; exec %s %s"):format(program.path, script)
            assert.same({ 0, "toolarge\ttoolarge\ngoes on\n", "" },
                { program.run({ "-c", command }, { program = "sh" }) })
        end)
    end)

    it("gather no end of bytes that a full disk does not take", function()
        run(function()
            local stream <const> = file.open("/dev/full", "w")
            local block <const>, taken = ("x"):rep(262144), 0
            for _ = 1, 50 do
                if stream:write(block) then taken = taken + 1 end
            end
            assert.is_true(taken <= 3, taken .. " blocks were taken")
            stream:close()
        end)
    end)

    it("are one reader's and one writer's", function()
        within(function(folder)
            local stream <close> = file.open(folder .. "/a", "w+")
            stream:write "x"
            local first <const> = asyncoro.spawn(function() return stream:flush() end)
            local second <const> = asyncoro.spawn(function() return select(3, stream:flush()) end)
            assert.same({ true, true }, { first:finish() })
            local _, word = second:finish()
            assert.is_true(word == nil or word == "busy")
        end)
    end)

    it("let go of a coro that is terminated", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            file.write(name, ("x"):rep(1 << 20))
            for _ = 1, 20 do
                local coro <const> = asyncoro.spawn(function()
                    local stream <close> = file.open(name)
                    while stream:read() do asyncoro.sleep(0) end
                end)
                asyncoro.yield()
                coro:terminate()
                coro:finish()
            end
        end)
    end)

    it("are many at once", function()
        local before <const> = helper.open_fds()
        within(function(folder)
            asyncoro.group(function(group)
                for i = 1, 300 do
                    group:spawn(function()
                        local name <const> = ("%s/%d"):format(folder, i)
                        assert(file.write(name, tostring(i)))
                        assert.equal(tostring(i), file.read(name))
                    end)
                end
            end)
            assert.equal(300, #file.list(folder))
        end)
        collectgarbage()
        collectgarbage()
        assert.is_true(helper.open_fds() <= before)
    end)
end)

describe("paths", function()
    it("are looked at, renamed, removed, linked", function()
        within(function(folder)
            local a <const>, b <const> = folder .. "/a", folder .. "/b"
            file.write(a, "1234")
            local about <const> = file.stat(a)
            assert.same({ "file", 4, 1 }, { about.type, about.size, about.links })
            assert.is_true(math.abs(about.modified - asyncoro.time()) < 100)
            assert.is_true(file.chmod(a, 384))
            assert.equal(384, file.stat(a).mode)
            assert.is_true(file.symlink("a", b))
            assert.same({ "file", "link" }, { file.stat(b).type, file.lstat(b).type })
            assert.equal(file.realpath(a), file.realpath(b))
            assert.is_true(file.rename(b, folder .. "/c"))
            assert.same({ "a", "c" }, file.list(folder))
            assert.same({ "file", false, "directory", "device" },
                { file.exists(a), file.exists(b), file.exists(folder), file.exists "/dev/null" })
            assert.is_true(file.remove(folder .. "/c"))
            assert.is_true(file.mkdir(b))
            assert.equal("exists", select(3, file.mkdir(b)))
        end)
    end)

    it("are copied, also of files that seem empty, never onto themselves", function()
        within(function(folder)
            local a <const>, b <const> = folder .. "/a", folder .. "/b"
            file.write(a, ("x"):rep(3 << 20))
            assert.equal(3 << 20, file.copy(a, b))
            assert.is_true(file.read(a) == file.read(b))
            assert.equal("exists", select(3, file.copy(a, a)))
            assert.equal(3 << 20, file.stat(a).size)
            assert.is_true(file.copy("/proc/self/status", b) > 0)
            assert.matches("^Name:", file.read(b))
            assert.equal("invalid", select(3, file.copy(folder, b)))
        end)
    end)

    it("that are wrong are said by name", function()
        within(function(folder)
            local none <const> = folder .. "/none"
            for name, fn in pairs { stat = file.stat, remove = file.remove, list = file.list, open = file.open } do
                assert.same({ nil, ("%s %s: No such file or directory"):format(name, none), "notfound" }, { fn(none) })
            end
            assert.equal("invalid", select(3, file.read(folder)))
            assert.equal("invalid", select(3, file.open(folder, "w")))
            assert.equal("invalid", select(3, file.list "/dev/null"))
            assert.equal("toolarge", select(3, file.open(folder .. "/" .. ("x"):rep(300), "w")))
            assert.error_matches(function() file.open "a\0b" end, "^open: .*zero byte")
            assert.error_matches(function() file.stat() end, "^stat: a path expected, got nil")
            for _, name in ipairs { "rename", "copy", "symlink" } do
                assert.error_matches(function() file[name](none) end, name .. ": a path expected, got nil")
            end
            for _, mode in ipairs { "nil", "-1", "4096", "0.5", "'x'" } do
                local chmod <const> = load("return require 'asyncoro'.file.chmod(..., " .. mode .. ")")
                assert.error_matches(function() chmod(none) end, "chmod: permissions of 0 to 0o7777 expected, got ")
            end
            assert.error_matches(function() file.write(none, {}) end, "a string expected")
            assert.error_matches(function() file.write(none, "", { atomic = true, append = true }) end, "exclude")
        end)
    end)

    it("of temporary files are nobody else's", function()
        within(function(folder)
            local stream <close>, name <const> = file.temporary(folder)
            stream:write "secret"
            stream:flush()
            assert.equal("secret", file.read(name))
            assert.equal(384, file.stat(name).mode)
            local _ <close>, other <const> = file.temporary(folder)
            assert.not_equal(name, other)
        end)
    end)
end)

describe("an engine", function()
    it("goes on while files are waited for", function()
        within(function(folder)
            local fifo <const> = folder .. "/fifo"
            asyncoro.process.run { "mkfifo", fifo }
            local reader <const> = file.open(fifo)
            local got <const> = asyncoro.spawn(function() return reader:read_line() end)
            asyncoro.sleep(0.001)
            local writer <const> = file.open(fifo, "w")
            writer:write "through\n"
            assert.same({ true, "through" }, { got:finish() })
            writer:close()
            reader:close()
        end)
    end)
end)

describe("whole files written atomically", function()
    it("keep their permissions, and links; new ones get those of others", function()
        within(function(folder)
            local a <const>, link <const>, new <const> = folder .. "/a", folder .. "/link", folder .. "/new"
            file.write(a, "old")
            file.chmod(a, 416)
            file.symlink("a", link)
            assert.equal(3, file.write(link, "new", { atomic = true }))
            assert.same({ "link", "file", 416, "new" },
                { file.lstat(link).type, file.lstat(a).type, file.stat(a).mode, file.read(a) })
            file.write(folder .. "/plain", "")
            file.write(new, "x", { atomic = true })
            assert.equal(file.stat(folder .. "/plain").mode, file.stat(new).mode)
            assert.same({ "a", "link", "new", "plain" }, file.list(folder))
        end)
    end)

    it("are plain files", function()
        within(function(folder)
            assert.same({ nil, ("write %s: a directory, which cannot be replaced"):format(folder), "invalid" },
                { file.write(folder, "x", { atomic = true }) })
            assert.equal("invalid", select(3, file.write("/dev/null", "x", { atomic = true })))
            assert.equal("device", file.exists "/dev/null")
            local none <const> = folder .. "/none/a"
            local _, message <const>, code <const> = file.write(none, "x", { atomic = true })
            assert.equal("notfound", code)
            assert.truthy(message:find("write " .. none .. ": ", 1, true))
        end)
    end)

    it("leave nothing behind when their coro is terminated", function()
        within(function(folder)
            local name <const> = folder .. "/a"
            file.write(name, "old")
            for turns = 1, 12 do
                local coro <const> = asyncoro.spawn(file.write, name, ("x"):rep(1 << 20), { atomic = true })
                for _ = 1, turns do
                    asyncoro.sleep(0)
                    if turns % 2 == 0 then asyncoro.sleep(0.0002) end
                end
                coro:terminate()
                coro:finish()
                for _ = 1, 1000 do -- one that is being made is removed when it has been
                    if #file.list(folder) == 1 then break end
                    asyncoro.sleep(0.001)
                end
                assert.same({ "a" }, file.list(folder))
                local size <const> = file.stat(name).size
                assert.is_true(size == 3 or size == 1 << 20)
            end
        end)
    end)
end)

describe("what nobody waits for any more", function()
    it("is no temporary file or folder that stays", function()
        within(function(folder)
            for _, fn in ipairs { file.temporary, file.temporary_dir } do
                for _ = 1, 10 do
                    local coro <const> = asyncoro.spawn(fn, folder)
                    asyncoro.yield()
                    coro:terminate()
                    coro:finish()
                end
            end
            for _ = 1, 1000 do
                if #file.list(folder) == 0 then break end
                asyncoro.sleep(0.001)
            end
            assert.same({}, file.list(folder))
        end)
    end)

    it("keeps nobody from a fork once it is done", function()
        within(function(folder)
            local core <const> = require "asyncoro.core"
            for _ = 1, 50 do
                file.stat(folder)
                assert(core.prefork())
                core.postfork_parent()
            end
        end)
    end)
end)

describe("copies", function()
    it("are of plain files: a pipe is no end of waiting", function()
        within(function(folder)
            local fifo <const>, a <const> = folder .. "/fifo", folder .. "/a"
            asyncoro.process.run { "mkfifo", fifo }
            file.write(a, "x")
            assert.same({ nil, ("copy %s %s: Invalid argument"):format(fifo, a), "invalid" }, { file.copy(fifo, a) })
            assert.equal("invalid", select(3, file.copy(a, fifo)))
            assert.equal("x", file.read(a))
            assert.equal("nospace", select(3, file.copy(a, "/dev/full")))
            assert.equal(1, file.copy(a, "/dev/null"))
        end)
    end)
end)

describe("a file on a full disk", function()
    local function with_disk(fn)
        within(function(folder)
            local disk <const> = folder .. "/disk"
            file.mkdir(disk)
            assert(asyncoro.process.run { "mount", "-t", "tmpfs", "-o", "size=1m", "none", disk })
            local _ <close> = setmetatable({}, { __close = function()
                asyncoro.process.run { "umount", disk }
            end })
            assert(file.write(disk .. "/ballast", ("b"):rep(800 * 1024)))
            fn(disk)
        end)
    end

    it_disk("is closed with what it could not take, in order, when there is room again", function()
        with_disk(function(disk)
            local text <const> = {}
            for i = 1, 5000 do text[i] = ("%08d"):format(i):rep(10) end
            local whole <const> = table.concat(text)
            local stream <close> = file.open(disk .. "/a", "w")
            local at = 1
            while at <= #whole do -- 400000 bytes, for which there is no room
                local n <const>, _, code <const>, part <const> = stream:write(whole:sub(at, at + 50000 - 1))
                if not n then assert.equal("nospace", code) end
                at = at + (n or part)
            end
            assert.equal("nospace", select(3, stream:flush()))
            file.remove(disk .. "/ballast")
            assert.is_true(stream:close())
            assert.is_true(file.read(disk .. "/a") == whole)
        end)
    end)

    it_disk("is closed by who cannot wait, too", function()
        with_disk(function(disk)
            local whole <const> = ("0123456789abcdef"):rep(30000)
            do
                local stream <close> = file.open(disk .. "/a", "w")
                assert(stream:write(whole:sub(1, 240000)))
                assert(stream:write(whole:sub(240001)))
                local flusher <const> = asyncoro.spawn(function() return stream:flush() end)
                asyncoro.sleep(0.01)
                flusher:terminate()
                flusher:finish()
                file.remove(disk .. "/ballast")
            end
            collectgarbage()
            collectgarbage()
            assert.is_true(file.read(disk .. "/a") == whole)
        end)
    end)

    it_disk("fails a copy, and an atomic write, which leaves the old one", function()
        with_disk(function(disk)
            local a <const> = disk .. "/a"
            file.write(a, "old")
            local big <const> = ("x"):rep(900 * 1024)
            local _, message <const>, code <const> = file.write(a, big, { atomic = true })
            assert.equal("nospace", code)
            assert.matches("No space left", message)
            assert.equal("old", file.read(a))
            assert.same({ "a", "ballast" }, file.list(disk))
            assert.equal("nospace", select(3, file.copy(disk .. "/ballast", disk .. "/b")))
        end)
    end)
end)

-- What a file open for reading and writing shall be: a string and a place in it. Each operation is done to both, and
-- gives what both say.
local Model <const> = {}
Model.__index = Model

function Model:expected(n)
    local part <const> = self.data:sub(self.place + 1, self.place + n)
    self.place = self.place + #part
    return part
end

function Model:read(n)
    local got <const> = self.stream:read(n)
    if self.place == #self.data then return nil, got end
    return self:expected(#got), got
end

function Model:read_exact(n)
    local got <const>, _, _, part <const> = self.stream:read_exact(n)
    return self:expected(n), got or part or ""
end

function Model:read_line()
    local _, last <const> = self.data:find("\n", self.place + 1, true)
    if self.place == #self.data then return nil, (self.stream:read_line()) end
    return self:expected((last or #self.data) - self.place):gsub("\r?\n$", "", 1), (self.stream:read_line())
end

function Model:write(n)
    local text <const> = string.char(97 + n % 26):rep(n) .. "\r\n"
    if self.append then self.place = #self.data end
    self.data = self.data:sub(1, self.place) .. text .. self.data:sub(self.place + #text + 1)
    self.place = self.place + #text
    return #text, (self.stream:write(text:sub(1, n // 2), text:sub(n // 2 + 1)))
end

function Model:seek(n)
    self.place = n % (#self.data + 1)
    if n % 2 == 0 then return self.place, (self.stream:seek("set", self.place)) end
    return self.place, (self.stream:seek("end", self.place - #self.data))
end

function Model:tell() return self.place, (self.stream:seek()) end

function Model:flush()
    self.stream:flush()
    return self.data, file.read(self.name)
end

describe("a file that is read, written and sought at random", function()
    local operations <const> = { "read", "read_exact", "read_line", "write", "write", "seek", "tell", "flush" }

    it("holds what a string would", function()
        within(function(folder)
            for round = 1, 24 do
                local name <const> = folder .. "/" .. round
                local mode <const> = ({ "r+", "a+", "w+" })[round % 3 + 1]
                local m <const> = setmetatable({ name = name, append = mode == "a+", place = 0, data = "" }, Model)
                if mode ~= "w+" then m.data = ("a line of text\nb\r\n"):rep(math.random(0, 20000)) end
                file.write(name, m.data)
                m.stream = file.open(name, mode)
                local done <const> = { mode .. " " .. #m.data }
                for step = 1, 40 do
                    local operation <const> = operations[math.random(#operations)]
                    local n <const> = math.random(1, math.random(2) == 1 and 60 or 300000)
                    done[step + 1] = ("%s %d at %d of %d"):format(operation, n, m.place, #m.data)
                    local expected <const>, got <const> = m[operation](m, n)
                    if expected ~= got then error("not what a string holds:\n" .. table.concat(done, "\n")) end
                end
                if round % 2 == 0 then assert.is_true(m.stream:close()) end
                m.stream = nil
                collectgarbage()
                assert.is_true(m.data == file.read(name), table.concat(done, "\n"))
            end
        end)
    end)
end)
