// SPDX-License-Identifier: MIT
const server = require("http").createServer((request, response) => {
    response.setHeader("Content-Type", "text/plain");
    response.setHeader("Content-Length", 5);
    response.end("Pong!");
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
