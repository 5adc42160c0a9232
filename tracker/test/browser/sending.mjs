// Batches on their way: bounds, refusals, retries, what survives a reload, what leaves with the page.
import { assert, behaviour, holds, until } from "./stage.mjs";

const flush = (page) => page.evaluate(() => window.convizit.flush());
const track = (page, name, properties) => page.evaluate(([name, properties]) => { window.convizit.track(name, properties); }, [name, properties]);
const posts = (visit, count) => until(`${count} requests`, () => visit.project.posts.length >= count);
const bare = ({ batch: { sent, ...rest } }) => rest;
const names = (events) => events.map((event) => event.name).filter(Boolean);

behaviour("a batch is a simple request without cookies", {
  do: async (visit) => {
    await visit.settled();
    for (const post of visit.project.posts) {
      assert.match(post.type, /^text\/plain/);
      assert.equal(post.cookie, undefined);
      holds(post.batch, { v: 1, key: visit.project.key, settings: 1, dropped: undefined }, "batch");
      assert.ok(Math.abs(Date.parse(post.batch.sent) - post.at) < 10_000);
    }
  },
});

for (const [status, retryAfter] of [[503, 7], [429, 7], [500, 0], [408, 0]]) {
  behaviour(`a batch that is refused for now (${status}) is sent again: same id, same contents, later`, {
    clock: "paused",
    answers: [{ status, retryAfter }],
    do: async (visit) => {
      const { page } = visit;
      await track(page, "First");
      await flush(page);
      await posts(visit, 1);
      await track(page, "Second");
      await until("the second attempt", async () => (await page.clock.runFor(400), visit.project.posts.length > 1));
      const [first, again] = visit.project.posts;
      assert.deepEqual(bare(again), bare(first));
      const waited = Date.parse(again.batch.sent) - Date.parse(first.batch.sent);
      assert.ok(waited >= (retryAfter ? 1000 * retryAfter : 900), `${waited} ms`);
      assert.ok(names(again.batch.events).includes("First"));
      assert.ok(!names(again.batch.events).includes("Second"), "what came later has a batch of its own");
    },
    expect: (events) => assert.deepEqual(names(events), ["First", "Second"]),
  });
}

behaviour("a broken connection is tried again with the same batch", {
  clock: "paused",
  answers: ["reset"],
  do: async (visit) => {
    await track(visit.page, "First");
    await flush(visit.page);
    await posts(visit, 1);
    await until("the second attempt", async () => (await visit.page.clock.runFor(500), visit.project.posts.length > 1));
    assert.deepEqual(bare(visit.project.posts[1]), bare(visit.project.posts[0]));
  },
  expect: (events) => assert.deepEqual(names(events), ["First"]),
});

behaviour("a server that never answers is given up, and the batch sent again", {
  clock: "paused",
  answers: ["never"],
  do: async (visit) => {
    await track(visit.page, "First");
    await flush(visit.page);
    await posts(visit, 1);
    await visit.page.clock.runFor(20_000);
    assert.equal(visit.project.posts.length, 1);
    await visit.page.clock.runFor(20_000);
    await posts(visit, 2);
    assert.deepEqual(bare(visit.project.posts[1]), bare(visit.project.posts[0]));
  },
  expect: (events) => assert.deepEqual(names(events), ["First"]),
});

for (const status of [400, 403, 413]) {
  behaviour(`a batch that is refused for good (${status}) does not hold up the next`, {
    // Nothing leaves by itself: the refused batch is the one with the event.
    clock: "paused",
    answers: [status],
    do: async (visit) => {
      await track(visit.page, "Bad");
      await flush(visit.page);
      await posts(visit, 1);
      await track(visit.page, "Good");
      await visit.settled();
      assert.equal(new Set(visit.project.posts.map((post) => post.batch.batch)).size, visit.project.posts.length);
    },
    expect: (events) => assert.deepEqual(names(events), ["Good"]),
  });
}

behaviour("what is captured while a batch is on its way goes after it, by itself", {
  answers: ["never"],
  settle: false,
  do: async (visit) => {
    await flush(visit.page);
    await posts(visit, 1);
    await visit.page.click("#save");
    visit.project.release();
    await until("the click", () => visit.project.posts.some((post) => post.batch.events.some((event) => event.type === "click")));
  },
  expect: (events) => assert.ok(true, events),
});

