// Collector, worker and delivery as processes of their own on one folder; a stop that drains; what `/metrics` says.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { eventsIn } from "../product.mjs";
import { folder, lastingPort, until, visitor } from "../site.mjs";
import { made as empty, serving } from "./sites.mjs";

async function made({ project = true } = {}) {
  const site = await empty({ project: null });
  site.lines = path.join(folder(site, "lines"), "events.jsonl");
  site.write({ delivery: `allow_folders = [${JSON.stringify(path.dirname(site.lines))}]` });
  if (project) furnish(site);
  return site;
}

function furnish(site) {
  site.key = JSON.parse(site.ok("project", "add", "shop", "--origin", "https://shop.example", "--json")).project.key;
  site.ok("destination", "add", "shop", "lines", "file", "--path", site.lines);
}

const delivered = (site) => eventsIn(site.lines);

test("each role in a process of its own, started at the same moment on a folder that is not there yet, delivers end to end", async () => {
  const site = await made({ project: false });
  const ports = await Promise.all([0, 1, 2, 3].map(lastingPort));
  const [collect, work, deliver, pages] = await Promise.all(["collect", "work", "deliver", "console"].map((role, index) => serving(site, { role, consolePort: ports[index] })));
  furnish(site);
  await until("the project is known to the collector", async () => (await fetch(`${site.collector}/t/${site.key}.json`)).status === 200);
  const load = visitor(site, { events: 10, gap: 10 });
  await until("some arrive", () => delivered(site).length >= 200, 30);
  // The worker may come and go: the collector and delivery do not mind.
  assert.equal(await work.stop(), 0, work.log);
  const before = load.batches;
  await until("the collector goes on without a worker", () => load.batches > before + 20);
  assert.ok((await collect.metrics()).get("convizit_worker_lag_batches") > 0, "the lag is seen where the collector is");
  const again = await serving(site, { role: "work", consolePort: ports[1] });
  await load.stop();
  await until("everything answered arrives", () => delivered(site).length >= load.answered.length, 30);
  const ids = delivered(site).map((event) => event.id);
  assert.deepEqual(new Set(ids), new Set(load.answered));
  assert.equal(ids.length, load.answered.length);
  for (const running of [collect, again, deliver, pages]) assert.equal((await running.health()).status, 200, running.log);
  assert.equal((await collect.health()).waiting_batches, 0);
  const at = (running, path_) => fetch(running.operator + path_).then((answer) => answer.status);
  assert.equal(await at(pages, "/"), 200);
  assert.equal(await at(collect, "/"), 404, "pages are the console's");
  assert.ok((await deliver.metrics()).has('convizit_delivery_lag_events{project="shop",destination="lines"}'));
  for (const running of [collect, again, deliver, pages]) assert.equal(await running.stop(), 0, running.log);
});

test("SIGTERM under load: what was answered a moment before is at its destination when the program has ended", async () => {
  for (let round = 0; round < 3; round++) {
    const site = await made();
    const running = await serving(site);
    const loads = Array.from({ length: 4 }, () => visitor(site, { events: 10 }));
    await until("under load", () => loads.every((load) => load.batches > 20 + 10 * round));
    const began = performance.now();
    const code = running.stop();
    assert.equal(await code, 0, running.log);
    const took = performance.now() - began;
    const ids = delivered(site).map((event) => event.id);
    // Visitors are stopped only now: they were still sending while it ended.
    for (const load of loads) load.stop().catch(() => {});
    const again = await serving(site);
    await Promise.all(loads.map((load) => load.stop()));
    const have = new Set(ids);
    const answered = loads.flatMap((load) => load.answered);
    assert.ok(ids.length > 500, `${ids.length} delivered`);
    assert.equal(have.size, ids.length);
    assert.ok(took < 10_000, `the stop took ${took} ms`);
    await until("the rest arrives", () => new Set(delivered(site).map((event) => event.id)).size >= answered.length);
    assert.equal(await again.stop(), 0, again.log);
    // All but the batch that each visitor sent anew after the restart was delivered before the end.
    const late = answered.filter((id) => !have.has(id));
    assert.ok(late.length <= 4 * 10, `${late.length} answered events were not delivered by the stop`);
    assert.match(running.log, /everything that was taken is stored, and nothing waits for a destination/);
  }
});

test("/metrics has outcomes, lag of worker and destinations, commit and answer times, bytes of queue and journal", async () => {
  const site = await made();
  const running = await serving(site);
  const body = site.batch({ events: 3 });
  for (let count = 0; count < 2; count++) assert.equal((await site.post(body)).status, 204);
  await site.post("{");
  const labels = '{project="shop",destination="lines"}';
  const metrics = await until("counted and delivered", async () => {
    const found = await running.metrics();
    return found.get('convizit_items_total{project="shop",outcome="repeated"}') === 3 && found.get(`convizit_delivery_lag_events${labels}`) === 0 && found.get("convizit_worker_lag_batches") === 0 && found;
  });
  for (const [name, value] of [
    ['convizit_items_total{project="shop",outcome="accepted"}', 3],
    ['convizit_outcomes_total{outcome="refused.malformed"}', 1],
    ['convizit_collector_requests_total{status="204"}', 2],
    ['convizit_collector_requests_total{status="400"}', 1],
    ["convizit_collector_answer_seconds_count", 3],
    ["convizit_journal_commit_seconds_count", 2],
    ["convizit_worker_lag_batches", 0],
    ["convizit_journal_queue_bytes", 0],
    ["convizit_healthy", 1],
    [`convizit_delivery_paused${labels}`, 0],
    [`convizit_delivery_dead${labels}`, 0],
    ["convizit_notices_open", 0],
  ]) assert.equal(metrics.get(name), value, name);
  assert.ok(metrics.get("convizit_journal_bytes") > 0);
  assert.ok(metrics.get('convizit_journal_commit_seconds_bucket{le="1"}') === 2);
  const health = await running.health();
  assert.ok(!running.log.includes("\u001b"), "a log that no terminal reads has no colours");
  assert.match(running.log, new RegExp(`convizit is ready role="all" collector="127.0.0.1:${site.port}" console="127.0.0.1:${site.consolePort}"`));
  assert.deepEqual([health.status, health.failing, health.queue_bytes, health.waiting_batches], [200, null, 0, 0]);
  assert.equal(await running.stop(), 0, running.log);
});
