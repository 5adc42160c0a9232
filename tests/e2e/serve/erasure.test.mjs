// A person is erased while events arrive: from the store, from what is still in the journal, at destinations; by command and by the privacy desk's token.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { files, startPostgres } from "../product.mjs";
import { Site, folder, until, visitor } from "../site.mjs";

let site;
let running;
let postgres;
let receiver;
const messages = [];

before(async () => {
  postgres = await startPostgres();
  site = await Site.make({ env: { EVENTS_URL: postgres.url } });
  const lines = folder(site, "lines");
  site.write({ delivery: `allow_networks = ["127.0.0.0/8"]\nallow_folders = [${JSON.stringify(lines)}]` });
  receiver = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; }).once("end", () => {
      const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature } = request.headers;
      messages.push({ id, time, signature, body, message: JSON.parse(body) });
      response.writeHead(204).end();
    });
  });
  await new Promise((done) => receiver.listen(0, "127.0.0.1", done));
  const hook = site.ok("destination", "add", "shop", "hook", "webhook", "--url", `http://127.0.0.1:${receiver.address().port}/hook`, "--processor", "own", "--json");
  site.secret = JSON.parse(hook).secret;
  site.ok("destination", "add", "shop", "db", "postgres", "--url-env", "EVENTS_URL", "--processor", "own");
  site.ok("destination", "add", "shop", "lines", "file", "--path", path.join(lines, "events.jsonl"));
  running = await site.serve();
});

after(async () => {
  await running?.stop("SIGKILL");
  receiver?.close();
  site?.remove();
  await postgres?.stop();
});

/** Sends events of one visitor, each with a canary of theirs in a property. */
async function visit(id, { events = 3, user } = {}) {
  const each = () => ({ type: "coded", name: "Wished", descriptor: undefined, properties: { Wish: `canary of ${id}` } });
  const body = { ...site.batch({ visitor: id, events, each }), ...(user ? { user } : {}) };
  assert.equal((await site.post(body)).status, 204);
  return body.events.map((event) => event.id);
}

const settled = () => until("everything is delivered", async () => {
  const found = await running.metrics();
  return found.get("convizit_worker_lag_batches") === 0 && ["db", "lines", "hook"].every((name) => found.get(`convizit_delivery_lag_events{project="shop",destination="${name}"}`) === 0);
}, 30).catch(async (error) => { throw new Error(`${error.message}: ${JSON.stringify([...await running.metrics()].filter(([name]) => /lag|paused|failures/.test(name)))} ${running.log.slice(-1500)}`); });

/** Where nothing is stored about somebody, the command says so and fails. */
const exported = (...who) => {
  const { code, out, err } = site.run(["export", "--project", "shop", ...who]);
  const events = out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  if (code !== 0 || events.length === 0) assert.match(err, /^error: nothing is stored about this (visitor|user)/);
  return events;
};
const rows = (who) => Number(postgres.query(`select count(*) from convizit.events where visitor = '${who}'`));
const erasures = () => JSON.parse(site.ok("erase", "--project", "shop", "--list", "--json"));

test("erased under load: gone from reads at once, from destinations and bytes soon, and nobody else's event is lost", async () => {
  await visit("anna");
  await visit("ben");
  await settled();
  assert.equal(exported("--visitor", "anna").length, 3);
  assert.equal(rows("anna"), 3);
  const load = visitor(site, { events: 20 });
  await until("there is load", () => load.batches > 10);

  assert.match(site.ok("erase", "--project", "shop", "--visitor", "anna", "--dry-run"), /would erase 1 id and 3 stored events/);
  assert.match(site.fails("erase", "--project", "shop", "--visitor", "anna"), /say --yes/);
  assert.equal(exported("--visitor", "anna").length, 3, "looking erases nothing");
  const began = performance.now();
  const erasure = JSON.parse(site.ok("erase", "--project", "shop", "--visitor", "anna", "--yes", "--json"));
  assert.equal(exported("--visitor", "anna").length, 0);
  const done = await until("every destination was told and every frame is rewritten", () => {
    const found = erasures().find(({ request }) => request === erasure.request);
    return found.open === 0 && found.destinations.every(({ state }) => state !== "open") && found;
  }, 30);
  console.log(`erased within ${(performance.now() - began).toFixed(0)} ms under ${load.answered.length} events`);
  assert.deepEqual(done.destinations.map(({ destination, state }) => [destination, state]), [["db", "told"], ["hook", "told"], ["lines", "cannot"]]);
  assert.match(done.destinations[2].reason, /lines of a file/);
  assert.equal(rows("anna"), 0);
  const { id, time, signature, body, message } = messages.find(({ message }) => message.type === "erase");
  assert.deepEqual(message.visitors, ["anna"]);
  const key = Buffer.from(site.secret.replace("whsec_", ""), "base64");
  assert.equal(signature, `v1,${createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64")}`);

  await load.stop();
  await settled();
  const stored = new Set(postgres.query("select id from convizit.events").split("\n"));
  assert.equal(load.answered.filter((event) => !stored.has(event)).length, 0, "no event of others is lost");
  assert.equal(exported("--visitor", "ben").length, 3);
  assert.equal(rows("ben"), 3);
});

