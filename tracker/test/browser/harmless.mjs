// The page's own errors are neither caused nor hidden, whatever it has done to the browser.
import { readFileSync } from "node:fs";
import path from "node:path";
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

const script = readFileSync(path.resolve(import.meta.dirname, "../../dist/describe.js"), "utf8");

/** Milliseconds that describing may take where the processor is four times slower. */
const MOST = 8;
/** One is measured after the other: they would slow each other down. */
let turn = Promise.resolve();

/** The best median of a few rounds, of more where none is short enough: other work on the machine lengthens some, work without a bound all. */
const timed = (visit) => (turn = turn.then(() => measured(visit), () => measured(visit)));

const measured = async ({ page, context }) => {
  await page.evaluate(script);
  const session = await context.newCDPSession(page);
  await session.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  const best = await page.evaluate((most) => {
    const target = document.querySelector("#target");
    const once = () => {
      const from = performance.now();
      if (!globalThis.convizitDescribe(target)) throw new Error("not described");
      return performance.now() - from;
    };
    once();
    let best = Infinity;
    for (let round = 0; round < 3 || (best > most && round < 60); round++) best = Math.min(best, Array.from({ length: 9 }, once).sort((a, b) => a - b)[4]);
    return best;
  }, MOST);
  await session.send("Emulation.setCPUThrottlingRate", { rate: 1 });
  return best;
};

for (const [of, what, label] of [
  ["nodes", "100 000 nodes", "Open"],
  ["siblings", "5 000 siblings", "Open"],
  ["depth", "2 000 elements around the control", "Open"],
  ["within", "2 000 elements inside the control", /^/],
  ["cycle", "names that refer to each other in a circle", "Open All"],
  ["text", "texts of a megabyte", /^Open this this/],
  ["attribute", "attributes of a megabyte", /^Open this this/],
  ["item", "items of a megabyte", "Open"],
  ["closed", "a closed shadow root", "Open"],
]) {
  behaviour(`${what}: described within ${MOST} ms, and the click is captured`, {
    page: `limits.html?of=${of}`,
    ticking: true,
    do: async (visit) => {
      const took = await timed(visit);
      console.log(`${what}: ${took.toFixed(1)} ms at a quarter of the speed`);
      assert.ok(took <= MOST, `${what}: ${took} ms`);
      await visit.page.evaluate(() => document.querySelector("#target").click());
    },
    expect: [{ type: "click", label }],
    then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /canary/)),
  });
}

behaviour("a press inside a closed shadow root is one on its host", {
  page: "limits.html?of=closed",
  do: ({ page }) => page.click("#target"),
  expect: [{ type: "click", label: "Open", descriptor: { tag: "div" } }],
});

behaviour("a control that the page removes before the tracker sees the click", {
  page: "limits.html?of=gone",
  do: async (visit) => {
    await visit.page.click("#first");
    // Removed between the two halves of a click: no click comes of it.
    await visit.page.click("#second");
    await visit.page.click("#target");
  },
  expect: [{ type: "click", label: "Gone at click", descriptor: { context: [], group: null, path: "button" } }, { type: "click", label: "Open" }],
});

behaviour("elements outside of the document are described by what they are", {
  page: "limits.html?of=gone",
  do: async ({ page }) => {
    await page.evaluate(script);
    const found = await page.evaluate(() => {
      const made = document.createElement("button");
      made.textContent = "Never shown";
      const taken = document.querySelector("#around");
      taken.remove();
      const inner = document.createElement("div").attachShadow({ mode: "closed" });
      inner.innerHTML = "<a href='/x'>In a loose root</a>";
      const piece = document.createDocumentFragment();
      piece.append(document.createElement("input"), document.createElement("select"));
      return [made, taken.firstChild, inner.firstChild, piece.firstChild, piece.lastChild].map((el) => globalThis.convizitDescribe(el, el.matches("input,select") ? "change" : "click")?.label);
    });
    assert.deepEqual(found, ["Never shown", "Gone at click", "In a loose root", "", ""]);
  },
  expect: [],
});

behaviour("getters that throw and proxies on the control cost nothing: what they hide is not read", {
  page: "hostile.html",
  do: async ({ page }) => {
    await page.evaluate(() => {
      const go = document.querySelector("#go");
      const bad = () => { throw new Error("read by the tracker"); };
      for (const name of ["value", "innerText", "innerHTML", "title", "name", "dataset", "style", "className", "children", "offsetWidth", "isConnected", "onclick", "toString", "__props"]) Object.defineProperty(go, name, { configurable: true, get: bad });
      for (const [prototype, name] of [[HTMLElement.prototype, "innerText"], [HTMLInputElement.prototype, "value"], [HTMLTextAreaElement.prototype, "value"], [Element.prototype, "outerHTML"]]) Object.defineProperty(prototype, name, { configurable: true, get: bad });
      // As libraries wrap them: each call still works.
      for (const [prototype, name] of [[Element.prototype, "getAttribute"], [Element.prototype, "matches"], [Element.prototype, "closest"], [Node.prototype, "getRootNode"], [Event.prototype, "composedPath"]]) {
        prototype[name] = new Proxy(prototype[name], { apply: (run, self, args) => Reflect.apply(run, self, args) });
      }
    });
    await page.evaluate(() => HTMLElement.prototype.click.call(document.querySelector("#go")));
  },
  expect: [{ type: "click", label: "Go", descriptor: { attributes: { id: "go" } } }],
});

for (const [what, broken] of [
  ["labels", () => Object.defineProperty(HTMLButtonElement.prototype, "labels", { configurable: true, get() { throw new Error("broken by the page"); } })],
  // Read of siblings, to tell the numbers of pages apart.
  ["texts", () => Object.defineProperty(Node.prototype, "textContent", { configurable: true, get() { throw new Error("broken by the page"); } })],
  ["styles", () => { window.getComputedStyle = () => { throw new Error("broken by the page"); }; }],
  ["events", () => { Event.prototype.composedPath = () => new Proxy([], { get() { throw new Error("broken by the page"); } }); }],
  ["attributes", () => Object.defineProperty(Element.prototype, "attributes", { configurable: true, get: () => new Proxy({}, { get() { throw new Error("broken by the page"); } }) })],
]) {
  behaviour(`${what} that throw cost at most that click, never an error`, {
    page: "hostile.html",
    settle: false,
    do: async (visit) => {
      await visit.page.evaluate(broken);
      await visit.page.evaluate(() => document.querySelector("#go").click());
      await visit.page.evaluate(() => (window.convizit.track("after"), window.convizit.flush()));
      await until("what comes after", () => visit.project.events.some((event) => event.name === "after"));
    },
    expect: () => {},
  });
}
