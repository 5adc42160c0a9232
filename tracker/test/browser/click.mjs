// Which control a click is about, and what is known of it although the page's handlers change it.
import { assert, behaviour } from "./stage.mjs";

const click = (selector) => ({ page }) => page.click(selector);

behaviour("a click on a nested span is its button's", {
  page: "nested.html",
  do: click("#word"),
  expect: [{ type: "click", role: "button", label: "Save", descriptor: { labelSource: "content", tag: "button", attributes: { id: "save" } } }],
});

behaviour("a click on a path of an icon is its button's", {
  page: "nested.html",
  do: click("#stroke"),
  expect: [{ type: "click", role: "button", label: "Save" }],
});

behaviour("a div with the role of a button is a button", {
  page: "role-button.html",
  do: click("#inside"),
  expect: [{ type: "click", role: "button", label: "Open menu", descriptor: { tag: "div" } }],
});

behaviour("a widget role without tabindex is a control", {
  page: "role-button.html",
  do: click("#item"),
  expect: [{ type: "click", role: "menuitemcheckbox", label: "Show grid", descriptor: { inert: undefined } }],
});

behaviour("a click on plain text is inert", {
  page: "role-button.html",
  do: click("#text"),
  expect: [{ type: "click", label: "Only text", descriptor: { tag: "p", inert: true } }],
});

behaviour("where the pointer becomes a hand, the control begins", {
  page: "pointer.html",
  do: click("#deep"),
  expect: [{ type: "click", label: "Open the tile", descriptor: { tag: "div", attributes: { id: "tile" }, inert: undefined } }],
});

behaviour("beside the hand nothing is a control", {
  page: "pointer.html",
  do: click("#beside"),
  expect: [{ type: "click", descriptor: { tag: "p", inert: true } }],
});

behaviour("an element with onclick is a control", {
  page: "onclick.html",
  do: click("#deep"),
  expect: [{ type: "click", label: "Expand row", descriptor: { tag: "div", inert: undefined } }],
});

for (const [what, selector] of [["around", "#around"], ["for", "#for"]]) {
  behaviour(`a label ${what} a checkbox is a change of the checkbox and no click`, {
    page: "label.html",
    do: async ({ page }) => page.click(selector, { position: { x: 5, y: 5 } }),
    expect: [{ type: "change", role: "checkbox", label: what === "for" ? "Fast delivery" : "Gift wrap", properties: { Checked: true } }],
  });
}

behaviour("a label of a button is one click of the button", {
  page: "label.html",
  do: click("#for-button"),
  // Its label is what the label element says, as assistive technology reads it.
  expect: [{ type: "click", role: "button", label: "Press here", descriptor: { tag: "input:button" } }],
});

behaviour("a link inside a label is a click of the link", {
  page: "label.html",
  do: click("#terms"),
  expect: [{ type: "click", role: "link", label: "Terms" }],
});

behaviour("the keyboard's click is a click", {
  page: "nested.html",
  do: async ({ page }) => {
    await page.focus("#save");
    await page.keyboard.press("Enter");
  },
  expect: [{ type: "click", label: "Save" }],
});

behaviour("only buttons among inputs are clicked; fields are not", {
  page: "fields.html",
  settings: { events: ["click", "coded"] },
  do: async ({ page }) => {
    for (const id of ["text", "password", "email", "tel", "number", "date", "search", "area", "edited", "bold", "plain-edited", "given", "choice"]) await page.click(`#${id}`, { force: true, position: { x: 3, y: 3 } });
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.querySelector("#file").dispatchEvent(new MouseEvent("click", { bubbles: true })));
    for (const id of ["b", "s", "r", "c", "g", "i"]) await page.click(`#${id}`);
  },
  expect: [
    { type: "click", role: "button", label: "Button word" },
    { type: "click", role: "button", label: "Submit word" },
    { type: "click", role: "button", label: "Reset word" },
    { type: "click", role: "button", label: "Color word" },
    { type: "click", role: "slider", label: "Range word" },
    { type: "click", role: "button", label: "Image word" },
  ],
});

for (const id of ["stopped", "captured"]) {
  behaviour(`a handler that stops the event does not hide the click: ${id}`, {
    page: "handlers.html",
    do: click(`#${id}`),
    expect: [{ type: "click", label: id === "stopped" ? "Stopped" : "Captured" }],
  });
}

behaviour("a button that renames itself had its old name when clicked", {
  page: "handlers.html",
  do: click("#renamed"),
  expect: [{ type: "click", label: "Follow" }],
});

behaviour("a button that removes itself is known", {
  page: "handlers.html",
  do: click("#removed"),
  expect: [{ type: "click", label: "Remove me", descriptor: { path: /body>div>button$/ } }],
});

behaviour("a click that routes belongs to the page on which it was made", {
  page: "handlers.html",
  ignore: ["web_vital"],
  do: async (visit) => {
    await visit.page.click("#routed");
    await visit.page.waitForTimeout(0);
    await visit.page.waitForFunction(() => document.title === "Step two");
  },
  expect: (events) => {
    const at = events.find((event) => event.type === "click");
    assert.equal(at.label, "Next step");
    assert.equal(new URL(at.batch.page.url).pathname, "/handlers.html");
    assert.equal(at.batch.page.title, "Handlers");
  },
});

behaviour("a click that leaves the page by a link arrives", {
  page: "dead.html",
  do: async ({ page }) => {
    await page.click("#away");
    await page.waitForURL(/plain/);
    await page.waitForFunction(() => window.convizit?._);
  },
  expect: [{ type: "click", label: "Away", batch: { page: { url: /dead\.html$/ } } }],
});

behaviour("a page too long to read in time is sent with what there is, marked cut", {
  page: "huge.html",
  ticking: true,
  do: async ({ page }) => {
    // Time passes for the tracker as on a slow machine: each look at the clock is 3 ms later.
    await page.evaluate(() => {
      const real = performance.now.bind(performance);
      let looks = 0;
      performance.now = () => real() + 3 * looks++;
    });
    await page.evaluate(() => document.querySelector("#middle").click());
  },
  expect: [{ type: "click", label: "Open", role: "button", descriptor: { cut: true } }],
});

behaviour("a click in a huge list is described within a bounded time", {
  page: "huge.html",
  ticking: true,
  do: async ({ page }) => {
    const spent = await page.evaluate(() => {
      const button = document.querySelector("#middle");
      const times = [];
      for (let run = 0; run < 15; run++) {
        const from = performance.now();
        button.dispatchEvent(new MouseEvent("click", { bubbles: true, composed: true }));
        times.push(performance.now() - from);
      }
      return Math.min(...times);
    });
    // The bound is 25 ms and the last step; the best of many runs tells little of how busy the machine is.
    assert.ok(spent < 80, `${spent} ms`);
  },
  expect: (events) => assert.equal(events.length, 15),
});
