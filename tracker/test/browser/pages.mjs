// Page views and leaves: loads, routes, history, what is hidden, cached or made beforehand.
import { assert, behaviour, origins, until } from "./stage.mjs";

const ignore = ["click", "web_vital"];
const paths = (events) => events.map((event) => `${event.type} ${new URL(event.batch.page.url).pathname}`);
const route = (id) => async (visit) => {
  await visit.page.click(id);
  await until("two page views", async () => (await visit.settled(), visit.got().filter((event) => event.type === "page_view").length > 1));
};

behaviour("a load is one page view", {
  page: "routes.html",
  ignore,
  expect: [{ type: "page_view", batch: { page: { url: /\/routes\.html$/, title: "Start", language: "en", referrer: "" } } }],
});

behaviour("a title that the page's own script sets while it loads is the page's", {
  page: "late-title.html",
  ignore,
  expect: [{ type: "page_view", batch: { page: { title: "Trail shoe" } } }],
});

behaviour("what a page writes after its load is in its first batch", {
  page: "later-title.html",
  ignore,
  do: async (visit) => {
    await visit.withMore();
    await visit.page.waitForTimeout(1200);
  },
  expect: [{ type: "page_view", batch: { page: { title: "Trail shoe", type: "Product", product: { "Product name": "Trail shoe" } } } }],
});

for (const [id, to, title] of [["#push", "/pushed", "Pushed"], ["#replace", "/replaced", "Replaced"], ["#navigate", "/navigated", "Navigated"]]) {
  behaviour(`a client-side route is a leave and a view under its own title: ${to}`, {
    page: "routes.html",
    ignore,
    do: route(id),
    expect: (events) => {
      assert.deepEqual(paths(events), ["page_view /routes.html", "page_leave /routes.html", `page_view ${to}`]);
      assert.equal(events[2].batch.page.title, title);
      assert.equal(events[0].batch.page.title, "Start");
    },
  });
}

behaviour("back to the page before is a view of it", {
  page: "routes.html",
  ignore,
  do: async (visit) => {
    await route("#push")(visit);
    await visit.page.goBack();
    await until("three page views", async () => (await visit.settled(), visit.got().filter((event) => event.type === "page_view").length > 2));
  },
  expect: (events) => assert.deepEqual(paths(events).slice(2), ["page_view /pushed", "page_leave /pushed", "page_view /routes.html"]),
});

behaviour("the same address again, a fragment or a hidden query value is no new page", {
  page: "routes.html",
  ignore,
  clock: true,
  do: async ({ page }) => {
    await page.click("#same");
    await page.click("#hash");
    await page.clock.runFor(1000);
  },
  expect: [{ type: "page_view" }],
});

behaviour("a query parameter that may be kept by name only is told without its value", {
  page: "routes.html",
  ignore,
  do: route("#query"),
  expect: (events) => assert.equal(new URL(events.at(-1).batch.page.url).search, "?q"),
});

behaviour("two routes in one moment are one view of the last", {
  page: "routes.html",
  ignore,
  do: async (visit) => {
    await visit.page.evaluate(() => { history.pushState({}, "", "/one"); history.pushState({}, "", "/two"); });
    await until("two page views", async () => (await visit.settled(), visit.got().filter((event) => event.type === "page_view").length > 1));
  },
  expect: (events) => assert.deepEqual(paths(events), ["page_view /routes.html", "page_leave /routes.html", "page_view /two"]),
});

behaviour("a route that only leads to another is no page of its own", {
  page: "routes.html",
  ignore,
  do: async (visit) => {
    await visit.page.evaluate(() => {
      history.pushState({}, "", "/one");
      setTimeout(() => history.pushState({}, "", "/two"), 40);
    });
    await until("the view of the last", async () => (await visit.settled(), paths(visit.got(ignore)).includes("page_view /two")));
    await visit.page.evaluate(() => new Promise((done) => setTimeout(done, 100)));
    await visit.settled();
  },
  expect: (events) => assert.deepEqual(paths(events), ["page_view /routes.html", "page_leave /routes.html", "page_view /two"]),
});

behaviour("convizit.page is a view with the site's own properties", {
  ignore,
  do: ({ page }) => page.evaluate(() => window.convizit.page({ Area: "account" })),
  expect: [{ type: "page_view" }, { type: "page_view", properties: { Area: "account" } }],
});

