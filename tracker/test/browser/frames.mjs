// Open shadow roots and frames of the same origin are part of the page; frames of another origin are not, and are left alone.
import { assert, behaviour } from "./stage.mjs";

behaviour("a click inside open shadow roots is known, with what stands around it", {
  page: "shadow.html",
  do: async ({ page }) => {
    await page.click("#five span");
    await page.click("#deep");
  },
  expect: [
    { type: "click", role: "button", label: "Five stars", descriptor: { context: [{ kind: "section", name: "Rate this" }] } },
    { type: "click", role: "button", label: "Why rate", descriptor: { context: [{ kind: "section", name: "Rate this" }] } },
  ],
});

behaviour("a click inside a closed shadow root is its host's", {
  page: "shadow.html",
  do: async ({ page }) => page.click("#closed", { position: { x: 2, y: 2 }, force: true }),
  expect: [{ type: "click", descriptor: { tag: "closed-box" } }],
});

behaviour("a click in a frame of the same origin is captured, with what stands around the frame", {
  page: "frames.html",
  do: ({ page }) => page.frameLocator("#near").locator("#inner span").click(),
  expect: [{ type: "click", label: "Inner button", descriptor: { context: [{ kind: "section", name: "Help" }] }, batch: { page: { url: /frames\.html$/ } } }],
});

behaviour("a frame added later is listened to", {
  page: "frames.html",
  do: async ({ page }) => {
    await page.click("#add");
    await page.frameLocator("#later").locator("#inner").click();
  },
  expect: [{ type: "click", label: "Add frame" }, { type: "click", label: "Inner button" }],
});

behaviour("a frame written by a script is listened to", {
  page: "frames.html",
  do: async ({ page }) => {
    await page.click("#write");
    await page.frameLocator("#written").locator("#inner").click();
  },
  expect: [{ type: "click", label: "Write frame" }, { type: "click", label: "Written" }],
});

behaviour("a frame that goes to another page is listened to again", {
  page: "frames.html",
  do: async ({ page }) => {
    const frame = page.frames().find((frame) => frame.parentFrame() && frame.url().includes("inner"));
    await frame.goto(`${frame.url()}?again`);
    await page.frameLocator("#near").locator("#inner").click();
  },
  expect: [{ type: "click", label: "Inner button" }],
});

behaviour("frames of another origin do no harm and tell nothing", {
  page: "frames.html",
  do: async ({ page }) => {
    await page.frameLocator("#far").locator("#inner").click();
    await page.frameLocator("#box").locator("#inner").click();
    await page.click("h1");
  },
  expect: (events) => assert.deepEqual(events.filter((event) => event.label !== "Frames").map((event) => event.label), []),
});

behaviour("what a frame inside an ignored part shows is not captured", {
  page: "frames.html",
  do: ({ page }) => page.frameLocator("#ignored").locator("#inner").click(),
  expect: [],
});

behaviour("choices and submits inside a shadow root are captured", {
  page: "shadow-form.html",
  do: async ({ page }) => {
    await page.focus("#stars");
    await page.selectOption("#stars", "Two");
    await page.click("#again");
    await page.click("#send");
  },
  expect: [
    { type: "change", label: "Stars", properties: { Option: "Two" } },
    { type: "change", label: "Again", properties: { Checked: true } },
    { type: "click", label: "Send" },
    { type: "submit", role: "form", label: "Rate" },
  ],
});

behaviour("a frame with a tracker of its own tells its clicks itself, once", {
  page: "frame-own.html",
  do: async (visit) => {
    const frame = visit.page.frameLocator("#own");
    await visit.page.frames().find((frame) => /plain/.test(frame.url())).waitForFunction(() => window.convizit?._);
    await frame.locator("#save").click();
    await visit.settled(visit.page.frames().find((frame) => /plain/.test(frame.url())));
  },
  expect: [{ type: "click", label: "Save", batch: { page: { url: /plain/ } } }],
});

behaviour("a frame that is still loading when the tracker begins is listened to once", {
  page: "frame-own.html",
  do: ({ page }) => page.frameLocator("#slow").locator("#inner").click(),
  expect: [{ type: "click", label: "Inner button" }],
});
