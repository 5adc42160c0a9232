// Forms: submits and choices; never a value, and no choice in a form that asks for something personal.
import { assert, behaviour } from "./stage.mjs";

const ignore = ["page_view", "page_leave", "web_vital", "click"];

behaviour("a submit is the form's", {
  page: "form.html",
  ignore,
  do: ({ page }) => page.click("#go"),
  expect: [{ type: "submit", role: "form", label: "Find a shop" }],
});

behaviour("a choice in a select is its visible label, not its value", {
  page: "form.html",
  ignore,
  do: ({ page }) => page.selectOption("#delivery", "v2"),
  expect: [{ type: "change", role: "combobox", label: "Delivery", properties: { Option: "Express delivery" } }],
  then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /"v[12]"/)),
});

behaviour("a checkbox says what it is and whether it is checked", {
  page: "form.html",
  ignore,
  do: async ({ page }) => {
    await page.check("#gift");
    await page.uncheck("#gift");
  },
  expect: [
    { type: "change", role: "checkbox", label: "Gift wrap", properties: { Option: "Gift wrap", Checked: true } },
    { type: "change", role: "checkbox", label: "Gift wrap", properties: { Checked: false } },
  ],
});

behaviour("a radio is a change of its set", {
  page: "form.html",
  ignore,
  do: ({ page }) => page.check("#yearly"),
  expect: [{ type: "change", role: "radio", label: "Yearly", descriptor: { context: [{ kind: "fieldset", name: "Payment plan" }, { kind: "form" }] }, properties: { Option: "Yearly" } }],
});

behaviour("several chosen options are a change without a label", {
  page: "form.html",
  ignore,
  do: ({ page }) => page.selectOption("#sizes", ["S", "M"]),
  expect: [{ type: "change", label: "Sizes", properties: undefined }],
});

behaviour("a project may have option labels off", {
  page: "form.html",
  ignore,
  settings: { optionLabels: false },
  do: async ({ page }) => {
    await page.selectOption("#delivery", "v2");
    await page.check("#yearly");
  },
  expect: [{ type: "change", label: "Delivery", properties: undefined }, { type: "change", label: "Payment plan", properties: undefined }],
});

behaviour("in a form with an address, a name, a birth date or a payment the choice goes out without its label", {
  page: "private-form.html",
  ignore,
  do: async ({ page }) => {
    await page.selectOption("#country", "France");
    await page.check("#gift");
    await page.check("#mrs");
    await page.check("#way");
    await page.check("#when");
    await page.selectOption("#month", "June");
    await page.selectOption("#title", "Prof");
    await page.selectOption("#brand", "Gold");
    await page.click("#pay");
  },
  expect: [
    { type: "change", label: "Country", properties: undefined },
    { type: "change", properties: undefined },
    { type: "change", label: "Salutation", properties: undefined },
    // Nor as the title of the record that the option is.
    { type: "change", properties: undefined, descriptor: { group: { position: 2, length: 2 } } },
    // Nor as the heading that it stands under.
    { type: "change", properties: undefined, descriptor: { context: [] } },
    { type: "change", label: "Month", properties: undefined },
    { type: "change", label: "Title", properties: undefined },
    { type: "change", label: "Brand", properties: undefined },
    { type: "submit", role: "form" },
  ],
  then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /France|Germany|Anna|"Mrs"|Fast train|Night owl|June|Prof|Gold/)),
});

behaviour("typing is a change of the field by its label, never its text", {
  page: "product.html",
  ignore,
  do: async ({ page }) => {
    await page.fill("#engraving", "second-canary");
    await page.keyboard.press("Tab");
  },
  expect: (events, visit) => {
    for (const event of events) assert.equal(event.properties, undefined);
    visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /canary/));
  },
});

behaviour("no field's value is ever read", {
  page: "fields.html",
  before: ({ context }) => context.addInitScript(() => {
    window.read = [];
    for (const [owner, kinds] of [[HTMLInputElement, /^(?!button|submit|reset|image|color|range)/], [HTMLTextAreaElement, /./], [HTMLSelectElement, /./]]) {
      for (const name of ["value", "valueAsNumber", "valueAsDate", "defaultValue", "textLength", "files"]) {
        const own = Object.getOwnPropertyDescriptor(owner.prototype, name);
        if (!own?.get) continue;
        Object.defineProperty(owner.prototype, name, { ...own, get() { if (kinds.test(this.type)) window.read.push(`${this.id}.${name}`); return own.get.call(this); } });
      }
    }
    const attribute = Element.prototype.getAttribute;
    Element.prototype.getAttribute = function (name) {
      if (/^(value|aria-valuetext)$/i.test(name) && !/^(button|submit|reset|image)$/.test(this.type)) window.read.push(`${this.id}[${name}]`);
      return attribute.call(this, name);
    };
  }),
  do: async (visit) => {
    const { page } = visit;
    await visit.withMore();
    await page.evaluate(() => {
      for (const el of document.querySelectorAll("input,select,textarea,[contenteditable],button")) {
        for (const type of ["focus", "input", "change", "click"]) el.dispatchEvent(new Event(type, { bubbles: true, composed: true, cancelable: true }));
      }
      document.querySelector("form").requestSubmit();
    });
    await visit.settled();
    assert.deepEqual(await page.evaluate(() => window.read), []);
    visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /canary|[":]4711[",}]|2001-02-03|"77"/));
  },
  expect: (events) => assert.ok(events.some((event) => event.type === "click" && event.label === "Button word")),
});

behaviour("a form that was begun and left is abandoned, one that was sent or not touched is not", {
  page: "abandon.html",
  ignore: ["page_view", "page_leave", "web_vital", "click", "change"],
  do: async (visit) => {
    await visit.withMore();
    await visit.page.fill("#mail", "typed-canary");
    await visit.page.click("#away");
    await visit.page.waitForURL(/plain/);
    await visit.open("abandon.html");
    await visit.withMore();
    await visit.page.fill("#mail", "typed-canary@mail.example");
    await visit.page.click("#send");
    await visit.page.click("#away");
    await visit.page.waitForURL(/plain/);
    await visit.page.waitForFunction(() => window.convizit?._);
  },
  expect: [{ type: "form_abandon", role: "form", label: "Newsletter", batch: { page: { url: /abandon/ } } }, { type: "submit", label: "Newsletter" }],
  then: (visit) => visit.project.posts.forEach((post) => assert.doesNotMatch(post.text, /canary/)),
});

behaviour("a form that a route leaves is abandoned", {
  page: "abandon.html",
  ignore: ["page_leave", "web_vital", "click", "change"],
  clock: true,
  do: async (visit) => {
    await visit.page.clock.runFor(1000);
    await visit.withMore();
    await visit.page.fill("#mail", "typed-canary");
    await visit.page.click("#route");
    await visit.page.clock.runFor(1000);
  },
  expect: [{ type: "page_view" }, { type: "form_abandon", label: "Newsletter", batch: { page: { url: /abandon/ } } }, { type: "page_view", batch: { page: { url: /elsewhere/ } } }],
});
