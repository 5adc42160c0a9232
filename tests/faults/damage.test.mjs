// Files of the data folder with a changed bit, cut, zeroed, exchanged, gone or of yesterday: the start is refused with a reason, or all is served, or what is lost is named.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { test } from "node:test";
import { pause, until } from "../e2e/site.mjs";
import { count, random, seed, summary } from "./plan.mjs";
import { Stand, ends } from "./stand.mjs";

const FLIPS = count("flips", 150, 10_000);
/** `FAULTS_FILE=data.db` damages this one only, `FAULTS_KIND=exchange` in this way only. */
const FILE = process.env.FAULTS_FILE;
const KIND = process.env.FAULTS_KIND;
const PAGE = 4096;
/** When nothing more has come for so long, nothing will; a whole folder is delivered in a third of that. */
const WAIT_MILLIS = 1500;

/** One page of a file, where it is not the only one. */
const page = (bytes, next) => Math.floor(next() * Math.ceil(bytes.length / PAGE)) * PAGE;

/** What is done to a file's bytes; gives the place for the message. `null` where it changes nothing. */
const DAMAGES = {
  flip(file, next) {
    const bytes = readFileSync(file);
    if (bytes.length === 0) return null;
    const at = Math.floor(next() * bytes.length);
    const bit = Math.floor(next() * 8);
    bytes[at] ^= 1 << bit;
    writeFileSync(file, bytes);
    return `bit ${bit} of byte ${at}`;
  },
  cut(file, next) {
    const { length } = readFileSync(file);
    if (length === 0) return null;
    const at = Math.floor(next() * length);
    truncateSync(file, at);
    return `at ${at} of ${length}`;
  },
  zero(file, next) {
    const bytes = readFileSync(file);
    if (bytes.length === 0) return null;
    const at = page(bytes, next);
    bytes.fill(0, at, Math.min(at + PAGE, bytes.length));
    writeFileSync(file, bytes);
    return `page at ${at}`;
  },
  exchange(file, next) {
    const bytes = readFileSync(file);
    const [one, other] = [page(bytes, next), page(bytes, next)];
    const [first, second] = [one, other].map((at) => Buffer.from(bytes.subarray(at, at + PAGE)));
    if (one === other || first.length !== second.length || first.equals(second)) return null;
    second.copy(bytes, one);
    first.copy(bytes, other);
    writeFileSync(file, bytes);
    return `pages at ${one} and ${other}`;
  },
  remove(file) {
    rmSync(file);
    return "";
  },
  /** The file as it was at an earlier kill. */
  older(file, next, earlier) {
    const before = path.join(earlier, path.basename(file));
    if (!existsSync(before) || readFileSync(before).equals(readFileSync(file))) return null;
    cpSync(before, file);
    return "";
  },
};
/** Most are single bits; the others are few by nature. */
const WEIGHTS = { flip: 8, cut: 2, zero: 2, exchange: 2, remove: 1, older: 1 };
const KINDS = KIND ? [KIND] : Object.entries(WEIGHTS).flatMap(([kind, weight]) => Array(weight).fill(kind));

/** What came, since a destination that was dead while the folder was made gets everything from the first event on. */
const arrived = [];
let deaf = true;

