// From a click in a real browser to a named event at four destinations: terminal, file, verified webhook, PostgreSQL.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, test } from "node:test";
import { eventsIn, files, startBrowser, startDemo, startPostgres, until } from "./product.mjs";

let postgres;
let demo;
let browser;

before(async () => {
  postgres = await startPostgres();
  demo = await startDemo("--json", "--postgres", postgres.url);
  browser = await startBrowser();
});

after(async () => {
  await browser?.stop();
  if (demo) {
    assert.equal(await demo.stop(), 0, demo.printed());
    demo.remove();
  }
  await postgres?.stop();
});

const find = (check) => until("the event on standard output", () => demo.events().find(check));
const fileEvents = () => eventsIn(path.join(demo.folder, "data", "events.jsonl"));

test("a click on a card is a named, enriched event at every destination", async () => {
  const page = await browser.context.newPage();
  await page.goto(demo.shop);
  const card = page.locator("[data-product=trail-shoe]");
  await card.locator("select").selectOption("2");
  await card.locator("input[aria-label=Red]").click();
  await card.locator(".add-to-cart").click();

  const event = await find((e) => e.name === "Add to cart" && e.type === "click");
  assert.equal(event.properties["Product name"], "Trail shoe");
  assert.equal(event.properties["Product price"], 89.9);
  assert.equal(event.properties["Selected color"], "Red");
  assert.equal(event.properties.Quantity, 2);
  assert.equal(event.group.position, 3);
  assert.equal(event.group.length, 12);
  assert.equal(event.project, "shop");
  assert.equal(event.element.role, "button");
  assert.equal(event.page.path, "/");
  assert.equal(event.device.browser?.startsWith("Chrom") || event.device.browser === "HeadlessChrome", true, event.device.browser);

  await until("the line in the file", () => fileEvents().find((e) => e.id === event.id));
  const row = await until("the row in PostgreSQL", () => {
    try {
      return postgres.query(`select name || '|' || (properties->>'Product name') from convizit.events where id = '${event.id}'`);
    } catch {
      return "";
    }
  });
  assert.equal(row, "Add to cart|Trail shoe");
  const webhook = await until("the webhook verified the signature", async () => {
    const state = await (await fetch(new URL("/state.json", demo.webhook))).json();
    return state.verified > 0 && state.names["Add to cart"] ? state : null;
  });
  assert.equal(webhook.refused, 0);
  await page.close();
});

test("what is typed is nowhere: not in events, not in the database, not in a byte of the data folder", async () => {
  const page = await browser.context.newPage();
  const canaries = [];
  const canary = (kind) => {
    const text = { tel: "+4915159998877", date: "1987-06-05", number: "7" }[kind] ?? `Zx${canaries.length}Quoxcanary`;
    if (kind !== "number") canaries.push(text);
    return text;
  };
  for (const place of ["/login", "/checkout", "/search"]) {
    await page.goto(new URL(place, demo.shop).href);
    for (const field of await page.locator("main form input:not([type=radio],[type=checkbox]), main form textarea").all()) {
      const kind = (await field.getAttribute("type")) ?? "text";
      await field.fill(kind === "email" ? `${canary(kind)}@example.org` : canary(kind));
    }
    if (place === "/checkout") await page.locator("select[name=country]").selectOption("Italy");
    await page.locator("main form button.primary").click();
    await page.locator(".status").filter({ hasText: /\w/ }).waitFor();
  }
  await page.goto(new URL("/privacy", demo.shop).href);
  await page.locator("text=Secret button").click();
  await page.goto(new URL("/checkout", demo.shop).href);
  await page.locator("text=Edit address").click();
  await page.goto(demo.shop);
  await find((e) => e.type === "submit" && e.page.path === "/checkout");
  await page.locator("text=Log in").first().click();
  await find((e) => e.type === "page_view" && e.page.path === "/login" && e.time > new Date(Date.now() - 5000).toISOString());

  const events = JSON.stringify(demo.events());
  const forbidden = [...canaries, "Secret button", "Mustermann", "Heidestra", "Edit address", "Italy"];
  for (const text of forbidden) {
    assert.ok(!events.includes(text), `${text} is in the events`);
    assert.ok(!demo.printed().includes(text), `${text} was printed`);
    assert.equal(postgres.query(`select count(*) from convizit.events e where e::text like '%${text}%'`), "0", `${text} is in PostgreSQL`);
  }
  // The data folder is sealed, so a plain search proves little by itself: the words of captured events must not be there either.
  for (const [file, bytes] of files(path.join(demo.folder, "data"))) {
    for (const text of forbidden) assert.ok(!bytes.includes(text), `${text} is in ${file}`);
    if (!file.endsWith(".jsonl")) assert.ok(!bytes.includes("Trail shoe"), `captured text stands unsealed in ${file}`);
  }
  await page.close();
});

test("a whole visit plays by itself, through shadow root, frame and client-side routes", async () => {
  const page = await browser.context.newPage();
  await page.goto(demo.shop);
  const first = demo.events().length;
  await page.locator("#play").click();
  await page.locator(".play-note", { hasText: "That was the visit" }).waitFor({ timeout: 90_000 });
  const names = () => demo.events().slice(first).map((e) => e.name);
  for (const name of ["Add to cart", "Size chart click", "Go to checkout", "Place order", "Choose this store"]) {
    await until(name, () => names().includes(name)).catch(() => assert.fail(`${name} is missing among ${[...new Set(names())].join(", ")}`));
  }
  const visit = demo.events().slice(first);
  assert.ok(visit.some((e) => e.type === "page_view" && e.page.path === "/app/shoes"), "the client-side route is a page view");
  assert.ok(visit.some((e) => e.element?.label.startsWith("Rate")), "the star inside the shadow root");
  assert.equal(new Set(visit.map((e) => e.session.id)).size, 1, "one session");
  assert.ok(!names().some((name) => /\d|Trail|Mustermann/.test(name)), `a name holds a number or an item's text: ${names()}`);
  await page.close();
});

test("the same event id never comes twice", () => {
  const ids = demo.events().map((e) => e.id);
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(postgres.query("select count(*) - count(distinct id) from convizit.events"), "0");
});

test("ready within a second, addresses on loopback", () => {
  assert.ok(demo.readyMillis < 3000, `ready after ${demo.readyMillis} ms`);
  assert.match(demo.shop, /^http:\/\/localhost:/);
  for (const address of [demo.collector, demo.console, demo.webhook]) assert.match(address, /^http:\/\/127\.0\.0\.1:/);
});

test("the printed link is signed in to the console, and nothing else is", async () => {
  const link = /signed in\s+(http:\/\/\S+)/.exec(demo.printed())[1];
  assert.ok(link.startsWith(`${demo.console}/welcome/`), link);
  const opened = await fetch(link, { redirect: "manual" });
  assert.equal(opened.headers.get("location"), "/p/shop");
  const cookie = opened.headers.get("set-cookie").split(";")[0];
  const page = (headers) => fetch(`${demo.console}/p/shop`, { headers, redirect: "manual" });
  assert.match(await (await page({ cookie })).text(), /Events per hour/);
  assert.match((await page({})).headers.get("location"), /^\/sign-in/);
});
