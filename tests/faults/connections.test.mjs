// Thousands of connections that are idle or dawdle: good requests go on beside them without one failure, and the server cuts them after its own times.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import { CHROME, ORIGIN, pause } from "../e2e/site.mjs";
import { count, summary } from "./plan.mjs";
import { Stand, ends } from "./stand.mjs";

const CONNECTIONS = count("connections", 5000, 15_000);
/** The server's longest own time, 15 s for a first request, with a margin for a busy machine. */
const CUT_SECONDS = 20;

const head = (length, connection = "") => `POST /v1/collect HTTP/1.1\r\nhost: x\r\norigin: ${ORIGIN}\r\nuser-agent: ${CHROME}\r\ncontent-type: text/plain\r\n${connection}content-length: ${length}\r\n\r\n`;

/** How a connection begins, and what it sends each second from then on. */
const WAYS = {
  idle: () => ["", ""],
  "half a head": () => ["POST /v1/collect HTTP/1.1\r\nhost: x\r\n", ""],
  "a head drop by drop": () => ["POST /v1/collect HTTP/1.1\r\nx-long: ", "y"],
  "a body drop by drop": () => [`${head(60_000)}{`, " "],
  "kept after an answer": (stand) => {
    const body = JSON.stringify(stand.site.batch());
    return [head(Buffer.byteLength(body)) + body, ""];
  },
};
/** As a part of all connections. Bodies are few: each that is open has its room. */
const PARTS = { idle: 0.6, "half a head": 0.15, "a head drop by drop": 0.1, "a body drop by drop": 0.1, "kept after an answer": 0.05 };

/** Connections that the system has taken and dropped since their listener was behind; their client learns of it late. */
function overflows() {
  const [names, values] = readFileSync("/proc/net/netstat", "utf8").split("\n").filter((line) => line.startsWith("TcpExt:")).map((line) => line.split(" "));
  return Number(values[names.indexOf("ListenOverflows")]);
}

test(`${CONNECTIONS} connections that do nothing hinder nobody`, async () => {
  const stand = await Stand.make({ events: 2 });
  const running = await stand.serve();
  const loads = stand.load(4, { gap: 5 });
  const open = new Map();
  const before = overflows();
  const longest = {};
  ends.push(() => { for (const socket of open.keys()) socket.destroy(); });
  for (const [way, part] of Object.entries(PARTS)) {
    longest[way] = 0;
    for (let made = 0; made < CONNECTIONS * part; made++) {
      const [first, drop] = WAYS[way](stand);
      const socket = connect(stand.site.port, "127.0.0.1");
      const began = performance.now();
      socket.setNoDelay();
      open.set(socket, way);
      socket.write(first);
      const dropping = drop && setInterval(() => socket.write(drop), 1000);
      socket.on("error", () => {}).on("data", () => {}).once("close", () => {
        clearInterval(dropping);
        open.delete(socket);
        longest[way] = Math.max(longest[way], performance.now() - began);
      });
      // No faster than they are accepted: the system keeps 128 in waiting.
      if (made % 50 === 49) await pause(15);
    }
  }
  await pause(500);
  const most = open.size;
  assert.ok(most > CONNECTIONS * 0.95, `only ${most} connections are open at once`);
  for (const load of loads) load.beside = load.batches;
  const end = performance.now() + CUT_SECONDS * 1000;
  while (open.size > 0 && performance.now() < end) await pause(100);
  const left = open.size;
  await stand.quiet();
  assert.ok(loads.every((load) => load.batches > load.beside + 50), "good requests went on");
  const failed = loads.flatMap((load) => [...load.statuses]).filter(([status]) => status !== 204);
  assert.deepEqual(failed, [], "good requests that were not answered 204");
  assert.equal((await running.health()).status, 200);
  const unheard = overflows() - before;
  assert.ok(left <= unheard, `${left} connections are still open after ${CUT_SECONDS} s: ${[...new Set(open.values())].join(", ")}`);
  const took = loads.flatMap((load) => load.millis).sort((one, other) => one - other);
  const p99 = took[Math.floor(took.length * 0.99)];
  const { answered } = await stand.check();
  const cut = Object.entries(longest).map(([way, millis]) => `${way} after ${(millis / 1000).toFixed(1)} s`).join(", ");
  summary(`connections: ${most} open at once (the accept queue ran over ${unheard} times), ${took.length} good requests beside them, 0 failed, p99 ${p99.toFixed(1)} ms, slowest ${took.at(-1).toFixed(0)} ms; cut: ${cut}; ${answered} events answered, 0 lost`);
});
