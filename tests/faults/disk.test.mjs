// A full disk, a disk that fails writes, and a journal at its bound: 503 with Retry-After, health says why, nothing answered is lost.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { folder, lastingPort, pause, until, visitor } from "../e2e/site.mjs";
import { summary } from "./plan.mjs";
import { made, serving } from "../e2e/serve/sites.mjs";

const REFUSED_MILLIS = 1000;
const AGAIN_SECONDS = 5;

/** A batch near the bound of 64 KiB, of numbers that no compressor shortens much. */
const large = (site) => site.batch({
  events: 50,
  each: () => ({ type: "coded", name: "Filled", descriptor: undefined, properties: Object.fromEntries(Array.from({ length: 45 }, (_, index) => [`p${index}`, Math.random()])) }),
});

async function refused(site, running, expected, { pages = true } = {}) {
  const answer = await site.post(site.batch());
  assert.equal(answer.status, 503, running.log);
  assert.match(answer.headers.get("retry-after"), /^[1-9]\d*$/);
  assert.equal(answer.headers.get("access-control-allow-origin"), "https://shop.example");
  assert.match((await answer.json()).detail, /comes again/);
  const health = await running.health();
  assert.equal(health.status, 503);
  assert.match(health.failing, expected);
  assert.equal((await fetch(`${running.operator}/readyz`)).status, 503);
  assert.equal((await running.metrics()).get("convizit_healthy"), 0);
  if (pages) assert.match(await (await fetch(running.operator)).text(), /role="alert"/);
}

/** Waits for the first batch that is taken; gives the milliseconds. */
async function taken(site, seconds = 15) {
  const began = performance.now();
  await until("batches are taken again", async () => (await site.post(site.batch())).status === 204, seconds);
  return performance.now() - began;
}

/** Milliseconds until a visitor's batch is refused. */
async function refusedAfter(loads) {
  const began = performance.now();
  const refusals = () => loads.reduce((sum, load) => sum + (load.statuses.get(503) ?? 0), 0);
  const before = refusals();
  while (refusals() === before && performance.now() - began < 10_000) await pause(5);
  return performance.now() - began;
}

/** What a person and a monitor look at while nothing can be written. */
async function reads(site, running) {
  assert.match(site.ok("project", "show", "shop"), /shop/);
  assert.equal((await running.metrics()).get("convizit_healthy"), 0);
  assert.match((await running.health()).failing, /./);
}

/** What was answered stands in the file of a destination, once. */
async function holds(file, ledger, running) {
  const ids = await until("everything answered is delivered", () => {
    // A line without its end is being written.
    const found = readFileSync(file, "utf8").split("\n").slice(0, -1).filter(Boolean).map((line) => JSON.parse(line).id);
    const have = new Set(found);
    return ledger.every((id) => have.has(id)) && found;
  }, 30).catch((error) => { throw new Error(`${error.message}: ${running.log.slice(-2000)}`); });
  assert.equal(new Set(ids).size, ids.length, "an event came twice");
}

/** Everything that is stored, read from the first event on by a new destination. */
async function whole(site, running, name, ledger) {
  const file = path.join(site.folder, "lines", `${name}.jsonl`);
  site.ok("destination", "add", "shop", name, "file", "--path", file, "--from-start");
  await holds(file, ledger, running);
}

