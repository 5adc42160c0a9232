// From the console to the live shop and back: see what a click is called, rename it, take one control out, publish, and see new
// events carry it; and what a site's Content-Security-Policy makes of it. journey.test.mjs takes a whole group out. Pictures are left in
// test-output/customizer.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { looker, openOverlay } from "./look.mjs";
import { startBrowser, startDemo, until } from "./product.mjs";

let [demo, browser, console_, shop, look, problems] = [];

before(async () => {
  demo = await startDemo("--json");
  // A document that the test answers has no address, and Chromium lets such a one ask nothing of loopback.
  browser = await startBrowser("--disable-features=LocalNetworkAccessChecks");
  await openOverlay(browser.context);
  console_ = await browser.context.newPage();
  ({ look, problems } = looker(console_, "customizer"));
});

after(async () => {
  if (problems?.length) console.log(problems.join("\n"));
  await browser?.stop();
  if (demo) {
    assert.equal(await demo.stop(), 0, demo.printed());
    demo.remove();
  }
});

const named = (name) => demo.events().filter((event) => event.name === name);
const at = (where) => new URL(where, demo.console).href;

/** The shop in a tab of its own, as the console's link opens it. */
async function openSite() {
  await console_.goto(at("/p/shop/customizer"));
  await console_.click("button:has-text('Open on the site')");
  await console_.locator("#open-link").waitFor();
  const [page] = await Promise.all([browser.context.waitForEvent("page"), console_.click("#open-link")]);
  return page;
}

test("a name and a control are changed on the site, published in the console, and new events carry it", { timeout: 120_000 }, async () => {
  const visitor = await browser.context.newPage();
  await visitor.goto(demo.shop);
  await visitor.locator(".add-to-cart").first().click();
  await visitor.locator("nav[aria-label=Main] a:has-text('Help')").click();
  const first = await until("the first events", () => named("Add to cart")[0]);
  const menu = await until("the menu's event", () => demo.events().find((event) => event.type === "click" && event.properties["Item name"] === "Help"));

  await console_.goto(/signed in\s+(http:\S+)/.exec(demo.printed())[1]);
  await console_.goto(at("/p/shop/customizer"));
  await look("01-console", { dark: true });
  shop = await openSite();
  const overlay = shop.locator("convizit-customizer");
  await overlay.locator(".legend").waitFor();
  assert.equal(new URL(shop.url()).hash, "", "the token has left the address");
  await console_.locator("text=The overlay is on the site").waitFor({ timeout: 10_000 });
  await look("02-opened", { dark: true });

  await shop.bringToFront();
  await until("the controls are named", async () => (await overlay.locator(".box.wait").count()) === 0);
  const button = await shop.locator(".add-to-cart").nth(1).boundingBox();
  await shop.mouse.move(button.x + 8, button.y + 8);
  await until("the tip", async () => /^Add to cart/.test(await overlay.locator(".tip").textContent()));
  await look("03-pointing", { on: shop, narrow: false, read: false });
  await shop.mouse.click(button.x + 8, button.y + 8);
  assert.match(await overlay.locator("table").textContent(), /Product name/);
  await overlay.locator("#name").fill("Put into basket");
  await overlay.locator("#name").press("Enter");
  await overlay.locator(".said", { hasText: "Saved as a draft" }).waitFor();
  await look("04-renamed", { on: shop, read: false });

  const link = await shop.locator("nav[aria-label=Main] a:has-text('Search')").boundingBox();
  await shop.mouse.click(link.x + 4, link.y + 4);
  await until("the menu item is chosen", async () => (await overlay.locator("h2").textContent()) === menu.name);
  await overlay.locator("[aria-label='This control'] button", { hasText: "Not captured" }).click();
  await overlay.locator(".box.off").first().waitFor();
  await look("05-control-out", { on: shop, read: false });
  assert.equal(new URL(shop.url()).pathname, "/", "the page's own click was kept from it");

  await console_.bringToFront();
  await console_.goto(at("/p/shop/customizer"));
  await console_.locator("ins:has-text('Put into basket')").waitFor();
  await look("06-drafts", { dark: true });
  assert.equal(named("Put into basket").length, 0, "a draft changes nothing");
  await console_.click("button:has-text('Publish all 2')");
  await console_.locator(".said.good").waitFor();
  await console_.locator("text=Nothing waits").waitFor();

  await visitor.bringToFront();
  await visitor.goto(demo.shop);
  const before = demo.events().filter((event) => event.name === menu.name).length;
  const renamed = await until("an event with the new name", async () => {
    await visitor.locator(".add-to-cart").first().click();
    await new Promise((done) => setTimeout(done, 700));
    return named("Put into basket")[0];
  });
  assert.equal(renamed.element.id, first.element.id, "the same control");
  await visitor.locator("nav[aria-label=Main] a:has-text('Search')").click();
  await visitor.waitForURL("**/search");
  const count = named("Put into basket").length;
  await visitor.goto(demo.shop);
  await visitor.locator(".add-to-cart").first().click();
  await until("the next event", () => named("Put into basket").length > count);
  assert.equal(demo.events().filter((event) => event.name === menu.name).length, before, "the control is out");

  // The token is dead with the sign-in.
  await console_.bringToFront();
  await console_.click("text=Sign out");
  await shop.bringToFront();
  await overlay.locator("button", { hasText: /^Back$/ }).click();
  const other = await shop.locator(".add-to-cart").nth(2).boundingBox();
  await shop.mouse.click(other.x + 8, other.y + 8);
  await overlay.locator("#name").fill("Too late");
  await overlay.locator("#name").press("Enter");
  await overlay.locator(".said.bad", { hasText: "signed out" }).waitFor();
});

test("a policy with the collector works, and of one without it the console says what to add", { timeout: 90_000 }, async () => {
  await console_.goto(/signed in\s+(http:\S+)/.exec(demo.printed())[1]);
  const collector = new URL(demo.collector).origin;
  let policy = `default-src 'none'; script-src 'self' ${collector}; connect-src 'self' ${collector}; style-src 'self'; img-src 'self' data:`;
  await browser.context.route((url) => url.origin === new URL(demo.shop).origin, async (route) => {
    if (route.request().resourceType() !== "document") return route.continue();
    const answer = await route.fetch();
    // A site with such a policy loads the tracker by its address.
    const body = (await answer.text()).replace(/<script>[^<]*convizit[^<]*<\/script>/, (inline) => `<script async src="${/https?:[^"']+\.js/.exec(inline)[0]}"></script>`);
    await route.fulfill({ response: answer, body, headers: { ...answer.headers(), "content-security-policy": policy } });
  });
  const page = await openSite();
  await page.locator("convizit-customizer .legend").waitFor();
  assert.equal(await page.locator("convizit-customizer .panel").evaluate((el) => getComputedStyle(el).position), "fixed");
  await until("the controls are named", async () => (await page.locator("convizit-customizer .box").count()) > 5 && (await page.locator("convizit-customizer .box.wait").count()) === 0);
  await look("07-strict-policy", { on: page, narrow: false, read: false });
  await page.close();

  policy = "script-src 'self'";
  const blocked = await openSite();
  await blocked.locator("h1").waitFor();
  await console_.bringToFront();
  await console_.locator("text=The site has not answered yet").waitFor({ timeout: 25_000 });
  assert.match(await console_.locator("[data-refresh]").textContent(), new RegExp(`${collector}.*script-src`, "s"));
  await look("08-not-answered", { dark: true });
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
  assert.equal(await blocked.locator("convizit-customizer").count(), 0);
});
