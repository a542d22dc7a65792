-- SPDX-License-Identifier: MIT
--- Standard input, output and error as streams, whatever they are: a terminal, a pipe, a socket, a plain file.
-- Their descriptors keep their mode, because other programs, the shell among them, have them too. Reading takes what
-- Lua's `io.read` has not read; writing comes after what `print` and `io.write` have written.
-- @module asyncoro.standard
local core <const> = require "asyncoro.core"

return {
    --- Standard input.
    stdin = core.file.standard(0),
    --- Standard output.
    stdout = core.file.standard(1),
    --- Standard error.
    stderr = core.file.standard(2),
}
