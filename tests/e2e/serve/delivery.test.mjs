// A destination that is down, slow, or says no: tried again as asked, paused with a reason, a refused event alone; no other waits for it.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventsIn } from "../product.mjs";
import { Site, folder, pause, until } from "../site.mjs";

let site;
let running;
let lines;
let log = "";
const receivers = [];

before(async () => {
  site = await Site.make();
  lines = path.join(folder(site, "lines"), "events.jsonl");
  site.write({ delivery: `allow_networks = ["127.0.0.0/8"]\nallow_folders = [${JSON.stringify(path.dirname(lines))}]` });
  site.ok("destination", "add", "shop", "lines", "file", "--path", lines);
  running = await site.serve();
});

after(async () => {
  await running?.stop("SIGKILL");
  for (const receiver of receivers) receiver.close();
  site?.remove();
});

/** A webhook receiver that verifies as Standard Webhooks say, and answers what `judge` says: a status, or a response's parts. */
async function hook(name, judge) {
  const state = { requests: [], ids: [], secret: "", judge, port: 0 };
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; }).once("end", async () => {
      const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature } = request.headers;
      const key = Buffer.from(state.secret.replace("whsec_", ""), "base64");
      const expected = `v1,${createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64")}`;
      const events = JSON.parse(body).events;
      state.requests.push({ id, at: performance.now(), events: events.map((event) => event.id), verified: signature === expected });
      const { status, headers = {}, wait = 0 } = await state.judge(events, state.requests.length);
      if (status < 300) state.ids.push(...events.map((event) => event.id));
      await pause(wait);
      response.writeHead(status, headers).end();
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  receivers.push(server);
  state.port = server.address().port;
  state.close = () => new Promise((done) => { server.closeAllConnections(); server.close(done); });
  const added = site.ok("destination", "add", "shop", name, "webhook", "--url", `http://127.0.0.1:${state.port}/${name}`, "--processor", "own", "--json");
  state.secret = JSON.parse(added).secret;
  return state;
}

const send = async (options) => {
  const body = site.batch(options);
  assert.equal((await site.post(body)).status, 204);
  return body.events.map((event) => event.id);
};
const has = (found, ids) => ids.every((id) => found.includes(id));
const inFile = () => eventsIn(lines).map(({ id }) => id);
const destination = (name) => JSON.parse(site.ok("destination", "list", "shop", "--json")).find((one) => one.destination.name === name);
const paused = (name) => until(`${name} is paused`, () => destination(name).destination.paused);

test("a destination that is slow, down or busy gets everything once it can, as it asked, and delays no other", async () => {
  const fine = await hook("fine", () => ({ status: 204 }));
  const slow = await hook("slow", () => ({ status: 200, wait: 1500 }));
  const busy = await hook("busy", (_, count) => (count === 1 ? { status: 429, headers: { "retry-after": "3" } } : { status: 200 }));
  const broken = await hook("broken", (_, count) => ({ status: count <= 2 ? 503 : 200 }));
  const dead = await hook("dead", () => ({ status: 200 }));
  await dead.close();
  // Delivery looks for new destinations twice a second.
  await until("all are served", async () => (await running.metrics()).size > 0 && pause(1500).then(() => true));

  const began = performance.now();
  const ids = await send({ events: 5 });
  await until("those that work have it", () => has(fine.ids, ids) && has(inFile(), ids), 3);
  assert.ok(performance.now() - began < 2500, "others waited for the slow one");
  await until("the busy one has it", () => has(busy.ids, ids));
  const [first, second] = busy.requests;
  assert.ok(second.at - first.at >= 2900, `tried again after ${second.at - first.at} ms, asked for 3 s`);
  assert.equal(second.id, first.id, "the same idempotency key at each try");
  await until("the broken and the slow one have it", () => has(broken.ids, ids) && has(slow.ids, ids));
  for (const receiver of [fine, slow, busy, broken]) {
    assert.ok(receiver.requests.every((request) => request.verified), "a signature is wrong");
    assert.deepEqual(receiver.ids, ids, "each event once, in order");
  }
  const lag = (await running.metrics()).get('convizit_delivery_lag_events{project="shop",destination="dead"}');
  assert.equal(lag, 5, "the dead one's lag is shown");
  assert.equal(destination("dead").destination.paused, null, "what may come back is not paused");
  for (const name of ["slow", "busy", "broken", "dead"]) site.ok("destination", "remove", "shop", name, "--yes");
});

