// Records what the tracker really sends: visits to the demo shop in Chromium, one batch a line, into bench/recorded/visits.jsonl.
// Needs a built convizit (CONVIZIT_BIN) and the packages of tests/: `node bench/record.mjs`.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startBrowser, startDemo } from "../tests/e2e/product.mjs";

const visits = 6;
const clicksOfAPage = 5;
// A fixed sequence, so that two recordings differ only where the shop or the tracker does.
let state = 20261125;
const random = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};

const demo = await startDemo("--json");
const browser = await startBrowser();
const lines = [];
browser.context.on("request", (request) => {
  if (request.method() !== "POST" || !request.url().endsWith("/v1/collect")) return;
  const body = request.postData();
  if (body?.startsWith("{")) lines.push(body);
});

async function walk(page) {
  const places = ["/", "/p/trail-shoe", "/app/shoes", "/help", "/p/day-pack", "/search", "/cart"];
  for (const place of [places[0], ...Array.from({ length: 4 }, () => places[random(places.length)])]) {
    await page.goto(new URL(place, demo.shop).href);
    for (let done = 0; done < clicksOfAPage; done++) {
      const controls = await page.locator("main button:visible, main a[href^='/']:visible, nav a:visible, main select:visible, main input[type=radio]:visible").all();
      const control = controls[random(controls.length)];
      if (!control) break;
      const isSelect = await control.evaluate((element) => element.localName === "select").catch(() => false);
      if (isSelect) await control.selectOption({ index: 1 + random(2) }).catch(() => {});
      else await control.click({ timeout: 1000 }).catch(() => {});
      await page.keyboard.press("Escape");
      await page.waitForTimeout(150);
    }
    await page.mouse.wheel(0, 800);
    await page.waitForTimeout(300);
  }
}

for (let visit = 0; visit < visits; visit++) {
  const page = await browser.context.newPage();
  if (visit === 0) {
    await page.goto(demo.shop);
    await page.locator("#play").click();
    await page.locator(".play-note", { hasText: "That was the visit" }).waitFor({ timeout: 90_000 });
  } else {
    await walk(page);
  }
  await page.goto("about:blank");
  await page.waitForTimeout(1000);
  await page.close();
  await browser.context.clearCookies();
}
await browser.stop();
await demo.stop();
demo.remove();

const file = path.resolve(import.meta.dirname, "recorded/visits.jsonl");
mkdirSync(path.dirname(file), { recursive: true });
writeFileSync(file, `${lines.join("\n")}\n`);
const events = lines.reduce((sum, line) => sum + JSON.parse(line).events.length, 0);
console.log(`${lines.length} batches with ${events} events, ${lines.join("").length} bytes`);
