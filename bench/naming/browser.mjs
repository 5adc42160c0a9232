// Headless Chromium on pages from loopback servers; page scripts are off, nothing but the page itself is fetched.
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const VIEWPORT = { width: 1280, height: 800 };

/** One tab with an address of its own; it goes from page to page, since a new tab takes longer than most pages. */
class Tab {
  static async start(context) {
    const self = new Tab();
    self.context = context;
    self.server = createServer((request, response) => {
      const found = request.url === "/page" && self.content;
      response.writeHead(found ? 200 : 404, { "content-type": found?.type ?? "text/plain" });
      response.end(found?.body);
    });
    await new Promise((done) => self.server.listen(0, "127.0.0.1", done));
    self.address = `http://127.0.0.1:${self.server.address().port}/page`;
    return self;
  }

  async show(content, viewport) {
    this.content = content;
    this.page ??= await this.context.newPage();
    await this.page.setViewportSize(viewport);
    await this.page.goto(this.address, { waitUntil: "domcontentloaded", timeout: 30_000 });
    return this.page;
  }

  /** What a page broke is thrown away. */
  async renew() {
    await this.page?.close().catch(() => {});
    this.page = undefined;
  }
}

/** Opens pages in as many tabs as it was started with; whoever wants one more waits. */
export class Browser {
  static async start(describe, tabs) {
    if (!CHROMIUM) throw new Error("Chromium is missing: install it, or name it with CHROMIUM=/path/to/chromium");
    const self = new Browser();
    self.describe = describe;
    self.browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ["--no-sandbox", "--disable-gpu", "--disable-features=BackForwardCache", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    });
    self.context = await self.browser.newContext({ javaScriptEnabled: false, viewport: VIEWPORT });
    self.tabs = await Promise.all(Array.from({ length: tabs }, () => Tab.start(self.context)));
    self.free = [...self.tabs];
    self.waiting = [];
    return self;
  }

  /** Runs `work` on a page with describe.js in it. */
  async on(body, work, { type = "text/html", viewport = VIEWPORT } = {}) {
    const tab = this.free.pop() ?? (await new Promise((take) => this.waiting.push(take)));
    try {
      const page = await tab.show({ body, type }, viewport);
      await page.evaluate(this.describe);
      return await work(page);
    } catch (error) {
      await tab.renew();
      throw error;
    } finally {
      const next = this.waiting.shift();
      if (next) next(tab);
      else this.free.push(tab);
    }
  }

  async end() {
    await this.browser.close();
    for (const { server } of this.tabs) server.close();
  }
}