test("401, 403, 404, 410 and a redirect pause with a reason and a notice; resumed it sends what waited", async () => {
  const answers = { s401: 401, s403: 403, s404: 404, s410: 410, s307: 307 };
  const hooks = {};
  for (const [name, status] of Object.entries(answers)) {
    hooks[name] = await hook(name, () => ({ status, headers: status === 307 ? { location: `http://127.0.0.1:${hooks.s401.port}/elsewhere` } : {} }));
  }
  await pause(1200);
  const ids = await send({ events: 2 });
  for (const [name, status] of Object.entries(answers)) assert.match(await paused(name), new RegExp(String(status)), name);
  const asked = hooks.s401.requests.length;
  assert.equal(asked, 1, "neither tried again nor reached by the redirect");
  const notices = JSON.parse(site.ok("notices", "list", "--json"));
  for (const name of Object.keys(answers)) {
    const notice = notices.find((one) => one.kind === "destination_paused" && one.subject === name);
    assert.match(notice.text, new RegExp(`destination resume shop ${name}`));
  }
  assert.equal((await running.metrics()).get('convizit_delivery_paused{project="shop",destination="s410"}'), 1);
  assert.equal((await running.metrics()).get("convizit_notices_open"), 5);
  assert.match(site.run(["doctor"]).out, /problem {2}destination: s410 of shop is paused .*410/);
  await until("the file has it", () => has(inFile(), ids), 3);
  hooks.s410.judge = () => ({ status: 200 });
  site.ok("destination", "resume", "shop", "s410");
  await until("what waited arrives", () => has(hooks.s410.ids, ids));
  for (const name of Object.keys(answers)) site.ok("destination", "remove", "shop", name, "--yes");
});

test("one event that is refused ends in the dead letters, its neighbours arrive in order", async () => {
  const picky = await hook("picky", (events) => ({ status: events.some((event) => event.properties?.["Product price"] === 13) ? 422 : 200 }));
  await pause(1200);
  const ids = await send({ events: 8 });
  await until("the neighbours arrive", () => picky.ids.length === 7);
  assert.deepEqual(picky.ids, ids.filter((_, index) => index !== 3));
  const [letter, ...more] = await until("the dead letter is written", () => {
    const letters = JSON.parse(site.ok("destination", "dead", "shop", "picky", "--json"));
    return letters.length > 0 && letters;
  });
  assert.deepEqual([more.length, letter.reason], [0, "the receiver answered 422"]);
  assert.equal((await until("the metric", async () => (await running.metrics()).get('convizit_delivery_dead{project="shop",destination="picky"}'))), 1);
  assert.ok(JSON.parse(site.ok("notices", "list", "--json")).some((notice) => notice.kind === "dead_letters" && notice.subject === "picky"));
  assert.match(site.ok("destination", "dead", "shop", "picky"), /422/);
});

test("addresses inside are refused in every spelling, at once and again when the operator takes the permission back", async () => {
  const add = (url) => site.fails("destination", "add", "shop", "inside", "webhook", "--url", url);
  for (const host of ["10.0.0.1", "10.255.1.2", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[::1]", "[fd00::1]", "[fe80::1]",
    "[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "167772161", "0x0a000001", "012.0.0.1", "10.1", "0xa9.254.169.254", "2852039166"]) {
    assert.match(add(`http://${host}/latest`), /private or reserved/, host);
  }
  assert.match(add("http://localhost:1/"), /nobody answers|private/);
  assert.match(add("http://user:secret@8.8.8.8/"), /user name or password/);
  for (const url of ["postgres://me:secret@10.0.0.1/events", "postgres://me:secret@169.254.169.254:5432/events", "postgres://me:secret@8.8.8.8/events?host=10.0.0.1", "postgres:///events?host=/var/run/postgresql", "postgres://me:secret@/events?hostaddr=10.0.0.1"]) {
    const { code, err } = site.run(["destination", "add", "shop", "inside", "postgres", "--url-env", "INSIDE"], { env: { INSIDE: url } });
    assert.equal(code, 1, url);
    assert.match(err, /private or reserved|not by a socket's path|names no host|none of the form/, url);
    assert.ok(!err.includes("secret"), err);
  }
  assert.equal(destination("inside"), undefined);

  const guarded = await hook("guarded", () => ({ status: 200 }));
  assert.equal(await running.stop(), 0, running.log);
  log = running.log;
  site.write({ delivery: `allow_folders = [${JSON.stringify(path.dirname(lines))}]` });
  running = await site.serve();
  const ids = await send();
  assert.match(await paused("guarded"), /allow_networks/);
  await until("the file has it", () => has(inFile(), ids));
  assert.equal(guarded.requests.length, 0, "a forbidden address was dialled");
});

test("logs speak of destinations and reasons, never of what events hold", async () => {
  await until("the pause is logged", async () => { await pause(10); return /destination paused/.test(running.log); });
  log += running.log;
  assert.match(log, /destination paused .*destination="s410" reason="the receiver answered 410"/);
  assert.ok(!/Add to cart|Trail shoe|whsec_|secret/.test(log), log);
});