behaviour("what waits survives a reload with its id and contents", {
  answers: Array(3).fill(503),
  settle: false,
  do: async (visit) => {
    await track(visit.page, "Kept");
    await flush(visit.page);
    await posts(visit, 1);
    visit.project.answers = [503, 503, 503, 503];
    await visit.page.reload();
    visit.project.answers = [];
    await until("the batch", () => names(visit.project.events).includes("Kept"));
    const again = visit.project.posts.filter((post) => names(post.batch.events).includes("Kept"));
    for (const post of again) assert.deepEqual(bare(post), bare(again[0]));
    await visit.settled();
    await until("what was taken is stored no more", () => visit.page.evaluate(() => !Object.keys(localStorage).some((name) => name.startsWith("convizit.q."))));
  },
  ignore: ["page_view", "page_leave", "web_vital"],
  expect: (events) => assert.deepEqual(names(events), ["Kept"]),
});

behaviour("offline everything is kept and comes when the line is back", {
  do: async (visit) => {
    await visit.settled();
    await visit.context.setOffline(true);
    await visit.page.click("#save");
    await track(visit.page, "Offline");
    await flush(visit.page);
    await until("stored", () => visit.page.evaluate(() => Object.keys(localStorage).some((name) => name.startsWith("convizit.q."))));
    await visit.context.setOffline(false);
    await until("the events", () => names(visit.project.events).includes("Offline"));
  },
  expect: [{ type: "click" }, { type: "coded", name: "Offline" }],
});

behaviour("the queue is bounded, drops the oldest and says how many", {
  clock: "paused",
  answers: Array(500).fill(503),
  settle: false,
  do: async (visit) => {
    const { page } = visit;
    await page.evaluate(() => {
      const properties = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`k${at}`, "x".repeat(250)]));
      for (let at = 0; at < 60; at++) window.convizit.track(`Big ${at}`, properties);
      window.convizit.flush();
    });
    await posts(visit, 1);
    const bytes = await page.evaluate(() => Object.entries(localStorage).reduce((sum, [name, text]) => sum + name.length + text.length, 0));
    assert.ok(bytes < 410_000 && bytes > 300_000, String(bytes));
    visit.project.answers = [];
    await until("the last", async () => (await page.clock.runFor(5000), names(visit.project.events).includes("Big 59")));
    await visit.settled();
    const big = names(visit.project.events).filter((name) => name.startsWith("Big"));
    const dropped = visit.project.batches.reduce((sum, batch) => sum + (batch.dropped ?? 0), 0);
    assert.ok(!big.includes("Big 0"));
    assert.deepEqual(big, Array.from({ length: big.length }, (_, at) => `Big ${60 - big.length + at}`), "the newest are there, in order");
    // The page view was in the first batch of them all.
    assert.ok(dropped === 60 - big.length || dropped === 61 - big.length, `${dropped} dropped, ${big.length} there`);
  },
  expect: () => {},
});

behaviour("batches are cut at 100 events and 32 KiB, in order", {
  do: async (visit) => {
    await visit.page.evaluate(() => {
      for (let at = 0; at < 250; at++) window.convizit.track(`Small ${at}`);
      for (let at = 0; at < 40; at++) window.convizit.track(`Large ${at}`, { text: "字".repeat(250), more: "字".repeat(250), last: "字".repeat(250) });
    });
  },
  expect: (events, visit) => {
    assert.deepEqual(names(events), [...Array.from({ length: 250 }, (_, at) => `Small ${at}`), ...Array.from({ length: 40 }, (_, at) => `Large ${at}`)]);
    // Sizes are checked for every batch of every test.
    assert.ok(visit.project.batches.length > 4);
  },
});

behaviour("the first batch carries the rich block when the second script is quick", {
  settle: false,
  do: (visit) => posts(visit, 1),
  expect: (events) => holds(events[0].batch.page, { viewport: { width: 1000 } }, "page"),
  ignore: [],
});

