// Destinations in a real browser: a webhook is refused, held, tried and resumed; what it refuses is sent again; a range is replayed. Then the audit
// log and the deletion of the dataset. Pictures in test-output/destinations; every page is read by axe.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { looker } from "./look.mjs";
import { administratorIn } from "./person.mjs";
import { startBrowser, until } from "./product.mjs";
import { startReceiver } from "./receiver.mjs";
import { Site } from "./site.mjs";

let [site, running, browser, page, hook, look, problems] = [];
const complaints = [];

before(async () => {
  site = await Site.make({ sections: { delivery: 'allow_networks = ["127.0.0.0/8"]' } });
  running = await site.serve();
  hook = await startReceiver();
  browser = await startBrowser();
  page = await browser.context.newPage();
  page.on("console", (message) => { if (message.type() === "error" && !/40[34]|422/.test(message.text())) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  ({ look, problems } = looker(page, "destinations"));
});

after(async () => {
  if (problems?.length) console.log(problems.join("\n"));
  await browser?.stop();
  hook?.stop();
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

const at = (where) => `${site.console}${where}`;
const said = () => page.locator(".said.good").waitFor();
/** Loads the page again until it holds what is looked for. */
const comes = (what, check) => until(what, async () => (await check()) || (await page.reload(), false));

test("what went wrong at a webhook is said and sent again", { timeout: 240_000 }, async () => {
  await administratorIn(page, running);
  await page.goto(at("/p/shop/new-destination?kind=webhook"));
  await page.fill("#name", "hook");
  await page.fill("#url", "http://10.0.0.1/hook");
  await page.click("text=Check and add");
  await page.locator("#wrong-url").waitFor();
  await look("01-refused", { dark: true });
  assert.equal(await page.inputValue("#name"), "hook", "what was typed is kept");
  await page.fill("#url", hook.url);
  await page.check("input[name=hold]");
  await page.click("text=Check and add");
  hook.secret = "whsec_d3Jvbmc=";
  const secret = await page.locator("#secret").textContent();
  await page.locator(".said.warn:has-text('Nothing was sent to it yet')").waitFor();
  await page.click("button:has-text('Send a test event')");
  await page.locator(".said.bad:has-text('does it check the signature')").waitFor();
  await look("02-test-refused", { dark: true });
  hook.secret = secret;
  await page.click("button:has-text('Resume')");
  await page.locator("#wrong-processor").waitFor();
  await page.click("a:has-text('Enter it')");
  await page.fill("#processor", "Hooks Ltd");
  await page.fill("#processor_region", "eu");
  await page.fill("#agreement", "2026-10-01");
  await page.click("text=Check and save");
  await page.locator(".said.warn:has-text('It is still paused: resume it')").waitFor();
  await page.click(".said.warn button:has-text('Resume')");
  await said();

  hook.judge = (events) => (events.some((event) => event.properties?.["Product price"] === 12) ? 422 : 204);
  const batch = site.batch({ events: 5 });
  assert.equal((await site.post(batch)).status, 204);
  await until("the others arrive", () => hook.events.length === 4);
  await page.goto(at("/p/shop/destinations/hook"));
  await comes("the refused one shows", () => page.locator("text=the receiver answered 422").count());
  assert.ok(await page.locator("pre.tall:has-text('Product price')").count(), "the preview is of a real event");
  await look("03-refused-event", { dark: true });
  await page.click("text=Send the chosen again");
  await page.locator("#wrong-event").waitFor();
  hook.judge = () => 204;
  await page.check("input[name=event]");
  await page.click("text=Send the chosen again");
  await said();
  await comes("nothing is refused any more", () => page.locator("#refused ~ p:has-text('None.')").count());
  assert.deepEqual(new Set(hook.events.map((event) => event.id)), new Set(batch.events.map((event) => event.id)));

  await page.fill("#from", "2020-01-01T00:00");
  await page.click("text=Count them");
  await page.locator("h1:has-text('Send 5 events to hook again?')").waitFor();
  await look("04-replay");
  assert.equal(hook.events.length, 5, "it is only counted");
  await page.check("input[name=agreed]");
  await page.click("text=Send them again");
  await said();
  await until("they come again", () => hook.events.length === 10);
  await comes("it is done", () => page.locator(".badge.good:has-text('done')").count());
  await look("05-replayed");
  assert.equal(new Set(hook.events.map((event) => event.id)).size, 5, "with the same ids");

  await page.click("a:has-text('Change')");
  await page.locator("h1:has-text('Change hook')").waitFor();
  await look("06-change");
  await page.fill("#when", '{"of": "$.type"');
  await page.locator("#look .wrong:has-text('no JSON')").waitFor();
  await page.fill("#when", '{"of": "$.type", "is": "click"}');
  await page.check("input[name=less][value=location]");
  await page.locator("#look pre:has-text('location\": {}')").waitFor();
  await look("06-less", { dark: true });
  await page.click("text=Check and save");
  await said();
  for (const kind of ["postgres", "file"]) {
    await page.goto(at(`/p/shop/new-destination?kind=${kind}`));
    await look(`07-${kind}`);
  }
  // A vendor is tried as soon as it is added, unless one unticks that; this one does not sign.
  for (const [name, tried] of [["web", true], ["later", false]]) {
    await page.goto(at("/p/shop/new-destination?kind=http"));
    await page.fill("#name", name);
    await page.fill("#set-address", new URL(hook.url).origin);
    await page.fill("#set-path", new URL(hook.url).pathname.slice(1));
    await page.check("input[name=own]");
    await page.setChecked("input[name=try]", tried);
    await look(`07-http-${name}`);
    await page.click("text=Check and add");
    await page.locator(tried ? ".said.bad:has-text('did not get there')" : ".said.warn:has-text('Nothing was sent to it yet')").waitFor();
    await look(`07-http-${name}-added`, { dark: true });
  }
  await page.goto(at("/p/shop/destinations"));
  await look("08-list", { dark: true });

  await page.goto(at("/system"));
  await page.locator(".said.bad").or(page.locator(".said.good")).first().waitFor();
  await look("08-system", { dark: true });

  await page.goto(at("/p/shop/audit"));
  await page.selectOption("#act", "destination.test");
  await page.click("button:has-text('Filter')");
  assert.equal(await page.locator("tbody tr").count(), 2);
  await look("09-audit", { dark: true });
  const download = page.waitForEvent("download");
  await page.click("text=As CSV");
  assert.equal((await download).suggestedFilename(), "audit-shop.csv");
  await page.click("text=Verify the chain");
  await page.locator(".said.good:has-text('is whole')").waitFor();
  await look("10-verified");

  await page.goto(at("/p/shop/privacy/erasures"));
  await look("11-no-erasure");
  await page.goto(at("/p/shop/privacy"));
  await page.click("a:has-text('Delete the dataset')");
  await page.locator("h1:has-text('Delete the dataset of shop')").waitFor();
  await page.fill("#name", "sho");
  await page.click("text=for good");
  await page.locator("#wrong-name").waitFor();
  await look("12-delete");
  await page.fill("#name", "shop");
  await page.click("text=for good");
  await page.locator("h1:has-text('Receipt')").waitFor();
  await look("13-receipt", { dark: true });
  await page.click("text=All erasures");
  await look("14-erasures");
  await page.goto(at("/p/shop/destinations/hook"));
  await page.fill("#name", "hook");
  await page.click("button:has-text('Remove it')");
  await said();
  assert.deepEqual(problems, [], "every page fits and axe finds nothing");
  assert.deepEqual(complaints, [], "no script failed and the policy refused nothing");
});
