-- SPDX-License-Identifier: MIT
local asyncoro = require "asyncoro"

describe("digest", function()
    it("computes", function()
        assert.equal("900150983cd24fb0d6963f7d28e17f72", asyncoro.digest("md5", "abc"))
        assert.equal("a9993e364706816aba3e25717850c26c9cd0d89d", asyncoro.digest("sha1", "abc"))
        assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", asyncoro.digest("sha256", "abc"))
        assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", asyncoro.digest("SHA256", ""))
        assert.equal(128, #asyncoro.digest("sha512", ("\0"):rep(100000)))
    end)

    it("refuses what it does not know", function()
        assert.error_matches(function() asyncoro.digest("crc7", "") end, "OpenSSL has no 'crc7' here")
        assert.error_matches(function() asyncoro.digest("md5") end, "string expected")
    end)
end)
