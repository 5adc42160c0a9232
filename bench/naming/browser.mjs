// Headless Chromium on pages from a loopback server; page scripts are off, nothing but the page itself is fetched.
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** Opens pages one after another; `open(body, { type, path })` gives a Playwright page with describe.js in it. */
export class Browser {
  static async start(describe) {
    if (!CHROMIUM) throw new Error("Chromium is missing: install it, or name it with CHROMIUM=/path/to/chromium");
    const self = new Browser();
    self.describe = describe;
    self.pages = new Map();
    self.server = createServer((request, response) => {
      const found = self.pages.get(request.url);
      response.writeHead(found ? 200 : 404, { "content-type": found?.type ?? "text/plain" });
      response.end(found?.body);
    });
    await new Promise((done) => self.server.listen(0, "127.0.0.1", done));
    self.origin = `http://127.0.0.1:${self.server.address().port}`;
    self.browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    });
    self.context = await self.browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 800 } });
    return self;
  }

  async open(body, { type = "text/html", path = "/page", viewport } = {}) {
    this.pages.clear();
    this.pages.set(path, { body, type });
    const page = await this.context.newPage();
    if (viewport) await page.setViewportSize(viewport);
    await page.goto(this.origin + path, { waitUntil: "domcontentloaded", timeout: 30_000 });
    await page.evaluate(this.describe);
    return page;
  }

  async end() {
    await this.browser.close();
    this.server.close();
  }
}
