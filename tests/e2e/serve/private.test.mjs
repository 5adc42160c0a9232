// No captured text in logs, metrics, answers or on disk unsealed, whatever field it came in and however malformed the batch was.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { administrator } from "../person.mjs";
import { files } from "../product.mjs";
import { Site, pause, until } from "../site.mjs";

const CANARY = "Zqcanary";
let site;
let running;
let answers = "";

before(async () => {
  // Even with everything that the product's own rooms and its libraries can say.
  site = await Site.make({ sections: { log: 'filter = "trace,sqlx=trace"\nformat = "json"' } });
  running = await site.serve();
});

after(async () => {
  await running?.stop("SIGKILL");
  site?.remove();
});

const keep = async (answer) => {
  answers += `${answer.status} ${JSON.stringify([...answer.headers])} ${await answer.text()}\n`;
  return answer.status;
};

/** Every place in a batch that holds something, as a path. */
function* places(value, path = []) {
  for (const [key, inner] of Object.entries(value)) {
    yield [...path, key];
    if (inner && typeof inner === "object") yield* places(inner, [...path, key]);
  }
}

function put(body, path, value) {
  const holder = path.slice(0, -1).reduce((at, key) => at[key], body);
  holder[path.at(-1)] = value;
}

const whole = () => {
  const body = site.batch({ each: () => ({ name: "coded", properties: { plan: "team" }, withheld: [{ field: "page.title", rule: "email", by: "browser", rules: 1 }] }) });
  Object.assign(body.page, { referrer: "https://other.example/", canonical: "https://shop.example/shoes", product: { "Product name": "Shoe" }, breadcrumb: ["Home"], viewport: { width: 100 } });
  return Object.assign(body, { user: "user-1", dropped: 1 });
};

test("a canary in each field, as text, as another type, as a key, cut and packed, is in no log, metric, answer or unsealed byte", async () => {
  const statuses = new Map();
  let number = 0;
  const post = async (body, options) => {
    const status = await keep(await site.post(body, options));
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  };
  for (const path of places(whole())) {
    const canary = `${CANARY}${++number}`;
    for (const value of [canary, { [canary]: canary }, [canary]]) {
      const body = whole();
      put(body, path, value);
      await post(body);
    }
    const renamed = whole();
    put(renamed, [...path.slice(0, -1), canary], canary);
    await post(renamed);
  }
  const text = JSON.stringify(whole()).replaceAll("Add to cart", `${CANARY}cut`);
  for (const body of [text.slice(0, 300), text.slice(0, -1), `${text}${CANARY}`, CANARY, `"${CANARY}"`, `{"v":1,"${CANARY}":1}`, gzipSync(CANARY.repeat(20_000)), gzipSync(text).subarray(0, 80), CANARY.repeat(9000)]) await post(body);
  await post(whole(), { headers: { "user-agent": `${CANARY}/1.0`, referer: `https://shop.example/${CANARY}`, cookie: `a=${CANARY}`, "x-forwarded-for": CANARY, "sec-ch-ua": `"${CANARY}"` } });
  for (const origin of [`https://${CANARY}.example`, CANARY]) await post(whole(), { origin });
  for (const path of [`/t/${CANARY}.js`, `/${CANARY}`, `/v1/collect?q=${CANARY}`, `/t/${site.key}.js?${CANARY}`]) await keep(await fetch(site.collector + path));
  await keep(await site.post(text, { method: "PUT" }));
  assert.ok(statuses.get(204) > 50 && statuses.get(400) > 50 && statuses.get(413) > 0 && statuses.get(403) > 0, JSON.stringify([...statuses]));

  await until("the worker has everything", async () => (await running.health()).waiting_batches === 0);
  await pause(1200);
  const metrics = JSON.stringify([...await running.metrics()]);
  const shown = ["project show shop --json", "notices list --json", "destination list --json", "doctor --json"].map((command) => {
    const { out, err } = site.run(command.split(" "));
    return out + err;
  }).join("\n");
  const { ask } = await administrator(running);
  const pages = [];
  // Names of events are captured text that members may see: their pages are left out.
  for (const path of ["/projects", "/p/shop/start", "/p/shop/destinations", "/p/shop/privacy", "/p/shop/members", "/p/shop/settings", "/p/shop/audit", "/system"]) {
    const page = await ask(path);
    assert.equal(page.status, 200, `${path}: ${page.text}`);
    pages.push(page.text);
  }
  assert.equal(await running.stop(), 0);
  const found = (where, bytes) => assert.ok(!bytes.toString("latin1").toLowerCase().includes(CANARY.toLowerCase()), `${where}: ${around(bytes)}`);
  // An origin that asks is told its own name, when the answer is one that any page may read.
  found("answers", answers.replaceAll(/\["access-control-allow-origin","[^"]*"\]/g, ""));
  found("metrics", metrics);
  found("command line and console", shown + pages.join("\n"));
  found("log", running.log);
  for (const [file, bytes] of files(site.data)) found(file, bytes);
  assert.ok(running.log.includes("convizit is ready"));
});

const around = (bytes) => {
  const text = bytes.toString("latin1");
  const at = text.toLowerCase().indexOf(CANARY.toLowerCase());
  return JSON.stringify(text.slice(Math.max(0, at - 200), at + 60));
};