async function receiver() {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; }).once("end", () => {
      if (!deaf) arrived.push(...JSON.parse(body).events);
      response.writeHead(deaf ? 503 : 200).end();
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  ends.push(() => { server.closeAllConnections(); server.close(); });
  return server.address().port;
}

test(`damaged files: refused, whole, or named (${FLIPS} damages, seed ${seed})`, async () => {
  const next = random();
  const stand = await Stand.make({ events: 6 });
  const { site } = stand;
  const folders = await prepare(stand, await receiver());
  deaf = false;
  const restore = (good) => {
    rmSync(site.data, { recursive: true, force: true });
    cpSync(good, site.data, { recursive: true });
    arrived.length = 0;
  };
  const original = new Map();
  for (const [ending, { good }] of Object.entries(folders)) {
    restore(good);
    const found = await outcome(stand, folders[ending].ledger, null, "");
    assert.equal(found.kind, "whole", `the ${ending} folder without damage: ${JSON.stringify(found)}`);
    for (const event of arrived) original.set(event.id, JSON.stringify(event));
  }

  const table = {};
  const bad = [];
  for (let done = 0; done < FLIPS;) {
    const ending = next() < 0.5 ? "killed" : "stopped";
    const { good, earlier, ledger } = folders[ending];
    // Backups and the copy of the keys lie in folders of their own: `convizit verify --backup` and the drill look at them.
    const there = readdirSync(good, { withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => entry.name);
    const files = there.filter((name) => !name.endsWith(".lock") && (!FILE || name === FILE)).sort();
    const name = files[Math.floor(next() * files.length)];
    const kind = KINDS[Math.floor(next() * KINDS.length)];
    restore(good);
    const place = DAMAGES[kind](path.join(site.data, name), next, earlier);
    if (place === null) continue;
    done++;
    const found = await outcome(stand, ledger, original, name);
    table[name] ??= { refused: 0, whole: 0, named: 0, unclear: 0, wrong: 0 };
    table[name][found.kind]++;
    if (["unclear", "wrong"].includes(found.kind)) bad.push(`${found.kind}: ${kind} ${name} (${ending}) ${place}: ${found.why.trim()}`);
  }
  console.table(Object.fromEntries(Object.entries(table).sort()));
  for (const line of bad) console.log(line);
  const sum = (kind) => Object.values(table).reduce((total, row) => total + row[kind], 0);
  summary(
    `damage: ${FLIPS} damages to ${folders.stopped.ledger.length} answered events in ${Object.keys(table).length} files: ${sum("refused")} starts refused with a reason, ` +
    `${sum("whole")} lost nothing, ${sum("named")} named what was lost, ${sum("unclear")} refused unclearly, ${sum("wrong")} silently wrong`,
  );
  assert.deepEqual(bad, []);
});

/**
 * Two data folders, both with batches that wait in the journal: after kills, where every log stands beside its file, and after an
 * orderly stop, where the files hold everything. Of each there is an earlier state.
 */
async function prepare(stand, port) {
  const { site } = stand;
  const folders = {};
  for (const [ending, signal] of [["killed", "SIGKILL"], ["stopped", "SIGTERM"]]) {
    const [good, earlier] = ["good", "earlier"].map((name) => path.join(site.folder, `${name}-${ending}`));
    for (const [role, batches] of [["all", 60], ["all", 40], ["collect", 20]]) {
      await stand.serve({ role });
      // While it runs, so that this stands in the log of control.db; of the second folder in control.db itself.
      if (stand.ledger.length === 0) site.ok("destination", "add", "shop", "all", "webhook", "--url", `http://127.0.0.1:${port}/all`, "--processor", "own");
      // The second folder goes on from the first.
      for (let batch = 0; batch < batches; batch++) await stand.take("");
      if (role === "all") await until("all is stored", async () => (await stand.running.metrics()).get("convizit_worker_lag_batches") === 0);
      // The journal's mark follows within a second.
      await pause(1200);
      await stand.running.stop(signal);
      if (batches === 60) cpSync(site.data, earlier, { recursive: true });
    }
    cpSync(site.data, good, { recursive: true });
    folders[ending] = { good, earlier, ledger: stand.ledger };
  }
  return folders;
}

/** Starts on the folder as it is, and says how that went. */
async function outcome(stand, ledger, original, name) {
  const { site } = stand;
  const running = await stand.serve({ ready: false });
  try {
    const ready = await Promise.race([running.ready(site.collector).then(() => true, () => false), pause(8000).then(() => null)]);
    if (ready === null) return { kind: "wrong", why: `neither ready nor ended: ${running.log}` };
    if (!ready) {
      const said = /error: ([^\n]+)\n$/.exec(running.log)?.[1];
      if (!said) return { kind: "wrong", why: `ended without a reason: ${await running.ended} ${running.log}` };
      return { kind: said.includes(base(name)) ? "refused" : "unclear", why: said };
    }
    const names = new Set(ledger);
    const missing = () => { const have = new Set(arrived.map((event) => event.id)); return [...names].filter((id) => !have.has(id)).length; };
    const twice = () => arrived.length - new Set(arrived.map((event) => event.id)).size;
    // It comes within a moment; where it does not, whoever watches has a while to hear of it.
    const told = async () => {
      const [health, metrics] = await Promise.all([running.health(), running.metrics()]).catch(() => [{ status: 0 }, new Map()]);
      if (health.status !== 200) return `health: ${health.failing}`;
      if (metrics.get("convizit_notices_open") > 0) return "a notice";
      return /^\S+ +(ERROR|WARN) (?!.*batches are refused).*$/m.exec(running.log)?.[0];
    };
    let why;
    let [came, last] = [0, performance.now()];
    while (missing() > 0 && performance.now() - last < WAIT_MILLIS) {
      if (arrived.length > came) [came, last] = [arrived.length, performance.now()];
      if (performance.now() - last > WAIT_MILLIS / 3 && (why = await told())) break;
      await pause(20);
    }
    why ??= await told();
    const foreign = original ? arrived.filter((event) => original.get(event.id) !== JSON.stringify(event)) : [];
    if (foreign.length > 0) return { kind: "wrong", why: `${foreign.length} events are not what they were: ${JSON.stringify(foreign[0]).slice(0, 300)} WAS ${original.get(foreign[0].id)?.slice(0, 300)}` };
    if (missing() > 0) return why ? { kind: "named", why } : { kind: "wrong", why: `${missing()} of ${ledger.length} events are lost in silence: ${running.log}` };
    if (twice() > 0) return { kind: "wrong", why: `${twice()} events came twice` };
    return { kind: "whole" };
  } finally {
    await running.stop("SIGKILL");
  }
}

/** A refusal names the file itself or, of a log, the database it belongs to. */
const base = (name) => (name === "keys" ? "key file" : name.replace(/-(wal|shm)$/, ""));
