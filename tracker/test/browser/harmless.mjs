// The page's own errors are neither caused nor hidden, whatever it has done to the browser.
import { assert, behaviour, until } from "./stage.mjs";

behaviour("an error of a handler stays the page's, and the click is captured", {
  page: "hostile.html",
  do: async ({ page }) => {
    await page.click("#throws");
    await page.click("#go");
  },
  errors: (errors) => errors.length === 1 && /the page's own/.test(errors[0]),
  expect: [{ type: "click", label: "Throws" }, { type: "click", label: "Go" }],
});

behaviour("frozen prototypes", {
  page: "frozen.html",
  ignore: ["page_leave", "web_vital"],
  do: async (visit) => {
    await visit.page.click("#go");
    assert.equal(new URL(visit.page.url()).pathname, "/frozen-two");
  },
  expect: (events) => assert.deepEqual(events.slice(0, 2).map((event) => event.type), ["page_view", "click"]),
});

behaviour("a fetch, a history, a JSON and a clock that the page put in their place", {
  page: "overridden.html",
  settle: false,
  do: async ({ page }) => {
    await page.click("#go");
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
    assert.equal(await page.evaluate(() => window.pushed), 1);
    assert.equal(new URL(page.url()).pathname, "/overridden-two");
  },
  expect: () => {},
});

behaviour("a history that the page wraps after the tracker still routes once", {
  page: "routes.html",
  clock: true,
  do: async ({ page }) => {
    await page.evaluate(() => {
      const before = history.pushState;
      history.pushState = function (...args) { window.wrapped = (window.wrapped || 0) + 1; return before.apply(this, args); };
    });
    await page.click("#push");
    await page.clock.runFor(1000);
    assert.equal(await page.evaluate(() => window.wrapped), 1);
  },
  ignore: ["page_leave", "web_vital", "click"],
  expect: [{ type: "page_view" }, { type: "page_view" }],
});

behaviour("an error of pushState is the page's to see", {
  page: "routes.html",
  do: async ({ page }) => {
    const error = await page.evaluate(() => { try { history.pushState({}, "", "https://elsewhere.example/"); } catch (error) { return error.name; } });
    assert.equal(error, "SecurityError");
  },
  expect: [],
});

behaviour("a storage that throws", {
  page: "storage-throws.html",
  do: ({ page }) => page.click("#go"),
  expect: [{ type: "click", label: "Go", batch: { visitor: /^[\da-f]{28}$/ } }],
});

behaviour("a storage that is full", {
  before: ({ context }) => context.addInitScript(() => { Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }; }),
  do: ({ page }) => page.click("#save"),
  expect: [{ type: "click", label: "Save" }],
});

behaviour("cookies that are off", {
  before: ({ context }) => context.addInitScript(() => { Object.defineProperty(Document.prototype, "cookie", { get() { throw new DOMException("off", "SecurityError"); }, set() { throw new DOMException("off", "SecurityError"); } }); }),
  do: ({ page }) => page.click("#save"),
  expect: [{ type: "click", label: "Save", batch: { visitor: /^[\da-f]{28}$/ } }],
});

behaviour("DOM methods that the page broke cost events, never an error", {
  page: "throwing-getters.html",
  settle: false,
  do: async ({ page }) => {
    await page.evaluate(() => document.getElementById("go").click());
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
  },
  expect: () => {},
});

for (const [what, csp] of [
  ["connections", "script-src 'unsafe-inline' COLLECTOR; connect-src 'none'"],
  ["the second script", "script-src 'unsafe-inline' COLLECTOR; connect-src 'none'; worker-src 'none'"],
]) {
  behaviour(`a policy that blocks ${what}`, {
    page: `plain.html?csp=${encodeURIComponent(csp)}`,
    settle: false,
    do: async (visit) => {
      await visit.page.click("#save");
      await visit.page.evaluate(() => { window.convizit.flush(); return new Promise((done) => setTimeout(done, 50)); });
      assert.equal(visit.project.posts.length, 0);
    },
    expect: () => {},
  });
}

behaviour("a policy that blocks the script leaves the stub, and the page works", {
  page: false,
  settle: false,
  do: async (visit) => {
    await visit.open(`plain.html?csp=${encodeURIComponent("script-src 'unsafe-inline'")}`, { wait: false });
    await visit.page.click("#save");
    assert.equal(await visit.page.evaluate(() => { window.convizit.track("x"); return window.convizit.q.length; }), 1);
    assert.equal(visit.sent, 0);
  },
  expect: () => {},
});

behaviour("a broken Array.prototype.toJSON of old libraries", {
  before: ({ context }) => context.addInitScript(() => { Array.prototype.toJSON = function () { return "broken"; }; }),
  settle: false,
  refused: true,
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.page.evaluate(() => window.convizit.flush());
    await until("a batch", () => visit.project.posts.length);
  },
  expect: () => {},
});
