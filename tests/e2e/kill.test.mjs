// kill -9 of the whole product at random moments under load: no answered event is lost, none comes twice, each start is quick.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { startPostgres, until } from "./product.mjs";
import { Site, folder, pause, visitor } from "./site.mjs";

const KILLS = 25;
const READY_MILLIS = 2000;
const CONNECTIONS = 6;
/** Between ready and the kill, in milliseconds. */
const LIFE = [20, 900];

const seed = Number(process.env.CONVIZIT_KILL_SEED ?? Date.now() % 1_000_000);

/** mulberry32, so that a run can be repeated from its seed. */
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

let postgres;
let site;
let running;

before(async () => {
  postgres = await startPostgres();
  site = await Site.make({ env: { EVENTS_URL: postgres.url } });
  const lines = folder(site, "lines");
  site.write({ delivery: `allow_networks = ["127.0.0.0/8"]\nallow_folders = [${JSON.stringify(lines)}]` });
  site.ok("destination", "add", "shop", "db", "postgres", "--url-env", "EVENTS_URL");
  site.ok("destination", "add", "shop", "lines", "file", "--path", path.join(lines, "events.jsonl"));
});

after(async () => {
  await running?.stop("SIGKILL");
  site?.remove();
  await postgres?.stop();
});

const accepted = () => JSON.parse(site.ok("project", "show", "shop", "--json")).outcomes;
const ids = (file) => readFileSync(path.join(site.folder, "lines", file), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line).id);

test(`nothing answered is lost or repeated by ${KILLS} kills (seed ${seed})`, async () => {
  const next = random(seed);
  const ready = [];
  running = await site.serve();
  const visitors = Array.from({ length: CONNECTIONS }, (_, index) => visitor(site, { events: 4 + 3 * index }));
  const began = performance.now();
  for (let kill = 0; kill < KILLS; kill++) {
    await pause(LIFE[0] + next() * (LIFE[1] - LIFE[0]));
    await running.stop("SIGKILL");
    running = await site.serve({ ready: false });
    ready.push(await running.ready(site.collector));
    // Ready means that it takes batches: one of a connection of its own, at once.
    const answer = await site.post(site.batch());
    assert.equal(answer.status, 204, `after kill ${kill + 1} the collector answered ${answer.status}`);
    ready[kill] = performance.now() - running.started;
    const health = await running.health();
    assert.equal(health.status, 200, `after kill ${kill + 1}: ${health.failing}`);
  }
  await Promise.all(visitors.map((load) => load.stop()));
  const took = (performance.now() - began) / 1000;
  const ledger = visitors.flatMap((load) => load.answered);
  assert.equal(new Set(ledger).size, ledger.length, "the ledger itself holds no id twice");
  const retries = visitors.reduce((sum, load) => sum + load.retries, 0);
  assert.ok(ledger.length > 2000 && retries >= KILLS, `there was load at the kills: ${ledger.length} events, ${retries} retries`);

  // Everything has arrived when the journal is empty and both destinations stand at the project's last event.
  const metrics = await until("everything is delivered", async () => {
    const found = await running.metrics();
    const behind = ["db", "lines"].map((name) => found.get(`convizit_delivery_lag_events{project="shop",destination="${name}"}`));
    return found.get("convizit_worker_lag_batches") === 0 && behind.every((lag) => lag === 0) && found;
  }, 60);
  // The store itself, read from its first event to its last by a destination that was not there before.
  site.ok("destination", "add", "shop", "whole", "file", "--path", path.join(site.folder, "lines", "whole.jsonl"), "--from-start");
  await until("the store is read whole", async () => {
    const found = await running.metrics();
    return found.get('convizit_delivery_lag_events{project="shop",destination="whole"}') === 0;
  }, 60);

  const stored = ids("whole.jsonl");
  const inStore = new Set(stored);
  const inPostgres = new Set(postgres.query("select id from convizit.events").split("\n"));
  const inLines = ids("events.jsonl");
  const lost = ledger.filter((id) => !inStore.has(id) || !inPostgres.has(id));
  assert.deepEqual(lost.slice(0, 5), [], `${lost.length} answered events are lost`);
  assert.equal(stored.length, inStore.size, "an event is stored twice");
  assert.equal(inPostgres.size, inStore.size, "PostgreSQL has what the store has");
  assert.equal(Number(postgres.query("select count(distinct number) from convizit.events")), inStore.size, "a number is given twice");
  assert.equal(Number(postgres.query("select max(number) from convizit.events")), inStore.size, "numbers are consecutive");
  assert.equal(inLines.length, new Set(inLines).size, "the file has a line twice");
  assert.equal(new Set(inLines).size, inStore.size, "the file has what the store has");
  assert.equal(accepted().accepted, inStore.size, "the count of accepted events is the number of stored events");
  assert.equal(metrics.get("convizit_healthy"), 1);

  const slowest = Math.max(...ready);
  assert.ok(slowest <= READY_MILLIS, `ready only after ${slowest.toFixed(0)} ms`);
  console.log(
    `kill -9: ${KILLS} kills in ${took.toFixed(0)} s (seed ${seed}), ${ledger.length} events answered on ${CONNECTIONS} connections, ${retries} retries; ` +
    `0 lost, 0 repeated (${accepted().repeated ?? 0} repeats recognised); ready again after ${slowest.toFixed(0)} ms at most`,
  );
});

test("after the kills SIGTERM still ends it in order", async () => {
  assert.equal(await running.stop(), 0, running.log);
  running = null;
  assert.ok(site.ok("doctor").split("\n").filter(Boolean).every((line) => line.startsWith("ok")), "doctor finds nothing");
});
