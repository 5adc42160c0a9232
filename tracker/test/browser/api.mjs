// convizit.*: what a site's own code adds, and what it may not.
import { assert, behaviour } from "./stage.mjs";

const ignore = ["page_view", "page_leave", "web_vital"];
const call = (run, given) => ({ page }) => page.evaluate(run, given);

behaviour("a coded event has its name and its properties of every allowed type", {
  ignore,
  do: call(() => window.convizit.track("Plan chosen", { Plan: "pro", Seats: 3, Trial: false, Coupon: null })),
  expect: [{ type: "coded", name: "Plan chosen", properties: { Plan: "pro", Seats: 3, Trial: false, Coupon: null }, descriptor: undefined }],
});

behaviour("what breaks a limit is refused with a warning that says which, nothing else is lost", {
  ignore,
  do: call(() => {
    const { convizit } = window;
    convizit.track("Values", { list: [1], object: {}, none: undefined, run() {}, wrong: NaN, long: "x".repeat(256), [`k${"y".repeat(255)}`]: 1, "": 1, good: "yes" });
    convizit.track("x".repeat(256), { a: 1 });
    convizit.track("");
    convizit.track(7);
    convizit.identify("u".repeat(129));
    convizit.identify();
    convizit.track("Many", Object.fromEntries(Array.from({ length: 52 }, (_, at) => [`p${at}`, at])));
    convizit.track("No properties", undefined);
    convizit.track("Null properties", null);
  }),
  expect: [
    { type: "coded", name: "Values", properties: (properties) => JSON.stringify(properties) === '{"good":"yes"}' },
    { type: "coded", name: "Many", properties: (properties) => Object.keys(properties).length === 50 && properties.p49 === 49 },
    { type: "coded", name: "No properties", properties: undefined },
    { type: "coded", name: "Null properties", properties: undefined },
  ],
  warnings: (warnings) => {
    for (const key of ["list", "object", "none", "run", "wrong"]) if (!warnings.some((text) => new RegExp(`Values: ${key}: no text, number, boolean`).test(text))) return false;
    return (
      warnings.some((text) => /Values: long: over 255 characters/.test(text)) &&
      warnings.filter((text) => /Many: p5[01]: over 50 properties/.test(text)).length === 2 &&
      warnings.filter((text) => /track: name needs 1 to 255 characters/.test(text)).length === 3 &&
      warnings.filter((text) => /identify: id needs 1 to 128 characters/.test(text)).length === 2
    );
  },
});

behaviour("names and values of just the limit pass", {
  ignore,
  do: call(() => window.convizit.track("n".repeat(255), { ["k".repeat(255)]: "v".repeat(255) })),
  expect: [{ type: "coded", name: "n".repeat(255), properties: { ["k".repeat(255)]: "v".repeat(255) } }],
});

behaviour("set properties go with every later event, the event's own win", {
  ignore,
  do: async ({ page }) => {
    await page.click("#save");
    await page.evaluate(() => { window.convizit.setProperties({ Plan: "free", Area: "shop" }); window.convizit.setProperties({ Area: "help" }); });
    await page.click("#save");
    await page.evaluate(() => window.convizit.track("Upgrade", { Plan: "pro" }));
  },
  expect: [
    { type: "click", properties: undefined },
    { type: "click", properties: { Plan: "free", Area: "help" } },
    { type: "coded", properties: { Plan: "pro", Area: "help" } },
  ],
});

behaviour("what a click's handler sets is not of the click", {
  ignore,
  do: async ({ page }) => {
    await page.evaluate(() => document.querySelector("#save").addEventListener("click", () => { window.convizit.setProperties({ Saved: true }); window.convizit.identify("u-7"); }));
    await page.click("#save");
  },
  expect: [
    { type: "click", properties: undefined, batch: { user: undefined } },
    { type: "identify", properties: { Saved: true }, batch: { user: "u-7" } },
  ],
});

behaviour("set and own properties together stay within the limit of the collector", {
  ignore,
  do: async ({ page }) => {
    await page.evaluate(() => {
      const some = (prefix, count) => Object.fromEntries(Array.from({ length: count }, (_, at) => [prefix + at, at]));
      window.convizit.setProperties(some("a", 40));
      window.convizit.setProperties(some("b", 40));
      window.convizit.track("Full", some("c", 45));
    });
    await page.click("#save");
  },
  expect: (events) => {
    const [coded, click] = events;
    assert.equal(Object.keys(coded.properties).length, 50);
    assert.equal(coded.properties.c44, 44, "its own come first");
    assert.equal(Object.keys(click.properties).length, 50);
  },
  warnings: (warnings) => warnings.some((text) => /setProperties: b39: over 50 properties/.test(text)) && warnings.some((text) => /Full: .*over 50 properties/.test(text)),
});

behaviour("a known user goes with what follows, until the reset, which begins a new visitor", {
  // On a quick machine the three clicks are one rage.
  ignore: [...ignore, "rage_click"],
  do: async (visit) => {
    const { page } = visit;
    await page.click("#save");
    await page.evaluate(() => window.convizit.identify("u-1", { Tier: "gold" }));
    await page.click("#save");
    await page.evaluate(() => window.convizit.setProperties({ Plan: "pro" }));
    await page.evaluate(() => window.convizit.reset());
    await page.click("#save");
  },
  expect: (events) => {
    assert.deepEqual(events.map((event) => [event.type, event.batch.user]), [["click", undefined], ["identify", "u-1"], ["click", "u-1"], ["click", undefined]]);
    assert.deepEqual(events[1].properties, { Tier: "gold" });
    assert.equal(events[3].properties, undefined);
    assert.equal(events[0].batch.visitor, events[2].batch.visitor);
    assert.notEqual(events[3].batch.visitor, events[0].batch.visitor);
    assert.notEqual(events[3].batch.session.id, events[0].batch.session.id);
  },
});

behaviour("flush sends at once", {
  ignore,
  clock: "paused",
  settle: false,
  do: async (visit) => {
    await visit.page.evaluate(() => { window.convizit.track("Now"); window.convizit.flush(); });
    const { until } = await import("./stage.mjs");
    await until("the event", () => visit.project.events.some((event) => event.name === "Now"));
  },
  expect: [{ type: "coded", name: "Now" }],
});

behaviour("calls before the script are not lost, and keep their order", {
  page: "stub.html",
  ignore: ["page_leave", "web_vital"],
  expect: [
    { type: "page_view", properties: { Plan: "free" } },
    { type: "coded", name: "Early", properties: { Step: 1, Plan: "free" } },
    { type: "identify", properties: { Tier: "gold" }, batch: { user: "u-1" } },
  ],
});

behaviour("the snippet twice is one tracker", {
  page: "twice.html",
  ignore: ["page_leave", "web_vital"],
  do: async (visit) => {
    await visit.page.waitForLoadState("networkidle");
    await visit.page.click("#go");
  },
  expect: [{ type: "page_view" }, { type: "click" }],
});

behaviour("the script alone, without the snippet, works", {
  page: "bare-script.html",
  ignore: ["page_leave", "web_vital"],
  do: ({ page }) => page.click("#go"),
  expect: [{ type: "page_view" }, { type: "click" }],
});
