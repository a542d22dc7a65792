// SPDX-License-Identifier: MIT
const server = require("net").createServer((client) => client.on("data", (data) => client.write(data)));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
