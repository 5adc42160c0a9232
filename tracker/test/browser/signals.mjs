// What is no click on a control: copies, prints, downloads, links that lead away, media, dialogs, vitals.
import { assert, behaviour, until } from "./stage.mjs";

behaviour("a copy is known, what was copied is not", {
  page: "signals.html",
  do: async ({ page }) => {
    await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#words")));
    await page.keyboard.press("Control+C");
  },
  expect: [{ type: "copy", descriptor: undefined, properties: undefined }],
  then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /Some words/)),
});

behaviour("a print is known", {
  page: "signals.html",
  do: ({ page }) => page.evaluate(() => dispatchEvent(new Event("beforeprint"))),
  expect: [{ type: "print" }],
});

behaviour("a link to a file is a download, a link to a page is a click", {
  page: "signals.html",
  do: async ({ page }) => {
    for (const id of ["pdf", "named", "html"]) await page.click(`#${id}`);
  },
  expect: [
    { type: "download", label: "Size guide", properties: { "File type": "txt" } },
    { type: "download", label: "Export", properties: undefined },
    { type: "click", label: "Plain page", properties: undefined },
  ],
});

behaviour("a link that leads to another site says to which, one to a mail program tells no address", {
  page: "signals.html",
  do: async ({ page }) => {
    await page.click("#out");
    await page.click("#mailto");
  },
  expect: [
    { type: "click", label: "Partner", properties: { "Link domain": "partner.example" }, descriptor: { attributes: { href: "https://partner.example/shop" } } },
    { type: "click", label: "Write to us", properties: undefined, descriptor: { attributes: { href: "mailto:" } } },
  ],
});

behaviour("a dialog is opened and closed", {
  page: "signals.html",
  ignore: ["page_view", "page_leave", "web_vital", "click"],
  do: async (visit) => {
    await visit.withMore();
    await visit.page.click("#open");
    await visit.page.evaluate(() => new Promise((done) => setTimeout(done)));
    await visit.page.click("#close");
    await until("the dialog's end", async () => (await visit.settled(), visit.got().filter((event) => event.type === "dialog").length === 2));
  },
  expect: [
    { type: "dialog", role: "dialog", properties: { Action: "Open" } },
    // Its form only closes it: nothing is submitted.
    { type: "dialog", role: "dialog", properties: { Action: "Close" } },
  ],
});

behaviour("a video is played, paused and ended", {
  page: "media.html",
  do: async (visit) => {
    await visit.withMore();
    await visit.page.evaluate(async () => {
      const film = document.querySelector("video");
      const next = (name) => new Promise((done) => film.addEventListener(name, done, { once: true }));
      if (!(film.duration > 0)) await next("loadedmetadata");
      film.loop = false;
      await film.play();
      const paused = next("pause");
      film.pause();
      await paused;
      const ended = next("ended");
      film.currentTime = film.duration;
      await film.play().catch(() => {});
      await ended;
    });
  },
  expect: (events) => {
    const media = events.filter((event) => event.type === "media");
    assert.deepEqual(media.map((event) => event.properties.Action).filter((action) => action !== "Progress"), ["Play", "Pause", "Play", "End"]);
    assert.equal(media[0].label, "Lacing film");
    assert.equal(typeof media[0].properties.Duration, "number");
  },
});

behaviour("web vitals leave with the page, once", {
  page: "vitals.html",
  ignore: ["page_view", "page_leave", "click"],
  do: async (visit) => {
    await visit.withMore();
    await visit.page.click("#slow");
    await visit.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50))));
    await visit.leave();
    await visit.open("nested.html");
    await visit.settled();
  },
  expect: (events) => {
    const names = events.map((event) => event.properties.Metric);
    for (const name of ["TTFB", "FCP", "LCP"]) assert.ok(names.includes(name), names.join(" "));
    assert.equal(new Set(names).size, names.length);
    for (const event of events) {
      assert.equal(typeof event.properties.Value, "number");
      assert.match(event.properties.Rating, /^(good|needs improvement|poor)$/);
      assert.match(event.batch.page.url, /vitals/);
    }
  },
});