test("a disk that fails writes: refused while it fails, taken when it works again, nothing answered is lost", async () => {
  const site = await made();
  site.write({ delivery: `allow_folders = [${JSON.stringify(folder(site, "lines"))}]` });
  // Files may grow to a few MiB and no further: the system then fails every write, as a broken disk does. XFSZ would kill.
  const running = await serving(site, { wrap: ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"] });
  const limit = (bytes) => execFileSync("prlimit", ["--pid", String(running.pid), `--fsize=${bytes}:`]);
  const loads = [visitor(site, { events: 20 }), visitor(site, { events: 20 })];
  await until("some are answered", () => loads.every((load) => load.batches > 5));
  limit(64 * 1024);
  await until("batches are refused", () => loads.every((load) => load.statuses.get(503) > 0), 30);
  await refused(site, running, /cannot be written/);
  // It goes on failing for a while: still nothing is taken, and the program lives.
  await pause(1500);
  await refused(site, running, /cannot be written/);
  limit("unlimited");
  await taken(site);
  const before = loads.map((load) => load.batches);
  await until("the same visitors go on", () => loads.every((load, index) => load.batches > before[index]));
  await Promise.all(loads.map((load) => load.stop()));
  assert.equal((await running.health()).status, 200);
  assert.match(running.log, /cannot be written/);
  assert.match(running.log, /can be written again/);
  await whole(site, running, "failed", loads.flatMap((load) => load.answered));
  assert.equal(await running.stop(), 0, running.log);
});

/** A small disk of the process's own: a tmpfs in a mount namespace that ends with it, which root may have, and elsewhere most users. */
const NAMESPACE = userInfo().uid === 0 ? ["unshare", "--mount"] : ["unshare", "--user", "--map-root-user", "--mount"];
const ON_SMALL_DISK = `
set -e
mount -t tmpfs -o size=100m,mode=0700 convizit-test "$1"; shift
"$1" project add shop --origin https://shop.example --json > added.json
"$1" destination add shop full file --path lines/full.jsonl
exec "$@"`;

test("a full disk: the reserve is left alone, a disk with nothing left refuses too, freed space is used at once", async () => {
  const site = await made({ project: null });
  mkdirSync(site.data);
  const lines = folder(site, "lines");
  site.write({ delivery: `allow_folders = [${JSON.stringify(lines)}]` });
  const running = await serving(site, { wrap: [...NAMESPACE, "sh", "-c", ON_SMALL_DISK, "sh", site.data] });
  site.key = JSON.parse(readFileSync(path.join(site.folder, "added.json"), "utf8")).project.key;
  const loads = [visitor(site, { events: 20, gap: 5 }), visitor(site, { events: 20, gap: 5 })];
  await until("some are answered", () => loads.every((load) => load.batches > 5));

  const disk = `/proc/${running.pid}/root${site.data}`;
  const free = () => { const { bavail, bsize } = statfsSync(disk); return bavail * bsize; };
  assert.ok(free() <= 100 << 20, "the data folder is on the small disk");
  const others = path.join(disk, "somebody-elses.file");
  // The command line sees the small disk, too.
  site.wrap = ["nsenter", "-t", String(running.pid), ...(userInfo().uid === 0 ? [] : ["-U", "--preserve-credentials"]), "-m", `--wd=${site.folder}`, "--"];
  writeFileSync(others, Buffer.alloc(free() - (50 << 20)));
  const reserved = await refusedAfter(loads);
  assert.ok(reserved <= REFUSED_MILLIS, `the reserve was noticed after ${reserved.toFixed(0)} ms`);
  await until("everybody is refused", () => loads.every((load) => load.statuses.get(503) > 0), 5);
  await refused(site, running, /the disk of .+ has .+ free, less than the reserve of 67 MB/);
  // The worker goes on: what was answered is named and stored from the reserve.
  await until("the worker uses the reserve", async () => (await running.health()).waiting_batches === 0, 20);
  await reads(site, running);
  // A new destination reads everything from the first event on, though nothing is taken.
  await whole(site, running, "meanwhile", loads.flatMap((load) => load.answered));

  rmSync(others);
  const first = await taken(site, AGAIN_SECONDS);
  // Now everything at once, so that the writer itself meets a full disk before the reserve is noticed.
  assert.throws(() => { for (;;) writeFileSync(others, Buffer.alloc(1 << 20), { flag: "a" }); }, { code: "ENOSPC" });
  const full = await refusedAfter(loads);
  assert.ok(full <= REFUSED_MILLIS, `the full disk was noticed after ${full.toFixed(0)} ms`);
  await refused(site, running, /reserve|cannot be written/);
  await reads(site, running);
  await pause(1000);
  await reads(site, running);
  rmSync(others);
  const second = await taken(site, AGAIN_SECONDS);
  await Promise.all(loads.map((load) => load.stop()));
  assert.match(running.log, /batches are refused; browsers keep them/);
  const ledger = loads.flatMap((load) => load.answered);
  await holds(path.join(lines, "full.jsonl"), ledger, running);
  await whole(site, running, "whole", ledger);
  assert.equal(await running.stop(), 0, running.log);
  summary(
    `full disk: refused after ${reserved.toFixed(0)} ms at the reserve and ${full.toFixed(0)} ms with nothing left, taken again after ${first.toFixed(0)} and ${second.toFixed(0)} ms; ` +
    `${ledger.length} events answered, 0 lost, 0 repeated`,
  );
});

test("a journal at its bound refuses, and goes on when a worker has caught up", async () => {
  const site = await made();
  const lines = folder(site, "lines");
  site.write({ journal: "megabytes = 16", delivery: `allow_folders = [${JSON.stringify(lines)}]` });
  const collect = await serving(site, { role: "collect" });
  const ledger = [];
  await until("the journal is full", async () => {
    const batches = Array.from({ length: 8 }, () => large(site));
    const answers = await Promise.all(batches.map((body) => site.post(body)));
    answers.forEach((answer, index) => { if (answer.status === 204) ledger.push(...batches[index].events.map((event) => event.id)); });
    return answers.some((answer) => answer.status === 503);
  }, 60);
  await refused(site, collect, /the journal has grown to its 16 MB .*: the worker is behind/, { pages: false });
  assert.ok((await collect.metrics()).get("convizit_journal_bytes") >= 16 << 20);
  assert.ok((await collect.metrics()).get("convizit_worker_lag_batches") > 10);

  const port = await lastingPort();
  const work = await serving(site, { role: "work", consolePort: port });
  await taken(site);
  await until("the collector sees the worker's place", async () => (await collect.health()).waiting_batches === 0, 20);
  assert.equal((await collect.health()).status, 200);
  const deliver = await serving(site, { role: "deliver", consolePort: await lastingPort() });
  await whole(site, work, "bound", ledger);
  for (const running of [collect, work, deliver]) assert.equal(await running.stop(), 0, running.log);
});
