// A newcomer's journey in at most three minutes, as one would go it: from the link that `convizit serve` prints to the demo shop's events
// under names of one's own at a webhook, and a colleague who looks on. Each step leaves its pictures in test-output/journey.
//   PICTURES=1 puts those that the documents show into docs/pictures.
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { looker, openOverlay } from "./look.mjs";
import { administratorIn } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { startReceiver } from "./receiver.mjs";
import { startShop } from "./shop.mjs";
import { CHROME, Site, pause } from "./site.mjs";

const SECONDS = 180;
const SHOWN = { "07-first-event": "console-first-event", "08-overview": "console-overview", "10-event": "console-event", "17-menu-out": "customizer-group" };
let [site, running, shop, receiver, desk, street, page, visitor, look, problems, pictures] = [];
const requests = [];
const complaints = [];

before(async () => {
  site = await Site.make({ project: null, sections: { collector: "", delivery: 'allow_networks = ["127.0.0.0/8"]' } });
  [shop, receiver] = [await startShop(), await startReceiver()];
  running = await site.serve();
  // Two browsers: whoever sees to the console, and the visitors, who are people by what their browser says.
  [desk, street] = [await startBrowser(), await startBrowser(`--user-agent=${CHROME}`)];
  await openOverlay(desk.context);
  await desk.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  [page, visitor] = [await desk.context.newPage(), await street.context.newPage()];
  for (const one of [page, visitor]) await one.setViewportSize({ width: 1440, height: 900 });
  ({ look, problems, pictures } = looker(page, "journey"));
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
});

after(async () => {
  if (problems?.length) console.log(problems.join("\n"));
  await desk?.stop();
  await street?.stop();
  await shop?.stop();
  if (running) assert.equal(await running.stop(), 0, running.log);
  receiver?.stop();
  site?.remove();
});

const tab = (name) => page.click(`.tabs a:has-text("${name}")`);
/** Loads the page again until it holds what is looked for. */
const comes = (what, check) => until(what, async () => (await check()) || (await page.reload(), false));
/** How many events have this name, by the console. */
const count = async (name) => {
  await page.goto(`${site.console}/p/shop/events`);
  const row = page.locator("tbody tr").filter({ has: page.locator("th a", { hasText: new RegExp(`^${name}$`) }) });
  return (await row.count()) === 0 ? 0 : Number(await row.locator("td.number").textContent());
};
/** A visitor goes by the menu and comes back to put something into the cart. */
const visit = async (entry, product) => {
  await visitor.locator("nav[aria-label=Main] a", { hasText: entry }).click();
  await visitor.waitForURL(`**${{ Help: "/help", Search: "/search", "Log in": "/login" }[entry]}`);
  await visitor.goto(shop.origin);
  await visitor.locator(`[data-product=${product}] .add-to-cart`).click();
};

