// kill -9 of the whole product under load, at random moments and at exactly the Nth write or sync of a file: no answered event is lost, none comes twice, each start is quick.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startPostgres } from "../e2e/product.mjs";
import { pause } from "../e2e/site.mjs";
import { count, random, seed, summary } from "./plan.mjs";
import { Stand } from "./stand.mjs";
import { bucket, kafka, nats, webhook } from "./receivers.mjs";
import { BATCHES, TARGETS, noStrace, occurrences, serveWith, steps } from "./strace.mjs";

const KILLS = count("cycles", 6, 500);
const READY_MILLIS = 2000;
const CONNECTIONS = 6;
/** Between ready and the kill, in milliseconds. */
const LIFE = [20, 900];

const next = random();
let [postgres, hook, lake, broker, stream] = [];

before(async () => { [postgres, hook, lake, broker, stream] = await Promise.all([startPostgres(), webhook(), bucket("lake"), kafka(), nats()]); });
after(async () => {
  hook?.stop();
  await Promise.all([postgres, lake, broker, stream].map((one) => one?.stop()));
});

/** Starts again after a kill; gives the milliseconds until a batch is taken. */
async function again(stand, when) {
  const running = await stand.serve({ ready: false });
  await running.ready(stand.site.collector);
  // Ready means that it takes batches: one of a connection of its own, at once.
  await stand.take(when);
  const millis = performance.now() - running.started;
  const health = await running.health();
  assert.equal(health.status, 200, `${when}: ${health.failing}`);
  return millis;
}

test(`nothing answered is lost or repeated by ${KILLS} kills (seed ${seed})`, async () => {
  const stand = await Stand.make({ env: { EVENTS_URL: postgres.url, LAKE_SECRET: "a-secret-of-s3" }, events: 4 });
  const destination = (...args) => stand.site.answered("destination", "add", "shop", ...args, "--processor", "own");
  await destination("db", "postgres", "--url-env", "EVENTS_URL");
  await destination("hook", "webhook", "--url", hook.url);
  const settings = ["aws_region=eu-central-1", "bucket=lake", "key_id=AKIAEXAMPLE000000000", "wait=1", `endpoint=${lake.url}`];
  await destination("lake", "connector", "s3", ...settings.flatMap((setting) => ["--set", setting]), "--secret-env", "secret=LAKE_SECRET");
  // Compressed, so that the cluster, which keeps 5 MB of a partition, holds it until it is read.
  await destination("kafka", "connector", "kafka", "--set", `address=${broker.address}`, "--set", "compression=gzip");
  await destination("nats", "connector", "nats", "--set", `address=${stream.address}`);
  const ready = [];
  await stand.serve();
  stand.load(CONNECTIONS);
  const began = performance.now();
  for (let kill = 0; kill < KILLS; kill++) {
    await pause(LIFE[0] + next() * (LIFE[1] - LIFE[0]));
    await stand.running.stop("SIGKILL");
    ready.push(await again(stand, `after kill ${kill + 1}`));
  }
  await stand.quiet();
  const took = (performance.now() - began) / 1000;
  assert.ok(stand.ledger.length > 2000 && stand.retries >= KILLS, `there was load at the kills: ${stand.ledger.length} events, ${stand.retries} retries`);

  const metrics = await stand.delivered("db", "lines", "hook", "lake", "kafka", "nats");
  const { answered, stored, again: repeated } = await stand.check();
  const inPostgres = new Set(postgres.query("select id from convizit.events").split("\n"));
  assert.equal(stand.ledger.filter((id) => !inPostgres.has(id)).length, 0, "answered events are missing from PostgreSQL");
  assert.equal(inPostgres.size, stored, "PostgreSQL has what the store has");
  assert.equal(Number(postgres.query("select count(distinct number) from convizit.events")), stored, "a number is given twice");
  assert.equal(Number(postgres.query("select max(number) from convizit.events")), stored, "numbers are consecutive");
  assert.equal(repeated, 0, "the file has a line twice");
  const { ids: inObjects, objects } = await lake.ids();
  const [inKafka, inNats] = [await broker.ids(), await stream.ids()];
  for (const [where, ids] of [["the webhook", hook.ids()], ["the bucket", inObjects], ["Kafka", inKafka], ["NATS", inNats]]) {
    assert.equal(stand.ledger.filter((id) => !ids.has(id)).length, 0, `answered events are missing from ${where}`);
    assert.equal(ids.size, stored, `${where} has what the store has`);
  }
  const { accepted, repeated: recognised = 0 } = JSON.parse(stand.site.ok("project", "show", "shop", "--json")).outcomes;
  assert.equal(accepted, stored, "the count of accepted events is the number of stored events");
  assert.equal(metrics.get("convizit_healthy"), 1);

  const slowest = Math.max(...ready);
  summary(
    `kill at random: ${KILLS} kills in ${took.toFixed(0)} s, ${answered} events answered on ${CONNECTIONS} connections, ${stand.retries} retries; ` +
    `0 lost, 0 repeated (${recognised} repeats recognised) in the store, PostgreSQL, a file, ${objects} objects, NATS, Kafka and a webhook; again, the same under the same key: ${stream.again} in NATS (after two minutes), ${broker.again} in Kafka, ${hook.again} deliveries of the webhook; ready again after ${slowest.toFixed(0)} ms at most`,
  );
  assert.ok(slowest <= READY_MILLIS, `ready only after ${slowest.toFixed(0)} ms`);

  // After the kills SIGTERM still ends it in order.
  assert.equal(await stand.running.stop(), 0, stand.running.log);
  assert.ok(stand.site.ok("doctor").split("\n").filter(Boolean).every((line) => /^(ok|warning {2}(backups|running))/.test(line)), "doctor finds nothing but that it does not run");
});

test(`nothing answered is lost or repeated by a kill at exactly the Nth call (seed ${seed})`, { skip: noStrace() }, async () => {
  const stand = await Stand.make({ events: 20 });
  const calls = await occurrences(stand);
  let [kills, slowest] = [0, 0];
  for (const target of TARGETS) {
    for (const at of steps(target, calls, next, 2)) {
      const when = `killed at ${target.call} ${at} of ${target.file}`;
      await serveWith(stand, target, `signal=SIGKILL:when=${at}`);
      // It may be killed before it is ready.
      const alive = await stand.running.ready(stand.site.collector).then(() => true, () => false);
      if (alive) await workload(stand, BATCHES, when);
      const killed = await Promise.race([stand.running.ended, pause(700).then(() => false)]);
      if (killed) kills++;
      else await stand.running.stop("SIGKILL");
      slowest = Math.max(slowest, await again(stand, when));
      await stand.running.stop("SIGKILL");
    }
  }
  await stand.serve();
  const { answered } = await stand.check();
  assert.ok(kills > 0, "no call was reached");
  assert.ok(slowest <= READY_MILLIS, `ready only after ${slowest.toFixed(0)} ms`);
  summary(`kill at the Nth call: ${kills} kills, ${answered} events answered; 0 lost, 0 repeated; ready again after ${slowest.toFixed(0)} ms at most`);
});

/** The same batches each time, until the program is gone. */
async function workload(stand, batches, when) {
  for (let batch = 0; batch < batches; batch++) {
    if ((await stand.post({ when }))[0] === 0) return;
  }
}
