// The project's settings: what it has off, and how newer ones reach an open tab.
import { readFileSync } from "node:fs";
import path from "node:path";
import { assert, behaviour, until } from "./stage.mjs";

behaviour("types that a project has off are not sent", {
  page: "form.html",
  settings: { events: ["click", "coded"] },
  ignore: [],
  do: async ({ page }) => {
    await page.check("#gift");
    await page.click("#go");
  },
  expect: [{ type: "click", label: "Find" }],
});

behaviour("an answer with another version brings newer settings into the tab", {
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.settled();
    visit.project.settings = { ...visit.project.settings, version: 2, excludeSelectors: ",#save" };
    await visit.settled();
    await until("the newer settings", () => visit.project.asked.settings > 0);
    await until("the newer settings take effect", async () => (await visit.settled(), visit.project.batches.at(-1).settings === 2));
    await visit.page.click("#save");
    await visit.page.click("h1");
  },
  expect: [{ type: "click", label: "Save", batch: { settings: 1 } }, { type: "click", label: "A plain page", batch: { settings: 2 } }],
});

behaviour("an open tab asks each minute while it is visible", {
  clock: "paused",
  settle: false,
  do: async (visit) => {
    await visit.page.clock.runFor(61_000);
    await until("the question", () => visit.project.asked.settings === 1);
    await visit.visible(false);
    await visit.page.clock.runFor(180_000);
    await visit.page.evaluate(() => new Promise((done) => requestIdleCallback ? queueMicrotask(done) : done()));
    assert.equal(visit.project.asked.settings, 1);
    await visit.visible(true);
    await visit.page.clock.runFor(61_000);
    await until("the next question", () => visit.project.asked.settings === 2);
  },
  expect: () => {},
});

behaviour("settings of another project are not taken", {
  do: async (visit) => {
    visit.project.settings = { ...visit.project.settings, key: "someone-else", version: 2, events: [] };
    await visit.settled();
    await until("the question", () => visit.project.asked.settings > 0);
    await visit.page.click("#save");
  },
  expect: [{ type: "click", batch: { settings: 1 } }],
});

// The same lists that the server's check is tested with: it must refuse what would make the tracker capture nothing.
behaviour("selectors that the server takes are selectors to a browser, and those it refuses are none", {
  do: async ({ page }) => {
    const folder = path.resolve(import.meta.dirname, "../../../crates/model/tests/selectors");
    const lines = (name) => readFileSync(path.join(folder, name), "utf8").split("\n").filter(Boolean);
    const readable = (list) =>
      page.evaluate((list) => list.filter((selector) => {
        try {
          return document.body.matches(selector), true;
        } catch {
          return false;
        }
      }), list);
    assert.deepEqual(await readable(lines("valid.txt")), lines("valid.txt"));
    assert.deepEqual(await readable(lines("invalid.txt")), []);
  },
  expect: [],
});
