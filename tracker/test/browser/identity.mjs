// Who and which visit: cookie and storage, each the other's fallback; or nothing at all.
import { assert, behaviour, scriptOf, until } from "./stage.mjs";

const DAY = 86_400;
const cookieOf = async (visit) => (await visit.context.cookies(visit.url(""))).find((cookie) => cookie.name === "convizit");
const stored = (visit) => visit.page.evaluate(() => localStorage.getItem("convizit"));
const visitors = (visit) => [...new Set(visit.project.batches.map((batch) => batch.visitor))];
const sessions = (visit) => [...new Set(visit.project.batches.map((batch) => batch.session.id))];

behaviour("the cookie is the site's, Lax, and as old as the project lets it be", {
  host: "www.KEY.test",
  settings: { cookieDays: 30 },
  then: async (visit) => {
    const cookie = await cookieOf(visit);
    assert.equal(cookie.domain, `.${visit.project.key}.test`);
    assert.equal(cookie.path, "/");
    assert.equal(cookie.sameSite, "Lax");
    assert.equal(cookie.secure, false);
    assert.ok(Math.abs(cookie.expires - (Date.now() / 1000 + 30 * DAY)) < 120, String(cookie.expires));
    assert.equal(cookie.value, await stored(visit));
    assert.equal(cookie.value.split(".")[0], visit.project.batches[0].visitor);
  },
});

behaviour("no cookie lives longer than 400 days", {
  settings: { cookieDays: 4000 },
  before: ({ context }) => context.addInitScript(() => {
    const own = Object.getOwnPropertyDescriptor(Document.prototype, "cookie");
    window.written = [];
    Object.defineProperty(Document.prototype, "cookie", { ...own, set(text) { window.written.push(text); own.set.call(this, text); } });
  }),
  then: async (visit) => {
    const ages = await visit.page.evaluate(() => window.written.map((text) => Number(/max-age=(\d+)/.exec(text)[1])));
    assert.ok(ages.length > 0);
    for (const age of ages) assert.equal(age, 400 * DAY);
  },
});

behaviour("over TLS the cookie is Secure", {
  page: false,
  settle: false,
  settings: { more: false },
  do: async (visit) => {
    const address = `https://www.${visit.project.key}.test/plain.html`;
    const script = `https://collect.${visit.project.key}.test/tracker.js`;
    await visit.context.route(/^https:/, (route) => {
      if (route.request().url() === address) return route.fulfill({ contentType: "text/html", body: `<script src="${script}"></script>` });
      return route.request().url() === script ? route.fulfill({ contentType: "text/javascript", body: scriptOf(visit.project) }) : route.fulfill({ status: 204 });
    });
    visit.page = await visit.context.newPage();
    await visit.page.goto(address);
    await visit.page.waitForFunction(() => window.convizit?._);
    const cookie = await until("the cookie", async () => (await visit.context.cookies(address)).find((cookie) => cookie.name === "convizit"));
    assert.equal(cookie.secure, true);
  },
  expect: () => {},
});

for (const [what, remove] of [
  ["the cookie", (visit) => visit.context.clearCookies()],
  ["the storage", (visit) => visit.page.evaluate(() => localStorage.removeItem("convizit"))],
]) {
  behaviour(`when ${what} is gone the other knows the visitor, and both have it again`, {
    do: async (visit) => {
      await visit.settled();
      await visit.open("inner.html", { wait: false });
      await remove(visit);
      await visit.open("nested.html");
      await visit.settled();
      assert.equal(visitors(visit).length, 1);
      assert.equal(sessions(visit).length, 1);
      // Written at a session's begin, at each half minute and when the page goes.
      await visit.leave();
      assert.equal((await cookieOf(visit)).value, await stored(visit));
    },
    settle: false,
  });
}

behaviour("with storage only there is no cookie", {
  settings: { identity: "storage" },
  do: async (visit) => {
    await visit.settled();
    await visit.open("nested.html");
    await visit.settled();
  },
  then: async (visit) => {
    assert.deepEqual(await visit.context.cookies(), []);
    assert.equal(visitors(visit).length, 1);
    assert.match(visitors(visit)[0], /^[\da-f]{28}$/);
  },
});

behaviour("without identity nothing is written, nobody is told apart, and the queue lives in memory", {
  settings: { identity: "none" },
  before: ({ context }) => context.addInitScript(() => {
    window.written = [];
    const own = Object.getOwnPropertyDescriptor(Document.prototype, "cookie");
    Object.defineProperty(Document.prototype, "cookie", { ...own, set(text) { window.written.push(text); own.set.call(this, text); } });
    for (const name of ["setItem", "removeItem"]) {
      const run = Storage.prototype[name];
      Storage.prototype[name] = function (...args) { window.written.push(`${name} ${args[0]}`); return run.apply(this, args); };
    }
    const open = indexedDB.open;
    IDBFactory.prototype.open = function (...args) { window.written.push("indexedDB"); return open.apply(this, args); };
  }),
  answers: [503],
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.page.evaluate(() => window.convizit.flush());
    await until("the refused batch", () => visit.project.posts.length);
    await visit.visible(false);
    await until("the batch", () => visit.project.batches.length);
    assert.deepEqual(await visit.page.evaluate(() => window.written), []);
    await visit.page.evaluate(() => { window.convizit.identify("u1"); window.convizit.reset(); });
  },
  expect: (events, visit) => {
    assert.ok(events.some((event) => event.type === "click"));
    for (const { batch } of events) assert.deepEqual([batch.visitor, batch.session], [undefined, undefined]);
  },
  then: async (visit) => {
    assert.deepEqual(await visit.context.cookies(), []);
    assert.deepEqual(await visit.page.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage)]), [[], []]);
  },
});

behaviour("a session ends after 30 minutes without an event", {
  clock: "paused",
  do: async (visit) => {
    await visit.settled();
    await visit.page.clock.fastForward(29 * 60_000);
    await visit.settled();
    assert.equal(sessions(visit).length, 1);
    await visit.page.clock.fastForward(31 * 60_000);
    await visit.page.click("#save");
    await visit.settled();
  },
  expect: (events, visit) => {
    assert.equal(visitors(visit).length, 1);
    assert.equal(sessions(visit).length, 2);
    const click = events.find((event) => event.type === "click");
    assert.equal(click.batch.session.start, click.time);
  },
});

behaviour("two tabs are one session", {
  do: async (visit) => {
    await visit.settled();
    const second = await visit.context.newPage();
    await second.goto(visit.url("nested.html"));
    await second.waitForFunction(() => window.convizit?._);
    await visit.settled(second);
  },
  then: (visit) => {
    assert.equal(visitors(visit).length, 1);
    assert.equal(sessions(visit).length, 1);
    assert.equal(new Set(visit.project.batches.map((batch) => batch.batch.split(".")[0])).size, 2, "the tab id is made anew at each load");
  },
});
