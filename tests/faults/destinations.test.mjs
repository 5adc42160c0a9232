// Destinations that hang, reset, lie, dribble or flood: no other waits for them, and each gets everything in its visitors' order once it behaves.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { test } from "node:test";
import { pause, until } from "../e2e/site.mjs";
import { summary } from "./plan.mjs";
import { Stand, ends } from "./stand.mjs";

const LOAD_MILLIS = 6000;
/** A destination beside broken ones has an event this soon after its answer. */
const BESIDE_MILLIS = 3000;
/** What a receiver's flood may add to the program's memory. */
const FLOOD_BYTES = 64 << 20;

const answer = (status, headers = "", body = "") => `HTTP/1.1 ${status}\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const good = (socket) => socket.write(answer("200 OK"));

/** Writes a text a byte a second. */
async function dribble(socket, text) {
  for (const byte of text) {
    if (socket.destroyed) return;
    socket.write(byte);
    await pause(1000);
  }
}

/** How a receiver misbehaves: at its first `times` requests, or always. `counts` where its answer takes the events all the same. */
const WAYS = {
  fine: { times: 0 },
  hangs: { times: 1, act() {} },
  resets: { times: 2, act: (socket) => socket.resetAndDestroy() },
  "resets-halfway": { times: 2, act: (socket) => socket.write("HTTP/1.1 20", () => socket.resetAndDestroy()) },
  "dribbles-its-head": { times: 1, act: (socket) => dribble(socket, answer("200 OK")) },
  "dribbles-its-body": { counts: true, act: (socket) => { socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"); dribble(socket, "x".repeat(20)); } },
  garbage: { counts: true, act: (socket) => socket.write(answer("200 OK", "content-type: application/json\r\n", "\0\u0001{[\"<html>")) },
  "no-http": { times: 2, act: (socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n") },
  "giant-head": { times: 2, act: (socket) => socket.end(`HTTP/1.1 200 OK\r\n${`x: ${"y".repeat(1000)}\r\n`.repeat(2000)}\r\n`) },
  "giant-body": { counts: true, act: flood },
  hints: { counts: true, act: (socket) => socket.write("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(1000) + answer("204 No Content")) },
  moved301: { times: 1, paused: /301/, act: (socket, { port }) => socket.write(answer("301 Moved", `location: http://127.0.0.1:${port}/again\r\n`)) },
  moved302: { times: 1, paused: /302/, act: (socket, { port }) => socket.write(answer("302 Found", `location: http://127.0.0.1:${port}/again\r\n`)) },
  moved308: { times: 1, paused: /308/, act: (socket) => socket.write(answer("308 Moved", "location: http://169.254.169.254/latest\r\n")) },
};

/** An answer without end, as fast as it is read, 256 MiB at most. */
function flood(socket) {
  socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
  const piece = `10000\r\n${"z".repeat(65_536)}\r\n`;
  let left = 4096;
  const more = () => { while (left-- > 0 && !socket.destroyed && socket.write(piece)); };
  socket.on("drain", more);
  more();
}

async function receiver(stand, name) {
  const way = WAYS[name];
  const state = { name, way, requests: 0, paths: new Set(), ids: [] };
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    let bytes = Buffer.alloc(0);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket)).on("data", (part) => {
      bytes = Buffer.concat([bytes, part]);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = bytes.subarray(0, end).toString();
      const length = Number(/content-length: (\d+)/i.exec(head)[1]);
      if (bytes.length < end + 4 + length) return;
      const { events } = JSON.parse(bytes.subarray(end + 4, end + 4 + length));
      bytes = bytes.subarray(end + 4 + length);
      state.paths.add(head.split(" ")[1]);
      const bad = state.requests++ < (way.times ?? Infinity);
      if (!bad || way.counts) state.ids.push(...events.map((event) => event.id));
      (bad ? way.act : good)(socket, state);
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  ends.push(() => { server.close(); for (const socket of sockets) socket.destroy(); });
  state.port = server.address().port;
  stand.site.ok("destination", "add", "shop", name, "webhook", "--url", `http://127.0.0.1:${state.port}/${name}`, "--processor", "own");
  return state;
}

const memory = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;

test("destinations that misbehave delay no other, lose nothing and keep each visitor's order", async () => {
  const stand = await Stand.make({ events: 2 });
  const receivers = [];
  for (const name of Object.keys(WAYS)) receivers.push(await receiver(stand, name));
  const fine = receivers.find(({ name }) => name === "fine");
  const running = await stand.serve();
  const before = memory(running.pid);
  const loads = ["a", "b", "c"].map((visitor) => stand.load(1, { gap: 60, visitor: `visitor-${visitor}` })[0]);

  // What was answered is with the file and the good receiver soon, as long as the others misbehave.
  let [slowest, most] = [0, 0];
  for (const end = performance.now() + LOAD_MILLIS; performance.now() < end;) {
    const answered = stand.ledger;
    const began = performance.now();
    for (const found of [() => new Set(fine.ids), () => new Set(stand.read("lines.jsonl").map(({ id }) => id))]) {
      await until("the others have it", () => { const have = found(); return answered.every((id) => have.has(id)); }, 10);
    }
    slowest = Math.max(slowest, performance.now() - began);
    most = Math.max(most, memory(running.pid));
    await pause(50);
  }
  assert.ok(stand.ledger.length > 100, `only ${stand.ledger.length} events were answered`);
  assert.ok(slowest <= BESIDE_MILLIS, `others waited ${slowest.toFixed(0)} ms`);
  assert.equal((await running.health()).status, 200);
  await stand.quiet();

  const list = () => new Map(JSON.parse(stand.site.ok("destination", "list", "shop", "--json")).map(({ destination }) => [destination.name, destination.paused]));
  for (const { name, way, paths } of receivers.filter((one) => one.way.paused)) {
    assert.match(await until(`${name} is paused`, () => list().get(name)), way.paused);
    assert.deepEqual([...paths], [`/${name}`], "a redirect was followed");
    stand.site.ok("destination", "resume", "shop", name);
  }
  assert.deepEqual([...list()].filter(([name, paused]) => paused && !WAYS[name]?.paused), [], "paused, though they may come back");
  await stand.delivered("lines", ...receivers.map(({ name }) => name));
  most = Math.max(most, memory(running.pid));
  const ledger = new Set(stand.ledger);
  let again = 0;
  for (const { name, ids } of receivers) {
    const first = [...new Set(ids)];
    again += ids.length - first.length;
    const have = new Set(first);
    assert.equal([...ledger].filter((id) => !have.has(id)).length, 0, `${name} lacks answered events`);
    for (const { answered } of loads) {
      const own = new Set(answered);
      assert.deepEqual(first.filter((id) => own.has(id)), answered, `${name} has a visitor's events in another order`);
    }
    assert.equal(JSON.parse(stand.site.ok("destination", "dead", "shop", name, "--json")).length, 0, `${name} has dead letters`);
  }
  const grown = most - before;
  assert.ok(grown < FLOOD_BYTES, `memory grew by ${grown >> 20} MiB`);
  const { answered } = await stand.check();
  summary(`destinations: ${receivers.length} receivers of as many kinds, ${answered} events answered; others had them within ${slowest.toFixed(0)} ms; 0 lost, order kept, ${again} sent again; memory grew by ${grown >> 20} MiB`);
});