behaviour("a page that is left says how long it was looked at and how far it was scrolled", {
  page: "long.html",
  ignore,
  clock: true,
  do: async (visit) => {
    const { page } = visit;
    await page.clock.runFor(4000);
    // What is hidden is not looked at.
    await visit.visible(false);
    await page.clock.runFor(60_000);
    await visit.visible(true);
    await page.clock.runFor(3000);
    await page.evaluate(() => new Promise((done) => { addEventListener("scroll", () => done(), { once: true }); scrollTo(0, (document.documentElement.scrollHeight - innerHeight) / 2); }));
    await visit.leave();
    await visit.open("plain.html");
  },
  expect: (events) => {
    const left = events.find((event) => event.type === "page_leave");
    assert.equal(events.filter((event) => event.type === "page_leave").length, 1);
    // The clock goes on by itself too, while the test works.
    assert.ok(left.properties["Engaged time"] >= 7 && left.properties["Engaged time"] < 30, JSON.stringify(left.properties));
    assert.ok(Math.abs(left.properties["Scroll depth"] - 50) <= 1, JSON.stringify(left.properties));
    assert.match(left.batch.page.url, /long\.html$/);
  },
});

behaviour("the depth of a new page does not begin with that of the page before", {
  page: "long.html",
  ignore,
  do: async (visit) => {
    const { page } = visit;
    await page.evaluate(() => new Promise((done) => { addEventListener("scroll", () => done(), { once: true }); scrollTo(0, 1e6); }));
    await page.evaluate(() => { scrollTo(0, 0); history.pushState({}, "", "/second"); });
    await until("two page views", async () => (await visit.settled(), visit.got().filter((event) => event.type === "page_view").length > 1));
    await visit.leave();
    await visit.open("plain.html");
  },
  expect: (events) => assert.deepEqual(events.filter((event) => event.type === "page_leave").map((event) => event.properties["Scroll depth"]), [100, 0]),
});

behaviour("what is captured leaves when the page is hidden", {
  settle: false,
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.visible(false);
    await until("the click", () => visit.got().some((event) => event.type === "click"));
  },
  expect: [{ type: "click" }],
});

behaviour("leaving sends each batch once", {
  // A batch that is on its way by itself when the page goes is sent again, rightly: here nothing leaves by itself.
  clock: "paused",
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.leave();
    await until("the click", () => visit.got().some((event) => event.type === "click"));
    await visit.page.evaluate((address) => fetch(address), `${origins.collector}/t/${visit.project.key}.json`);
    const ids = visit.project.posts.map((post) => post.batch.batch);
    assert.equal(new Set(ids).size, ids.length, ids.join(" "));
  },
  settle: false,
  expect: [{ type: "click" }],
});

behaviour("a page from the back/forward cache is viewed again, and works", {
  ignore: ["web_vital"],
  do: async (visit) => {
    const { page } = visit;
    await page.evaluate(() => { window.same = true; });
    await visit.leave("inner.html");
    await page.evaluate(() => history.back());
    await page.waitForURL(/plain/, { waitUntil: "commit" });
    assert.equal(await page.evaluate(() => window.same), true, "Chromium kept the page");
    await page.click("#save");
  },
  expect: [{ type: "page_view" }, { type: "page_leave" }, { type: "page_view" }, { type: "click", label: "Save" }],
});

behaviour("a page made beforehand is viewed when it is shown", {
  ignore: ["web_vital"],
  before: ({ context }) => context.addInitScript(() => {
    let beforehand = true;
    Object.defineProperty(document, "prerendering", { get: () => beforehand });
    window.activate = () => { beforehand = false; document.dispatchEvent(new Event("prerenderingchange")); };
  }),
  do: async (visit) => {
    await visit.page.evaluate(() => { history.replaceState({}, "", "?view=1"); return new Promise((done) => setTimeout(done, 120)); });
    await visit.silent();
    assert.equal(visit.sent, 0);
    await visit.page.evaluate(() => window.activate());
  },
  expect: [{ type: "page_view" }],
});

behaviour("a page made beforehand and never shown is never left", {
  ignore: ["web_vital"],
  before: ({ context }) => context.addInitScript(() => {
    if (/plain/.test(location.pathname)) Object.defineProperty(document, "prerendering", { get: () => true });
  }),
  do: async (visit) => {
    await visit.leave("inner.html");
    await visit.open("nested.html");
  },
  expect: [{ type: "page_view", batch: { page: { url: /nested/ } } }],
});

behaviour("the page block has the product, its breadcrumb and its clean canonical address", {
  page: "product.html",
  ignore,
  do: async (visit) => {
    await visit.withMore();
    await visit.page.waitForTimeout(1200);
  },
  expect: [{
    type: "page_view",
    batch: {
      page: {
        type: "Product",
        canonical: "https://shop.example/p/trail-shoe?utm_source=x&token",
        product: { "Product name": "Trail shoe", "Product price": 89.9, Currency: "EUR", SKU: "TS-42", Availability: "InStock", Brand: "Summit" },
        breadcrumb: ["Shoes", "Trail"],
        viewport: { width: 1000, height: 700 },
      },
    },
  }],
});

behaviour("a route before the page is there is one view", {
  page: "early-route.html",
  ignore,
  do: async ({ page }) => {
    await page.waitForFunction(() => window.slow && document.readyState === "complete");
    await page.evaluate(() => new Promise((done) => setTimeout(done, 100)));
  },
  expect: (events) => assert.deepEqual(paths(events), ["page_view /early"]),
});