test("from the printed link to named events at a webhook, and a colleague who looks on", { timeout: 2 * SECONDS * 1000 }, async () => {
  const began = performance.now();
  let last = began;
  const times = [];
  const step = (name) => {
    const now = performance.now();
    times.push(`${name} ${((now - last) / 1000).toFixed(1)} s`);
    last = now;
  };

  const names = { welcome: "01-welcome", "second-factor": "02-second-factor", "recovery-codes": "03-recovery-codes" };
  await administratorIn(page, running, (name) => look(names[name], { dark: true }));
  step("first administrator");

  await page.click("text=I have them");
  await look("04-no-project");
  await page.click("text=New project");
  await page.fill("#id", "shop");
  await page.fill("#origins", shop.origin);
  await look("05-new-project");
  await page.click("text=Make the project");
  await page.waitForURL("**/p/shop/start");
  await page.locator("text=Waiting for your first event").waitFor();
  await look("06-snippet", { dark: true });
  step("project");

  await page.click("button[data-copy=snippet]");
  shop.snippet = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(shop.snippet, /^<script>.*<\/script>$/);
  await page.evaluate(() => { window.untouched = true; });
  await visitor.goto(shop.origin);
  const clicked = Date.now();
  const card = visitor.locator("[data-product=trail-shoe]");
  await card.locator("input[aria-label=Red]").click();
  await card.locator(".add-to-cart").click();
  await page.locator("text=It works").waitFor();
  console.log(`the first event shows ${Date.now() - clicked} ms after the click`);
  await page.locator("a:text-is('Add to cart')").waitFor();
  assert.ok(await page.evaluate(() => window.untouched), "the page came alive by itself");
  await look("07-first-event", { dark: true });
  step("snippet and first event");

  await visit("Help", "camp-mug");
  await page.click("text=To the overview");
  const tiles = page.locator(".tile strong");
  await comes("the overview has all that came", async () => Number(await tiles.nth(2).textContent()) > 5 && (await tiles.nth(0).textContent()) === (await tiles.nth(1).textContent()));
  await look("08-overview", { dark: true });
  await until("all clicks are counted", async () => (await count("Add to cart")) === 2);
  await look("09-events", { dark: true });
  await page.click("a:text-is('Add to cart')");
  const properties = await page.locator("[aria-labelledby=properties] tr").allTextContents();
  assert.ok(properties.some((row) => /Product name.*Trail shoe/.test(row)) && properties.some((row) => /Selected color.*Red/.test(row)), properties.join("\n"));
  await look("10-event", { dark: true });
  step("look around");

  await page.fill("#text", "Put into the basket");
  await page.click("button:has-text('Rename')");
  await page.locator(".said.good").waitFor();
  await comes("the new name", async () => (await page.locator("h1").textContent()) === "Put into the basket");
  await look("11-renamed", { dark: true });
  await tab("Samples");
  await page.locator("th:text-is('Add to cart')").first().waitFor();
  await page.evaluate(() => { window.untouched = true; });
  await visitor.locator("[data-product=wool-beanie] .add-to-cart").click();
  const row = page.locator("tr", { has: page.locator("th:text-is('Put into the basket')") });
  await row.waitFor();
  assert.match(await row.textContent(), /Wool beanie/i);
  assert.ok(await page.evaluate(() => window.untouched), "the live stream shows it by itself");
  assert.equal(await page.locator("th:text-is('Add to cart')").count(), 2, "past events keep their name");
  await look("12-live-with-new-name", { dark: true });
  step("rename");

  await tab("On the site");
  await look("13-on-the-site");
  await page.click("button:has-text('Open on the site')");
  await page.locator("#open-link").waitFor();
  await look("14-link-to-the-site");
  const [live] = await Promise.all([desk.context.waitForEvent("page"), page.click("#open-link")]);
  await live.setViewportSize({ width: 1440, height: 900 });
  const overlay = live.locator("convizit-customizer");
  await until("the controls are named", async () => (await overlay.locator(".box").count()) > 5 && (await overlay.locator(".box.wait").count()) === 0);
  await look("15-overlay", { on: live, read: false });
  const menu = live.locator("nav[aria-label=Main] a");
  await menu.nth(1).hover({ force: true });
  await overlay.locator(".tip:visible").waitFor();
  await menu.nth(1).click({ force: true });
  await overlay.locator("[aria-label='Its whole group']").waitFor();
  const excluded = await overlay.locator("h2").textContent();
  await look("16-menu-item-chosen", { on: live, read: false });
  await overlay.locator("[aria-label='Its whole group'] button", { hasText: "Not captured" }).click();
  const entries = await menu.count();
  await until("the whole menu is marked", async () => (await overlay.locator(".box.off").count()) === entries);
  assert.equal(new URL(live.url()).pathname, "/", "the page's own click was kept from it");
  await look("17-menu-out", { on: live, read: false });
  await page.bringToFront();
  await page.click("a:has-text('look at the drafts')");
  await page.locator("ins:has-text('not captured')").waitFor();
  await look("18-draft", { dark: true });
  const menuEvents = await count(excluded);
  assert.equal(menuEvents, 1, `the visitor's click on the menu was “${excluded}”`);
  await tab("On the site");
  await page.locator(".drafts").getByRole("button", { name: "Publish" }).click();
  await page.locator("text=Nothing waits").waitFor();
  await look("19-published");
  // It holds within two seconds.
  await pause(2000);
  const baskets = await count("Put into the basket");
  await visit("Search", "camp-mug");
  await until("the next click is counted", async () => (await count("Put into the basket")) === baskets + 1);
  assert.equal(await count(excluded), menuEvents, "the menu is out");
  step("exclude a group");

  await tab("Destinations");
  await look("20-no-destination");
  await page.click("main >> text=Add a destination");
  await page.fill("#name", "hook");
  await page.fill("#url", receiver.url);
  await page.check("input[name=own]");
  await look("21-add-webhook");
  await page.click("text=Check and add");
  receiver.secret = await page.locator("#secret").textContent();
  await look("22-webhook-secret");
  await page.click("button:has-text('Send a test event')");
  await page.locator(".said.good:has-text('The receiver took the event')").waitFor();
  assert.ok(receiver.events.some((event) => event.name === "Convizit test event"));
  await look("23-webhook-tested");
  // What came while it did not know the secret comes again.
  receiver.unsigned = 0;
  await visit("Log in", "trail-shoe");
  const event = await until("the named event at the webhook", () => receiver.events.find((one) => one.name === "Put into the basket"));
  assert.deepEqual([event.project, event.type, event.page.path, event.properties["Product name"]], ["shop", "click", "/", "Trail shoe"]);
  assert.ok(event.group.length > event.group.position, JSON.stringify(event.group));
  await until("the page that it was done on", () => receiver.events.some((one) => one.type === "page_view" && one.page.path === "/login"));
  assert.equal(receiver.events.filter((one) => one.name === excluded).length, 0, "nothing of the menu is delivered");
  assert.equal(receiver.unsigned, 0);
  await tab("Destinations");
  await look("24-destinations");
  await page.click("h2 a:text-is('hook')");
  await comes("it is counted", async () => /^[1-9]/.test(await page.locator("#rate").textContent()));
  await look("25-webhook-at-work", { dark: true });
  step("webhook");

  await tab("Members");
  await look("26-members", { dark: true });
  await page.fill("#email", "vera@shop.example");
  await page.selectOption("#role", "viewer");
  await page.click("button:has-text('Invite')");
  const link = await page.locator("#link").textContent();
  await look("27-invited", { dark: true });

  const vera = await street.context.newPage();
  await vera.setViewportSize({ width: 1440, height: 900 });
  await vera.goto(link);
  await look("28-welcome-of-viewer", { on: vera });
  await vera.fill("#name", "Vera Viewer");
  await vera.fill("#password", "seven brass kettles sing low");
  await vera.click("text=Make the account");
  await vera.waitForURL("**/projects");
  await look("29-projects-of-viewer", { on: vera });
  await vera.click("main a:has-text('shop')");
  await vera.locator("h1:has-text('shop')").waitFor();
  await look("30-overview-of-viewer", { on: vera });
  await vera.click(".tabs a:has-text('Events')");
  await vera.click("a:has-text('Put into the basket')");
  await vera.locator("text=your role does not show them").waitFor();
  assert.equal(await vera.locator("button:has-text('Rename')").count(), 0);
  await look("31-event-of-viewer", { on: vera });
  const tabs = await vera.locator(".tabs a").evaluateAll((links) => links.map((one) => [one.textContent.trim(), one.href]));
  const shown = tabs.map(([name]) => name);
  assert.ok(shown.includes("Groups") && !["Samples", "On the site", "Audit log"].some((name) => shown.includes(name)), shown.join(", "));
  for (const [name, where] of [...tabs, ["the event", vera.url()], ["the webhook", `${site.console}/p/shop/destinations/hook`]]) {
    await vera.goto(where);
    const text = await vera.locator("main").textContent();
    assert.ok(text.length > 50 && !/Trail shoe|Camp mug|Wool beanie/i.test(text), `a Viewer sees a sample on ${name}`);
  }
  assert.equal((await vera.goto(`${site.console}/p/shop/samples`)).status(), 403);
  await look("32-no-samples-for-viewer", { on: vera });
  step("a Viewer");

  const seconds = (performance.now() - began) / 1000;
  console.log(`the journey took ${seconds.toFixed(0)} of ${SECONDS} s: ${times.join(", ")}`);
  assert.deepEqual(requests.filter((url) => !url.startsWith(site.console) && !url.startsWith("data:")), [], "the console asks nobody else");
  assert.deepEqual(complaints, [], "no script failed and the policy refused nothing");
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
  assert.ok(seconds <= SECONDS, `the journey took ${seconds.toFixed(0)} s`);
  if (process.env.PICTURES) {
    for (const [from, to] of Object.entries(SHOWN)) copyFileSync(path.join(pictures, `${from}-wide.png`), path.resolve(import.meta.dirname, `../../docs/pictures/${to}.png`));
  }
});
