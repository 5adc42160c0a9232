// A site whose every answered event is written down, and the check that each of them is stored once and delivered.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import path from "node:path";
import { after } from "node:test";
import { Site, folder, pause, until, visitor } from "../e2e/site.mjs";

/** What is stopped, unmounted and removed after a file's last test, the latest first. */
export const ends = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

export class Stand {
  /** Ids that were answered 204 outside the loads, and when: a word for the message, should they be lost. */
  answered = new Map();
  /** Ids of answers that a test takes back. */
  doubtful = new Set();
  loads = [];
  readings = 0;

  /** A project with a file destination. `on` is the folder, for another disk, that data and lines lie in. */
  static async make({ on, wrap = [], env, sections = {}, events = 10 } = {}) {
    const stand = new Stand();
    const site = await Site.make({ project: null, env });
    stand.site = site;
    stand.events = events;
    ends.push(() => site.remove());
    Object.assign(site, { wrap, data: path.join(on ?? site.folder, "data") });
    stand.lines = on ? path.join(on, "lines") : folder(site, "lines");
    const { delivery = "", ...others } = sections;
    site.write({ ...others, delivery: `allow_networks = ["127.0.0.0/8"]\nallow_folders = [${JSON.stringify(stand.lines)}]\n${delivery}` });
    site.key = JSON.parse(site.ok("project", "add", "shop", "--origin", "https://shop.example", "--json")).project.key;
    site.ok("destination", "add", "shop", "lines", "file", "--path", path.join(stand.lines, "lines.jsonl"));
    return stand;
  }

  /** `convizit serve`, ended after the last test whatever happens. */
  async serve(options) {
    this.running = await this.site.serve(options);
    ends.push(() => this.running.stop("SIGKILL"));
    return this.running;
  }

  /** Visitors who send until told to stop. */
  load(visitors, options = {}) {
    const started = Array.from({ length: visitors }, (_, index) => visitor(this.site, { events: this.events + 3 * index, ...options }));
    this.loads.push(...started);
    return started;
  }

  /** Posts a batch until it is taken, at most `tries` times; the statuses, 0 for no answer. */
  async post({ when = "", tries = 1, batch = this.site.batch({ events: this.events }) } = {}) {
    const statuses = [];
    while (statuses.length < tries && statuses.at(-1) !== 204) {
      if (statuses.length > 0) await pause(50);
      statuses.push(await this.site.post(batch).then((answer) => answer.status, () => 0));
    }
    if (statuses.at(-1) === 204) for (const event of batch.events) this.answered.set(event.id, when);
    return statuses;
  }

  /** A batch that must be taken at once. */
  async take(when) {
    const [status] = await this.post({ when });
    assert.equal(status, 204, `${when}: the collector answered ${status}`);
  }

  get ledger() { return [...this.answered.keys(), ...this.loads.flatMap((load) => load.answered)].filter((id) => !this.doubtful.has(id)); }

  get retries() { return this.loads.reduce((sum, load) => sum + load.retries, 0); }

  /** Ends the loads after the batches at hand. */
  async quiet() { await Promise.all(this.loads.map((load) => load.stop())); }

  /** The lines of a file that the file destination writes, each as its id and a digest: the file may be longer than a text can be. */
  read(name) {
    const file = openSync(this.site.wrap.length ? this.outside(path.join(this.lines, name)) : path.join(this.lines, name), "r");
    const found = [];
    const bytes = Buffer.alloc(1 << 22);
    let rest = Buffer.alloc(0);
    try {
      for (let read; (read = readSync(file, bytes)) > 0;) {
        const here = Buffer.concat([rest, bytes.subarray(0, read)]);
        const end = here.lastIndexOf(10) + 1;
        for (const line of here.toString("utf8", 0, end).split("\n")) if (line) found.push(entry(line));
        // A line without its end is being written, or goes on in the next piece.
        rest = here.subarray(end);
      }
    } finally {
      closeSync(file);
    }
    return found;
  }

  /** Where a file of another mount namespace is seen from here. */
  outside(file) { return `/proc/${this.running.pid}/root${file}`; }

  /** Waits until the journal is empty and these destinations stand at the project's last event. */
  async delivered(...names) {
    let found;
    await until(`everything is delivered to ${names.join(" and ")}`, async () => {
      found = await this.running.metrics();
      return found.get("convizit_worker_lag_batches") === 0
        && names.every((name) => found.get(`convizit_delivery_lag_events{project="shop",destination="${name}"}`) === 0);
    }, 60).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify([...found])} ${this.running.log.slice(-2000)}`); });
    return found;
  }

  /** Every answered event is in the store once and at the destination; what is there beside is a refused batch's, once too. */
  async check() {
    // The store itself, read from its first event to its last by a destination that was not there before.
    const name = `whole${++this.readings}`;
    this.site.ok("destination", "add", "shop", name, "file", "--path", path.join(this.lines, `${name}.jsonl`), "--from-start");
    await this.delivered(name, "lines");
    const stored = this.read(`${name}.jsonl`);
    const lines = this.read("lines.jsonl");
    this.site.ok("destination", "remove", "shop", name, "--yes");
    return compare({ ledger: this.ledger, when: this.answered, stored, lines });
  }
}

/** What the check needs of a line. */
export const entry = (line) => ({ id: JSON.parse(line).id, digest: createHash("sha256").update(line).digest("base64") });

/** The ledger against the lines of the store and of a destination; throws where one is lost or comes twice. */
export function compare({ ledger, when = new Map(), stored, lines }) {
  assert.equal(new Set(ledger).size, ledger.length, "the ledger itself holds no id twice");
  const byId = new Map(stored.map(({ id, digest }) => [id, digest]));
  const lost = ledger.filter((id) => !byId.has(id));
  assert.deepEqual(lost.slice(0, 5).map((id) => `${id} ${when.get(id) ?? ""}`.trim()), [], `${lost.length} of ${ledger.length} answered events are lost`);
  assert.equal(stored.length, byId.size, "an event is stored twice");
  const arrived = new Map();
  for (const { id, digest } of lines) {
    assert.equal(digest, byId.get(id), `the destination has what the store has of ${id}`);
    arrived.set(id, (arrived.get(id) ?? 0) + 1);
  }
  const missing = ledger.filter((id) => !arrived.has(id));
  assert.deepEqual(missing.slice(0, 5), [], `${missing.length} answered events never came to the destination`);
  return { have: byId, answered: ledger.length, stored: stored.length, again: lines.length - arrived.size };
}
