// A newcomer's way in a real browser: first administrator's link, second factor, project, snippet, first event, rename, invitation.
// Each step leaves pictures in test-output/console, wide and narrow, light and dark; every page is read by axe.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { looker } from "./look.mjs";
import { firstLink, totp } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { Site } from "./site.mjs";

let [site, running, browser, page, shop, shown] = [];
const requests = [];
const complaints = [];
/** What is wrong with a page's looks: said at the end, so that one run shows all. */
let [look, problems] = [];

before(async () => {
  site = await Site.make({ project: null, sections: { collector: "" } });
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
  await new Promise((done) => (shop ? shop.close(done) : done()));
  shop?.closeAllConnections();
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

const at = (where) => `${site.console}${where}`;

test("a newcomer comes from the printed link to a named event, and brings somebody along", { timeout: 180_000 }, async () => {
  await page.goto(at("/"));
  await look("01-sign-in-without-account");

  await page.goto(await firstLink(running));
  await look("02-welcome", { dark: true });
  await page.fill("#email", "ada@shop.example");
  await page.fill("#name", "Ada Lovelace");
  await page.fill("#password", "passwordpassword");
  await page.click("text=Make the account");
  await page.locator(".wrong").waitFor();
  await look("03-welcome-refused");
  assert.equal(await page.inputValue("#name"), "Ada Lovelace");
  await page.fill("#password", "copper lantern walks uphill");
  await page.click("text=Make the account");

  await page.waitForURL("**/account/second-factor");
  await look("04-second-factor", { dark: true });
  const secret = await page.inputValue("input[name=secret]");
  await page.fill("#code", totp(secret));
  await page.click("text=Set it up");
  await page.locator(".codes li").nth(9).waitFor();
  await look("05-recovery-codes");
  await page.click("text=I have them");
  await look("06-no-project");

  await page.click("text=New project");
  await page.fill("#id", "My Shop");
  await page.fill("#origins", "http://127.0.0.1");
  await page.click("text=Make the project");
  await page.locator(".wrong").waitFor();
  await look("07-project-refused");

  shop = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(shown ?? ""));
  await new Promise((done) => shop.listen(0, "127.0.0.1", done));
  const origin = `http://127.0.0.1:${shop.address().port}`;
  await page.fill("#id", "shop");
  await page.fill("#origins", `${origin}/`);
  await page.click("text=Make the project");
  await page.waitForURL("**/p/shop/start");
  await page.locator("text=Waiting for your first event").waitFor();
  await look("08-snippet", { dark: true });

  const snippet = await page.locator("#snippet").textContent();
  shown = `<!doctype html><html lang="en"><head><title>Shop</title>${snippet}</head><body><main><h1>Shoes</h1><ul>${["Trail shoe", "Rain jacket", "Wool hat"].map((name) => `<li><article><h2>${name}</h2><p>89.90 €</p><button>Add to cart</button></article></li>`).join("")}</ul><a href="#sizes">Size chart</a></main></body></html>`;
  const visitor = await browser.context.newPage();
  await visitor.goto(origin);
  await visitor.locator("text=Add to cart").first().click();
  await page.bringToFront();
  // A browser that a program drives is a bot: the page says what became of its events, and where to change that.
  await page.locator("text=filtered.bot").waitFor({ timeout: 20_000 });
  await look("09-not-stored", { narrow: false });
  await page.goto(at("/p/shop/settings"));
  await page.uncheck("input[name=filter_bots]");
  await page.click("button:has-text('Save')");
  await page.locator(".said.good").waitFor();
  await page.goto(at("/p/shop/start"));
  await visitor.bringToFront();
  const clicked = Date.now();
  await visitor.locator("text=Add to cart").nth(1).click();
  await visitor.locator("text=Size chart").click();
  await page.bringToFront();
  await page.locator("text=It works").waitFor({ timeout: 20_000 });
  console.log(`the first event shows ${Date.now() - clicked} ms after the click`);
  await look("09-first-event");

  await page.goto(at("/p/shop"));
  await until("the overview has the events", async () => Number(await page.locator(".tile strong").first().textContent()) >= 2 || (await page.reload(), false));
  await look("10-overview", { dark: true });
  await page.click("text=Events >> nth=0");
  await until("the name is there", async () => await page.locator("text=Add to cart").count() > 0 || (await page.reload(), false));
  await look("11-events", { dark: true });
  await page.click("a:has-text('Add to cart')");
  await page.locator("text=Rain jacket").first().waitFor();
  await look("12-event");
  await page.fill("#text", "Put into the basket");
  await page.click("button:has-text('Rename')");
  await page.locator(".said.good").waitFor();
  await until("the new name", async () => (await page.locator("h1").textContent()) === "Put into the basket" || (await page.reload(), false));
  await look("13-event-renamed", { dark: true });

  await page.goto(at("/p/shop/members"));
  await page.fill("#email", "vera@shop.example");
  await page.selectOption("#role", "viewer");
  await page.click("button:has-text('Invite')");
  const link = await page.locator("#link").textContent();
  await look("14-members", { dark: true });

  for (const [name, where] of [["15-samples", "/p/shop/samples"], ["15-destinations", "/p/shop/destinations"], ["16-privacy", "/p/shop/privacy"], ["17-settings", "/p/shop/settings"], ["18-audit", "/p/shop/audit"], ["19-system", "/system"], ["20-account", "/account"], ["21-projects", "/projects"], ["22-not-found", "/p/nothing"], ["23-notices", "/p/shop/notices"], ["24-channels", "/p/shop/notices/channels"], ["25-all-notices", "/notices"], ["26-incidents", "/incidents"]]) {
    await page.goto(at(where));
    await look(name, { dark: name !== "22-not-found" });
  }
  complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes("404") && !text.includes("422")));

  await page.goto(at("/account"));
  await page.click("text=Sign out");
  await page.goto(link);
  await page.fill("#name", "Vera Viewer");
  await page.fill("#password", "seven brass kettles sing low");
  await page.click("text=Make the account");
  await page.waitForURL("**/projects");
  await page.click("a:has-text('shop')");
  await page.locator("h1:has-text('shop')").waitFor();
  assert.equal(await page.locator("text=Audit log").count(), 0, "a Viewer has no audit log");
  await page.click("text=Events >> nth=0");
  await page.click("a:has-text('Put into the basket')");
  await page.locator("text=your role does not show them").waitFor();
  assert.equal(await page.locator("text=Rain jacket").count(), 0, "a Viewer sees no example");
  assert.equal(await page.locator("button:has-text('Rename')").count(), 0);
  await look("23-event-of-viewer");

  const foreign = requests.filter((url) => !url.startsWith(site.console) && !url.startsWith("data:"));
  assert.deepEqual(foreign, [], "the console asks nobody else");
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
  assert.deepEqual(complaints, [], "no script failed and the policy refused nothing");
});
