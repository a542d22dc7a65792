-- SPDX-License-Identifier: MIT
-- Certificates for specs, made with openssl into a temporary folder, and connections that use them.
local asyncoro = require "asyncoro"
local program = require "spec.program"
local tls = require "asyncoro.tls"

local certificates <const> = {}

local folder

--- The path of a file among the certificates: NAME.pem, NAME.key.
function certificates.path(name) return folder .. "/" .. name end

local path <const> = certificates.path

local MAKE <const> = [[
set -e
cd "$1"
ec="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
authority() {
    openssl req -x509 $ec -keyout $1.key -out $1.pem -subj "/CN=$2" -days 3
}
issue() { # file authority names days common-name
    openssl req $ec -keyout $1.key -out $1.csr -subj "/CN=$5"
    printf "subjectAltName=$3" >$1.ext
    openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days $4 -extfile $1.ext -out $1.pem
}
authority ca "Spec CA"
authority other "Other CA"
issue good ca DNS:localhost,IP:127.0.0.1 3 localhost
issue expired ca DNS:localhost,IP:127.0.0.1 -1 expired.example
issue wrong ca DNS:wrong.example,DNS:*.wrong.example 3 wrong.example
issue unknown other DNS:localhost,IP:127.0.0.1 3 localhost
issue client ca DNS:client 3 somebody
issue stranger other DNS:client 3 stranger
issue b ca DNS:b.example 3 b.example
issue star ca "DNS:*.star.example" 3 star.example
openssl req -x509 $ec -keyout self.key -out self.pem -subj /CN=selfmade -days 3 \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1
openssl pkey -in good.key -aes256 -passout pass:secret -out locked.key
cat good.key good.pem >both.pem
mkdir cas empty
cp ca.pem cas/
]]

--- The pin of a key, by openssl's own tools.
function certificates.pin_of(name)
    return program.capture(("openssl x509 -in %s -pubkey -noout | openssl pkey -pubin -outform der | " ..
        "openssl dgst -sha256 -binary | base64"):format(path(name .. ".pem")))
end

--- Options with a certificate and its key, and more.
function certificates.identity(name, more)
    local opts <const> = { certificate = path(name .. ".pem"), key = path(name .. ".key") }
    for option, value in pairs(more or {}) do opts[option] = value end
    return opts
end

--- Options that trust the first authority, and more.
function certificates.trusting(more)
    local opts <const> = { ca = path "ca.pem" }
    for option, value in pairs(more or {}) do opts[option] = value end
    return opts
end

--- Make them; remove them.
function certificates.make()
    folder = program.folder()
    local code <const>, out <const>, err <const> = program.run({ "-c", MAKE, "make", folder }, { program = "sh" })
    assert(code == 0, out .. err)
end

function certificates.remove() program.remove(folder) end

--- A server that gives each stream to fn in a coro of its own.
function certificates.serve(opts, fn)
    local listener <const> = assert(asyncoro.listen("127.0.0.1", 0, { tls = opts }))
    local _, port <const> = listener:address()
    asyncoro.spawn({ daemon = true }, function()
        for stream in listener:clients() do
            asyncoro.spawn({ daemon = true }, function()
                fn(stream)
                stream:close()
            end)
        end
    end)
    return port, listener
end

function certificates.echo(stream)
    for data in stream:chunks() do stream:write(data) end
end

--- A client and a server that are connected.
function certificates.pair(server_opts, client_opts)
    local one <const>, other <const> = assert(asyncoro.socket.pair())
    local context <const> = assert(tls.context(server_opts))
    local server <const> = asyncoro.spawn(function() return assert(tls.server(other, context, 5)) end)
    local client <const> = assert(tls.client(one, "localhost", client_opts, 5))
    local _, stream <const> = server:finish()
    return client, stream
end

return certificates
