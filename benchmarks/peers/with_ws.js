// `ws` on Node, as its README broadcasts: `client.send(data, { binary: true })` for each client. See play.py for the script.
"use strict";
const fs = require("fs");
const path = require("path");
const { WebSocketServer, WebSocket } = require(path.join(__dirname, "../build/node/node_modules/ws"));

const STAMP = 9;
const YIELD_MS = 10;
const [port, script, mode] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const byTopic = new Map();
const byWish = new Map();
let asked = 0;

function* segments(data) {
  let at = 0;
  const next = () => data.readUInt32LE((at += 4) - 4);
  while (at < data.length) {
    const segment = { intervalMs: next() / 1000, limitMs: next() / 1000, stamped: next(), flushes: [] };
    for (let flushes = next(); flushes > 0; flushes--) {
      const flush = [];
      for (let entries = next(); entries > 0; entries--) {
        const size = data.readUInt16LE(at + 2);
        flush.push([data.readUInt16LE(at), data.subarray(at + 4, at + 4 + size)]);
        at += 4 + size;
      }
      segment.flushes.push(flush);
    }
    yield segment;
  }
}

function enter(client, command) {
  for (const topic of command.split(",").map(Number)) {
    if (!byTopic.has(topic)) byTopic.set(topic, new Set());
    byTopic.get(topic).add(client);
  }
  if (!byWish.has(command)) byWish.set(command, { topics: command.split(",").map(Number), clients: new Set() });
  byWish.get(command).clients.add(client);
}

function leave(client) {
  for (const clients of byTopic.values()) clients.delete(client);
  for (const wish of byWish.values()) wish.clients.delete(client);
}

function broadcast(clients, data) {
  for (const client of clients) if (client.readyState === WebSocket.OPEN) client.send(data, { binary: true });
}

const pause = (ms) => new Promise((resolve) => (ms > 0 ? setTimeout(resolve, ms) : setImmediate(resolve)));
let yieldedMs = 0;

async function isOver(endMs) {
  if (performance.now() - yieldedMs < YIELD_MS) return false;
  await pause(0);
  yieldedMs = performance.now();
  return yieldedMs > endMs;
}

async function playTicks(flush, endMs) {
  for (const [topic, data] of flush) {
    broadcast(byTopic.get(topic) ?? [], data);
    if (performance.now() - yieldedMs > YIELD_MS && (await isOver(endMs))) return;
  }
}

async function playJoined(flush, endMs) {
  const messages = new Map(flush);
  for (const { topics, clients } of byWish.values()) {
    const joined = Buffer.concat(topics.map((topic) => messages.get(topic)).filter(Boolean));
    if (joined.length) broadcast(clients, joined);
    if (performance.now() - yieldedMs > YIELD_MS && (await isOver(endMs))) return;
  }
}

async function play(segment) {
  const began = (yieldedMs = performance.now());
  let due = began;
  for (const flush of segment.flushes) {
    if (performance.now() - began > segment.limitMs) return;
    if (segment.stamped) {
      const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
      for (const [, data] of flush) data.writeBigUInt64BE(now, STAMP);
    }
    await (mode === "tick" ? playTicks : playJoined)(flush, began + segment.limitMs);
    due += segment.intervalMs;
    await pause(due - performance.now());
  }
}

async function main() {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  server.on("connection", (client) => {
    client.on("message", (command) => {
      enter(client, command.toString());
      client.send("ok");
    });
    client.on("close", () => leave(client));
  });
  await new Promise((resolve) => server.on("listening", resolve));
  process.on("SIGUSR2", () => asked++);
  process.on("SIGTERM", () => process.exit(0));
  console.log(`listening on http://127.0.0.1:${port}/`);
  for (const segment of segments(fs.readFileSync(script))) {
    while (!asked) await pause(10);
    asked--;
    await play(segment);
    console.log("done");
  }
}

main();