for (const more of ["blocked", "late"]) {
  behaviour(`when the second script is ${more} nothing is lost, and the first batch goes after 2 s`, {
    more,
    clock: "paused",
    ignore: ["page_leave", "web_vital"],
    do: async (visit) => {
      const { page } = visit;
      await page.click("#save");
      await page.clock.runFor(1500);
      assert.equal(visit.project.posts.length, 0, "it waits for the page's block");
      await page.clock.runFor(1500);
      await posts(visit, 1);
    },
    expect: [{ type: "page_view" }, { type: "click" }],
  });
}

behaviour("keepalive is used only when the page goes, for at most 60 KiB", {
  answers: ["never"],
  settle: false,
  ignore: [],
  before: ({ context }) => context.addInitScript(() => {
    const run = window.fetch;
    window.sends = [];
    window.fetch = function (address, options) {
      if (options?.body) window.sends.push([!!options.keepalive, new Blob([options.body]).size]);
      return run.call(this, address, options);
    };
  }),
  do: async (visit) => {
    const { page } = visit;
    await page.evaluate(() => {
      const properties = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`k${at}`, "x".repeat(250)]));
      for (let at = 0; at < 12; at++) window.convizit.track(`Big ${at}`, properties);
      window.convizit.flush();
    });
    await posts(visit, 1);
    assert.deepEqual(await page.evaluate(() => window.sends.map(([keepalive]) => keepalive)), [false]);
    await visit.visible(false);
    const sends = (await page.evaluate(() => window.sends)).filter(([keepalive]) => keepalive);
    assert.ok(sends.length > 0);
    assert.ok(sends.reduce((sum, [, bytes]) => sum + bytes, 0) <= 60 * 1024);
    visit.project.release();
    await visit.visible(true);
    await visit.settled();
  },
  expect: (events) => assert.deepEqual(new Set(names(events)), new Set(Array.from({ length: 12 }, (_, at) => `Big ${at}`))),
});

behaviour("without fetch what leaves goes by beacon, and again at the next load", {
  settle: false,
  ignore: ["page_leave", "web_vital", "page_view"],
  before: ({ context }) => context.addInitScript(() => { if (/plain/.test(location.pathname)) window.fetch = undefined; }),
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.leave();
    await until("the click", () => visit.project.events.some((event) => event.type === "click"));
    await visit.open("nested.html");
    await visit.settled();
    const with_click = visit.project.posts.filter((post) => post.batch.events.some((event) => event.type === "click"));
    assert.equal(with_click.length, 2);
    assert.deepEqual(bare(with_click[1]), bare(with_click[0]));
  },
  expect: [{ type: "click" }],
});

behaviour("a batch without an answer at leaving comes again unchanged", {
  settle: false,
  ignore: ["page_leave", "web_vital", "page_view"],
  do: async (visit) => {
    await visit.settled();
    await visit.page.click("#save");
    await visit.leave();
    await until("the click", () => visit.project.events.some((event) => event.type === "click"));
    await visit.open("nested.html");
    await visit.settled();
    const all = visit.project.posts.filter((post) => post.batch.events.some((event) => event.type === "click"));
    for (const post of all) assert.deepEqual(bare(post), bare(all[0]));
  },
  expect: [{ type: "click" }],
});

behaviour("steady events do not put off their sending", {
  clock: "paused",
  settle: false,
  do: async (visit) => {
    await visit.page.clock.runFor(3000);
    const before = visit.project.posts.length;
    for (let at = 0; at < 8; at++) {
      await track(visit.page, `Steady ${at}`);
      await visit.page.clock.runFor(400);
    }
    await posts(visit, before + 1);
  },
  expect: (events) => assert.ok(names(events).includes("Steady 0")),
});

behaviour("what an earlier page left is not sent again by a page that goes at once", {
  // Nothing leaves by itself: what is sent is sent by leaving.
  clock: "paused",
  settle: false,
  ignore: ["page_leave", "web_vital", "page_view"],
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.leave();
    await until("the click", () => visit.project.events.some((event) => event.type === "click"));
    await visit.open("nested.html");
    await visit.leave();
    await until("the second page's leave", () => visit.project.events.some((event) => event.type === "page_leave" && /nested/.test(event.batch.page.url)));
    const withClick = visit.project.posts.filter((post) => post.batch.events.some((event) => event.type === "click"));
    assert.equal(withClick.length, 1);
  },
  expect: [{ type: "click" }],
});
