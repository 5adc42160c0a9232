// Texts that only a crowd may show: at whom they are held back, when they are released, and when a place loses its text for good.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventsIn } from "../product.mjs";
import { Site, folder, until } from "../site.mjs";

let site;
let running;

before(async () => {
  site = await Site.make({ sections: { collector: 'public = "https://events.shop.example"\nbehind_proxy = true' } });
  site.write({ ...site.sections, delivery: `allow_folders = [${JSON.stringify(folder(site, "lines"))}]` });
  running = await site.serve();
  site.ok("destination", "add", "shop", "lines", "file", "--path", path.join(site.folder, "lines", "events.jsonl"));
});

after(async () => {
  await running?.stop("SIGKILL");
  site?.remove();
});

const file = () => path.join(site.folder, "lines", "events.jsonl");
const events = () => eventsIn(file());
let sent = 0;

/** A click on a control that says `label`, by a visitor in a network of his own; gives the event as it is delivered. */
async function click(label, { at = "main>div>button", visitor = `visitor ${++sent}`, network = sent, user, attributes = {}, properties = {} } = {}) {
  const descriptor = { role: "button", label, labelSource: "content", tag: "button", context: [{ kind: "main", name: "" }], group: null, attributes, properties, path: at };
  const body = { ...site.batch({ visitor: Buffer.from(visitor).toString("hex").slice(-32), each: () => ({ descriptor }) }), ...(user && { user }) };
  const headers = { "x-forwarded-for": `10.${network >> 8}.${network & 255}.7` };
  const answer = await site.post(body, { headers });
  assert.equal(answer.status, 204, await answer.text());
  return until("the event", () => events().find((event) => event.id === body.events[0].id));
}

const receipts = (event) => event.withheld.map(({ field, rule, by }) => `${field} ${rule} ${by}`);

test("a label of ordinary words is there at the first click", async () => {
  for (const label of ["Add to cart", "Checkout", "In den Warenkorb", "Ajouter au panier"]) {
    const event = await click(label, { at: `main>${label.split(" ").length}>button` });
    assert.deepEqual([event.element.label, event.withheld], [label, undefined]);
  }
});

test("a text that looks like a name comes with the sixth visitor, to the same element", async () => {
  const at = "main>section>button";
  const first = await click("Rosa Winterfeld", { at });
  assert.deepEqual([first.element.label, first.name_state, receipts(first)], ["", "provisional", ["element.label waits server"]]);
  assert.doesNotMatch(JSON.stringify(first), /Rosa|Winterfeld/);
  for (let more = 0; more < 4; more++) assert.equal((await click("Rosa Winterfeld", { at })).element.label, "");
  const sixth = await click("Rosa Winterfeld", { at });
  assert.deepEqual([sixth.element.label, sixth.element.id, sixth.withheld], ["Rosa Winterfeld", first.element.id, undefined]);
  assert.notEqual(sixth.name, first.name);
  assert.match(sixth.name, /Rosa Winterfeld/);
});

test("neither one visitor, nor one network, nor one user is a crowd", async () => {
  for (const [at, who] of [["main>p>button", { visitor: "one" }], ["main>ul>button", { network: 9 }], ["main>ol>button", { user: "u-17" }]]) {
    for (let visit = 0; visit < 8; visit++) assert.equal((await click("Rosa Winterfeld", { at, ...who })).element.label, "", JSON.stringify(who));
  }
});

test("what stands in an account is never released", async () => {
  for (let visit = 0; visit < 7; visit++) {
    const event = await click("Rosa Winterfeld", { attributes: { class: "account-menu" } });
    assert.deepEqual([event.element.label, receipts(event)], ["", ["element.label private_place server"]]);
  }
});

test("an element that says another name to each loses its text for good, the common names too", async () => {
  const at = "main>aside>button";
  const names = ["Maria Lehmann", "Ivan Petrov", "Maria Lehmann", "Aylin Demir", "Maria Lehmann", "Tom Becker", "Maria Lehmann", "Li Wei", "Maria Lehmann", "Maria Lehmann", "Maria Lehmann"];
  for (const name of names) assert.equal((await click(name, { at })).element.label, "", name);
  const after = await click("Settings", { at });
  assert.deepEqual([after.element.label, receipts(after)], ["", ["element.label varies server"]]);
});

test("what varies is held back wherever the event repeats it", async () => {
  const at = "main>table>button";
  const says = (text) => click(text, { at, properties: { "Item name": text }, attributes: { "data-row": text } });
  for (const text of ["Plan of the attic", "Plan of the cellar", "Plan of the garden"]) assert.equal((await says(text)).element.label, text);
  const event = await says("Plan of the stable");
  assert.deepEqual([event.element.label, event.properties["Item name"]], ["", undefined]);
  assert.deepEqual(receipts(event), ["element.label waits server", "properties.Item name waits server"]);
  assert.doesNotMatch(JSON.stringify(event), /stable/);
});

test("names in properties wait too", async () => {
  const event = await click("Open", { at: "main>form>button", properties: { "Item name": "Jonas Weber", Color: "Red" } });
  assert.deepEqual([event.element.label, event.properties["Item name"], event.properties.Color], ["Open", undefined, "Red"]);
  assert.deepEqual(receipts(event), ["properties.Item name waits server"]);
});

test("the privacy report says what was withheld, and none of the texts", async () => {
  const report = JSON.parse(site.ok("privacy", "report", "shop", "--json"));
  const items = (field, rule) => report.find((line) => line.field === field && line.rule === rule && line.by === "server")?.items;
  const told = events().flatMap((event) => event.withheld ?? []);
  for (const [field, rule] of [["element.label", "waits"], ["element.label", "private_place"], ["element.label", "varies"]]) {
    assert.equal(items(field, rule), told.filter((receipt) => receipt.field === field && receipt.rule === rule).length, `${field} ${rule}`);
  }
  assert.equal(items("properties", "waits"), 2);
  const text = site.ok("privacy", "report", "shop");
  assert.match(text, /^week of +field +rule +by +times\n\d{4}-\d\d-\d\d +element\.label +waits +server +\d+$/m);
  assert.doesNotMatch(text, /Rosa|Maria|Jonas/);
});

test("it is counted, and holds after a restart", async () => {
  const metrics = await running.metrics();
  const count = (what) => metrics.get(`convizit_crowd_texts_total{what="${what}"}`);
  assert.ok(count("waiting") >= 5 && count("released") === 1 && count("dynamic") === 1, JSON.stringify([...metrics].filter(([name]) => name.includes("crowd"))));
  await running.stop();
  running = await site.serve();
  assert.equal((await click("Rosa Winterfeld", { at: "main>section>button" })).element.label, "Rosa Winterfeld");
  assert.equal((await click("Settings", { at: "main>aside>button" })).element.label, "");
});
