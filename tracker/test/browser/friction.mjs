// Rage, dead and error clicks, and what must not be taken for them.
import { assert, behaviour } from "./stage.mjs";

const ignore = ["page_view", "page_leave", "web_vital", "click", "media", "download", "change", "copy"];

/** Time goes only as the test lets it: clicks fall within one second on any machine. */
const friction = (what, page, act, expect, errors = []) =>
  behaviour(what, {
    page,
    friction: true,
    errors,
    ignore,
    clock: "paused",
    do: async (visit) => {
      await visit.page.clock.runFor(1000);
      await visit.withMore();
      // What loaded is no effect of a click.
      await visit.page.clock.runFor(3000);
      await act(visit);
      await visit.page.clock.runFor(2500);
    },
    expect,
  });

const times = (count, selector) => async ({ page }) => {
  for (let at = 0; at < count; at++) {
    await page.click(selector);
    await page.clock.runFor(100);
  }
};

friction("three quick clicks on one place are rage", "rage.html", times(3, "#stuck"), [{ type: "rage_click", label: "Apply coupon", properties: { Clicks: 3 } }, { type: "dead_click" }, { type: "dead_click" }, { type: "dead_click" }]);
friction("two quick clicks are no rage", "rage.html", times(2, "#works"), []);
friction("one outburst is one rage", "rage.html", times(6, "#works"), (events) => assert.deepEqual(events.map((event) => event.type), ["rage_click"]));

friction("three slow clicks are no rage", "rage.html", async ({ page }) => {
  for (let at = 0; at < 3; at++) {
    await page.click("#works");
    await page.clock.runFor(700);
  }
}, []);

friction("three clicks on three places are no rage", "rage.html", async ({ page }) => {
  for (const id of ["works", "second", "third"]) await page.click(`#${id}`);
}, []);

friction("steppers, arrows, sliders, canvases, slide shows and players may be clicked often", "rage.html", async ({ page }) => {
  for (const selector of ["#plus", "#up", "#range", "#canvas", "#next", "#film"]) {
    for (let at = 0; at < 4; at++) {
      await page.click(selector);
      await page.clock.runFor(100);
    }
    await page.clock.runFor(1500);
  }
}, []);

friction("a triple click that marks text is no rage", "rage.html", ({ page }) => page.click("#text", { clickCount: 3 }), []);
friction("the keyboard has no place and no rage", "rage.html", async ({ page }) => {
  await page.focus("#works");
  for (let at = 0; at < 4; at++) await page.keyboard.press("Enter");
}, []);

friction("a click on a button that changes nothing is dead", "dead.html", ({ page }) => page.click("#dead"), [{ type: "dead_click", label: "Nothing happens" }]);

// What a click did: a failure names the button.
const effects = {
  changes: "changes a text",
  style: "changes a class",
  within: "changes its own shadow root",
  marks: "marks text",
  copy: "copies",
  toggle: "toggles",
  expand: "expands",
  "in-label": "sits in a label",
  "in-form": "sits in a form",
  fetches: "loads something",
  scrolls: "scrolls",
  para: "is a text only",
  file: "downloads",
  blank: "opens a window",
};

friction("a click that does anything at all is not dead", "dead.html", async ({ page }) => {
  for (const id of Object.keys(effects)) {
    await page.click(`#${id}`);
    // What the browser itself does, loading and scrolling, does not wait for the page's clock.
    await page.evaluate(() => window.effect);
    await page.clock.runFor(1500);
    await page.evaluate(() => getSelection().removeAllRanges());
  }
}, []);

friction("a link that leaves is not dead", "dead.html", async (visit) => {
  await visit.page.click("#away");
  await visit.page.waitForURL(/plain/);
  await visit.page.waitForFunction(() => window.convizit?._);
}, []);

friction("a click that an error follows is an error click", "error.html", ({ page }) => page.click("#broken"), [{ type: "error_click", label: "Broken" }, { type: "dead_click" }], [/missingFunction/]);
friction("a promise that fails counts too", "error.html", ({ page }) => page.click("#rejects"), [{ type: "error_click", label: "Rejects" }, { type: "dead_click" }], [/no/]);
friction("a click without an error is none", "error.html", ({ page }) => page.click("#fine"), []);
friction("an ignored control that removes itself stays ignored", "error.html", ({ page }) => page.click("#gone"), [], [/missingToo/]);
friction("an image that is missing is no error of a script", "error.html", ({ page }) => page.click("#image"), []);