test("a visitor who comes back is captured anew; what was captured before and arrives late is not", async () => {
  const late = site.batch({ visitor: "anna", events: 2 });
  const before = new Date(Date.now() - 60_000).toISOString();
  for (const event of late.events) event.time = before;
  assert.equal((await site.post({ ...late, sent: new Date().toISOString() })).status, 204);
  await visit("anna", { events: 1 });
  await settled();
  const found = exported("--visitor", "anna");
  // Those of a minute ago happened after the erasure only if this machine needed more than a minute since.
  assert.equal(found.filter((event) => event.name === "Wished").length, 1);
  assert.equal(JSON.parse(site.ok("project", "show", "shop", "--json")).outcomes["filtered.erased"], 2);
});

test("the privacy desk erases and exports by HTTP, each with a token of its own", async () => {
  const token = (name, scope) => site.ok("token", "add", name, "--project", "shop", "--scope", scope).trim();
  const [erase, read] = [token("desk", "erase"), token("reader", "export")];
  const ask = (where, secret, body, method = "POST") => fetch(`${running.operator}${where}`, { method, headers: secret ? { authorization: `Bearer ${secret}` } : {}, body: body && JSON.stringify(body) });
  await visit("carla", { user: "4711" });
  await visit("carla-too", { user: "4711" });
  await settled();
  const answer = await ask("/v1/export", read, { users: ["4711"] });
  assert.equal(answer.status, 200);
  assert.equal((await answer.text()).trim().split("\n").length, 6);

  for (const [secret, status] of [[undefined, 401], ["cz_erase_wrong", 401], [read, 403]]) {
    const refused = await ask("/v1/erase", secret, { users: ["4711"] });
    assert.equal(refused.status, status);
    assert.equal(refused.headers.get("content-type"), "application/problem+json");
  }
  for (const body of [{}, { users: [""] }, { users: ["4711"], other: 1 }, { users: "4711" }]) {
    const refused = await ask("/v1/erase", erase, body);
    assert.equal(refused.status, 400);
    assert.doesNotMatch(await refused.text(), /4711/, "an error says nobody's id");
  }
  const accepted = await ask("/v1/erase", erase, { users: ["4711"] });
  assert.equal(accepted.status, 202);
  const { status } = await accepted.json();
  assert.equal((await (await ask("/v1/export", read, { users: ["4711"] })).text()).trim(), "");
  await until("it is done", async () => (await (await ask(status, erase, undefined, "GET")).json()).open === 0, 30);
  assert.equal(exported("--user", "4711").length, 0);
  site.ok("token", "remove", "desk", "--yes");
  assert.equal((await ask("/v1/erase", erase, { users: ["4711"] })).status, 401);
  const log = JSON.parse(site.ok("audit", "list", "--json"));
  assert.ok(log.some(({ act, actor }) => act === "erase.persons" && actor === "token:desk"));
  assert.doesNotMatch(JSON.stringify(log), /4711|anna/, "the audit log names nobody");
  assert.match(site.ok("audit", "verify"), /the chain is whole/);
});

test("thousands at once from a file, and a wrong line is named", async () => {
  const all = Array.from({ length: 3000 }, (_, index) => `many-${index}`);
  await visit("many-17");
  await visit("many-2999");
  await settled();
  const file = path.join(site.folder, "left.txt");
  writeFileSync(file, `${all.slice(0, 9).join("\n")}\n${"x".repeat(300)}\n`);
  assert.match(site.fails("erase", "--project", "shop", "--visitor", "--file", file, "--yes"), /line 10 of the file/);
  writeFileSync(file, `${all.join("\n")}\n`);
  const { persons } = JSON.parse(site.ok("erase", "--project", "shop", "--visitor", "--file", file, "--yes", "--json"));
  assert.equal(persons, 3000);
  assert.equal(exported("--visitor", "many-17").length + exported("--visitor", "many-2999").length, 0);
  await until("all of it is done", () => erasures().every(({ open }) => open === 0), 60);
});

test("the whole dataset: unreadable at once, the site goes on, and no canary is in any file", async () => {
  const secret = "Midnight lantern";
  assert.equal((await site.post(site.batch({ each: () => ({ type: "coded", name: secret, descriptor: undefined, properties: { Wish: secret } }) }))).status, 204);
  await settled();
  site.ok("erase", "--project", "shop", "--all", "--yes");
  assert.equal(exported("--visitor", "ben").length, 0);
  await visit("dora", { events: 2 });
  await settled();
  assert.equal(exported("--visitor", "dora").length, 2);
  await until("the rows are gone", () => erasures().every(({ open }) => open === 0), 30);
  assert.equal(await running.stop(), 0, running.log);
  running = null;
  for (const [name, bytes] of files(site.data)) {
    for (const canary of [secret, "canary of", "Trail shoe"]) assert.ok(!bytes.includes(canary), `${canary} in ${name}`);
  }
  assert.ok(readFileSync(path.join(site.folder, "lines", "events.jsonl")).includes(secret), "the search finds it where it was delivered");
});
