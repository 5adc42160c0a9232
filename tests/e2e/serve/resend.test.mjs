// Sending again by command: a test event, dead letters, a replay whose count is said first; through a kill -9 in the middle nothing is lost.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Site, pause, until } from "../site.mjs";

let [site, running, server] = [];
/** What came: ids in the order of their coming, a list for each request that was taken. */
const taken = [];
let judge = () => 204;

before(async () => {
  site = await Site.make({ sections: { delivery: 'allow_networks = ["127.0.0.0/8"]' } });
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; }).once("end", async () => {
      const { events } = JSON.parse(body);
      const status = judge(events);
      await pause(40);
      if (status < 300) taken.push(events.map((event) => event.id));
      response.writeHead(status).end();
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  site.ok("destination", "add", "shop", "hook", "webhook", "--url", `http://127.0.0.1:${server.address().port}/`, "--processor", "own");
  running = await site.serve();
});

after(async () => {
  await running?.stop("SIGKILL");
  server?.closeAllConnections();
  server?.close();
  site?.remove();
});

const json = (...args) => JSON.parse(site.ok("destination", ...args, "--json"));
const times = (ids) => {
  const all = new Map(ids.map((id) => [id, 0]));
  for (const id of taken.flat()) if (all.has(id)) all.set(id, all.get(id) + 1);
  return [...all.values()];
};
const cursor = () => json("list", "shop")[0].cursor;

test("a replay goes on after a kill -9 in its middle, with the same ids, and the cursor stays", async () => {
  assert.match(await site.answered("destination", "test", "shop", "hook"), /took the event/);
  taken.length = 0;
  const ids = [];
  for (let sequence = 1; sequence <= 8; sequence++) {
    const body = site.batch({ events: 100, sequence });
    ids.push(...body.events.map((event) => event.id));
    assert.equal((await site.post(body)).status, 204);
  }
  await until("everything arrives", () => times(ids).every((count) => count === 1));
  await until("the cursor is at the end", () => cursor() === 800);

  const range = ["--from", "2020-01-01T00:00:00Z"];
  assert.equal(json("replay", "shop", "hook", ...range, "--dry-run").plan.events, 800);
  assert.deepEqual(json("replays", "shop", "hook"), []);
  assert.match(site.fails("destination", "replay", "shop", "hook", ...range), /send 800 events .* again; Its receiver must know/);
  assert.match(site.fails("destination", "replay", "shop", "hook", "--since-rename", "Add to cart"), /no name|never renamed/);
  const before = taken.length;
  site.ok("destination", "replay", "shop", "hook", ...range, "--yes");
  await until("the replay has begun", () => taken.length > before);
  await running.stop("SIGKILL");
  const [middle] = json("replays", "shop", "hook");
  assert.equal(middle.state, "open");
  assert.ok(times(ids).some((count) => count === 1), "it was still going on");
  assert.equal(cursor(), 800);

  running = await site.serve();
  await until("it is carried out", () => json("replays", "shop", "hook")[0].state === "done");
  const counts = times(ids);
  assert.ok(counts.every((count) => count >= 2), "none is lost");
  assert.ok(counts.filter((count) => count > 2).length <= 200, "at most the batch at hand came once more");
  const [done] = json("replays", "shop", "hook");
  assert.deepEqual([done.sent, done.dead, cursor()], [800, 0, 800]);
});

test("refused events are retried, some or all, also where the process ended in between", async () => {
  const refused = (event) => [11, 13].includes(event.properties?.["Product price"]);
  judge = (events) => (events.some(refused) ? 422 : 204);
  const body = site.batch({ events: 6, sequence: 9 });
  const ids = body.events.map((event) => event.id);
  assert.equal((await site.post(body)).status, 204);
  const letters = await until("two are refused", () => json("dead", "shop", "hook").length === 2 && json("dead", "shop", "hook"));
  assert.ok(letters.every((letter) => letter.attempts === 1 && letter.reason.includes("422") && !letter.retry));
  site.ok("destination", "retry", "shop", "hook", "--event", String(letters[0].event));
  await until("it is refused once more", () => json("dead", "shop", "hook")[0].attempts === 2);
  assert.equal(json("dead", "shop", "hook")[1].attempts, 1);

  site.ok("destination", "pause", "shop", "hook");
  site.ok("destination", "retry", "shop", "hook", "--all");
  await running.stop("SIGKILL");
  assert.ok(json("dead", "shop", "hook").every((letter) => letter.retry), "the wish is kept");
  judge = () => 204;
  running = await site.serve();
  site.ok("destination", "resume", "shop", "hook");
  await until("they arrive", () => times(ids).every((count) => count === 1));
  await until("none is left", () => json("dead", "shop", "hook").length === 0);
  assert.match(site.ok("destination", "dead", "shop", "hook"), /No event was refused/);
  assert.match(site.fails("destination", "retry", "shop", "hock", "--all"), /no destination hock/);
});
