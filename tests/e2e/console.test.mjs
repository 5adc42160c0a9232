// The console's pages in a real browser, of a project without events and with some, and with what was refused; journey.test.mjs goes a newcomer's way.
// Pictures are left in test-output/console, wide and narrow, light and dark; every page is read by axe.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { looker } from "./look.mjs";
import { administratorIn, firstLink } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { startShop } from "./shop.mjs";
import { Site } from "./site.mjs";

let [site, running, browser, page, shop] = [];
const requests = [];
const complaints = [];
/** What is wrong with a page's looks: said at the end, so that one run shows all. */
let [look, problems] = [];

before(async () => {
  site = await Site.make({ project: null, sections: { collector: "" } });
  shop = await startShop();
  running = await site.serve();
  browser = await startBrowser();
  page = await browser.context.newPage();
  ({ look, problems } = looker(page, "console"));
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
});

after(async () => {
  if (problems?.length) console.log(problems.join("\n"));
  await browser?.stop();
  await shop?.stop();
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

const at = (where) => `${site.console}${where}`;
const looks = async (pages, options) => {
  for (const [name, where] of Object.entries(pages)) {
    await page.goto(at(where));
    await look(name, options);
  }
};

test("every page fits, empty and with events, and a form that is refused says why and keeps what was typed", { timeout: 180_000 }, async () => {
  await looks({ "01-sign-in-without-account": "/" });
  await page.goto(await firstLink(running));
  await page.fill("#email", "ada@shop.example");
  await page.fill("#name", "Ada Lovelace");
  await page.fill("#password", "passwordpassword");
  await page.click("text=Make the account");
  await page.locator(".wrong").waitFor();
  await look("02-welcome-refused");
  assert.equal(await page.inputValue("#name"), "Ada Lovelace");
  await administratorIn(page, running);

  await page.goto(at("/projects/new"));
  await page.fill("#id", "My Shop");
  await page.fill("#origins", shop.origin);
  await page.click("text=Make the project");
  await page.locator(".wrong").waitFor();
  await look("03-project-refused");
  await page.fill("#id", "shop");
  await page.click("text=Make the project");
  await page.waitForURL("**/p/shop/start");
  const snippet = await page.locator("#snippet").textContent();

  await looks({ "04-no-events": "/p/shop/events", "05-no-groups": "/p/shop/groups", "06-no-exclusions": "/p/shop/exclusions", "07-no-samples": "/p/shop/samples", "08-projects-waiting": "/projects" });

  // A browser that a program drives is a bot: the page says what became of its events, and where to change that.
  shop.snippet = snippet;
  const visitor = await browser.context.newPage();
  await visitor.goto(shop.origin);
  await visitor.locator(".add-to-cart").first().click();
  await page.bringToFront();
  await page.goto(at("/p/shop/start"));
  await page.locator("text=filtered.bot").waitFor({ timeout: 20_000 });
  await look("09-not-stored");
  await page.goto(at("/p/shop/settings"));
  await page.uncheck("input[name=filter_bots]");
  await page.click("button:has-text('Save')");
  await page.locator(".said.good").waitFor();
  await visitor.bringToFront();
  await until("an event is stored", async () => {
    await visitor.locator(".add-to-cart").nth(1).click();
    await new Promise((done) => setTimeout(done, 500));
    return ((await running.metrics()).get('convizit_items_total{project="shop",outcome="accepted"}') ?? 0) > 0;
  });
  await page.bringToFront();

  await looks({
    "10-samples": "/p/shop/samples", "11-groups": "/p/shop/groups", "12-privacy": "/p/shop/privacy", "13-settings": "/p/shop/settings", "14-audit": "/p/shop/audit", "15-system": "/system",
    "16-account": "/account", "17-projects": "/projects", "18-notices": "/p/shop/notices", "19-channels": "/p/shop/notices/channels", "20-all-notices": "/notices", "21-incidents": "/incidents",
  }, { dark: true });
  await looks({ "22-not-found": "/p/nothing", "23-no-event-like-it": "/p/shop/events?like=zebra" });

  assert.deepEqual(requests.filter((url) => !url.startsWith(site.console) && !url.startsWith("data:")), [], "the console asks nobody else");
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
  assert.deepEqual(complaints.filter((text) => !/404|422/.test(text)), [], "no script failed and the policy refused nothing");
});
