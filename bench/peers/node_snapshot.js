// Node's plain HTTP server, turning its 5 000 records into JSON (and gzip) again for every poll.
//
// This is what a page's own back end does when it keeps the newest records in an array. Usage:
// node node_snapshot.js PORT BODY.json; ask for /gzip or /plain.

'use strict';

const fs = require('node:fs');
const http = require('node:http');
const zlib = require('node:zlib');

const [port, bodyFile] = process.argv.slice(2);
const snapshot = JSON.parse(fs.readFileSync(bodyFile, 'utf8'));

const server = http.createServer((request, response) => {
  const text = JSON.stringify(snapshot);
  if (request.url !== '/gzip') {
    const body = Buffer.from(text);
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': body.length,
    });
    response.end(body);
    return;
  }
  zlib.gzip(text, (error, body) => {
    if (error) throw error;
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Encoding': 'gzip',
      'Content-Length': body.length,
    });
    response.end(body);
  });
});
server.listen(Number(port), '127.0.0.1');
