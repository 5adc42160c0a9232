// What is not captured, by clicks in the console: a selector is tried and excluded, a group switched off, and nothing of them comes any more.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { looker } from "./look.mjs";
import { administratorIn } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { Site } from "./site.mjs";

let [site, running, browser, page, shop, origin] = [];
/** What is wrong with a page's looks: said at the end, so that one run shows all. */
let [look, problems] = [];

before(async () => {
  shop = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(shown()));
  await new Promise((done) => shop.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${shop.address().port}`;
  site = await Site.make({ origin, sections: { collector: "" } });
  site.ok("settings", "set", "shop", "filter_bots", "false");
  site.ok("settings", "set", "shop", "events", '["click"]');
  running = await site.serve();
  browser = await startBrowser();
  page = await browser.context.newPage();
  ({ look, problems } = looker(page, "capture"));
});

after(async () => {
  if (problems?.length) console.log(problems.join("\n"));
  await browser?.stop();
  await new Promise((done) => (shop ? shop.close(done) : done()));
  shop?.closeAllConnections();
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

function shown() {
  const snippet = readFileSync(path.resolve(import.meta.dirname, "../../tracker/dist/snippet.html"), "utf8");
  const cards = ["Trail shoe", "Rain jacket", "Wool hat"].map((name) => `<li><article><h2>${name}</h2><p>89.90 €</p><button>Add to cart</button></article></li>`);
  return `<!doctype html><html lang="en"><head><title>Shop</title>${snippet.trim().replaceAll("{{origin}}", site.collector).replaceAll("{{key}}", site.key)}</head>
    <body><main><h1>Shoes</h1><ul>${cards.join("")}</ul><section><h2>Help</h2><button class="private">Download invoice</button> <button class="chat">Ask a person</button></section></main></body></html>`;
}

const open = (where) => page.goto(`${site.console}${where}`);

/** How many of the newest events have each name. */
async function stored() {
  await open("/p/shop/samples");
  const names = await page.locator("tbody th").allTextContents();
  return (text) => names.filter((name) => name.includes(text)).length;
}

/** A visit in which each button is clicked once; it is over when the last click is stored. */
async function visit() {
  const before = (await stored())("Ask a person");
  const visitor = await browser.context.newPage();
  // With a cached script the first clicks of a visit would be withheld: its settings are older than the exclusions.
  const session = await browser.context.newCDPSession(visitor);
  await session.send("Network.enable");
  await session.send("Network.setCacheDisabled", { cacheDisabled: true });
  await visitor.goto(origin);
  for (const text of ["Download invoice", "Add to cart", "Ask a person"]) await visitor.locator(`text=${text}`).first().click();
  await visitor.close();
  await until("the visit is stored", async () => (await stored())("Ask a person") > before);
}

test("a selector and a group are taken out by clicks, and nothing of them is stored any more", { timeout: 240_000 }, async () => {
  await administratorIn(page, running);
  await open("/p/shop/exclusions");
  await look("01-nothing-excluded", { dark: true });
  await visit();
  const first = await stored();
  assert.deepEqual(["Download invoice", "Add to cart", "Ask a person"].map(first), [1, 1, 1]);

  // What was read of a project is shown for up to two seconds.
  await until("the controls are known", async () => {
    await open("/p/shop/exclusions");
    return (await page.locator("button[role=switch]").count()) > 0;
  });
  await page.fill("#selector", ".private:::x");
  await page.press("#selector", "Enter");
  await page.locator("#wrong-selector").waitFor();
  await look("02-selector-refused", { dark: true });
  await page.fill("#selector", ".private");
  await page.press("#selector", "Enter");
  await page.locator(".tried h3").filter({ hasText: "takes out 1 of" }).waitFor();
  assert.match(await page.locator(".tried tbody").textContent(), /Download invoice/);
  await look("03-selector-tried", { dark: true });
  await page.click("button:has-text('Exclude .private')");
  await page.locator(".said.good").waitFor();
  await page.click("button[role=switch] >> nth=0");
  await page.locator("text=Its events are no longer kept").waitFor();
  await look("04-excluded", { dark: true });

  // Of a visitor whose settings are older, what they do not know is withheld.
  await until("the exclusion is published", async () => (await (await fetch(`${site.collector}/t/${site.key}.json`)).text()).includes(".private"));
  await visit();
  const second = await stored();
  assert.deepEqual(["Download invoice", "Add to cart", "Ask a person"].map(second), [1, 1, 2], "of what is excluded nothing more");

  await open("/p/shop/groups");
  await look("05-groups", { dark: true });
  await page.click("tbody th a >> nth=0");
  await page.locator("text=no longer captured").waitFor();
  await look("06-group", { dark: true });
  await page.click("button:has-text('Undo')");
  await page.locator(".said.good").waitFor();
  // It holds within two seconds.
  await new Promise((done) => setTimeout(done, 2500));
  await visit();
  const third = await stored();
  assert.deepEqual(["Download invoice", "Add to cart", "Ask a person"].map(third), [1, 2, 3], "the group is back");

  await open("/p/shop/exclusions?path=%2F*");
  await look("07-path-tried", { dark: true });
  await open("/p/shop/events");
  await look("08-events", { dark: true });
  await page.click("a:has-text('Ask a person')");
  await page.click("a:has-text('Merge with another')");
  await look("09-merge", { dark: true });
  await page.click("a:has-text('See what it does') >> nth=0");
  await page.locator("text=New events are called").waitFor();
  await look("10-merge-preview", { dark: true });
  await page.click("button:has-text('Merge')");
  await page.locator(".said.good").waitFor();
  await look("11-merged", { dark: true });
  await open("/p/shop");
  await look("12-overview", { dark: true });
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
});
