// Whether anything is captured: Global Privacy Control, consent, opt-out, consent platforms.
import { assert, behaviour, until } from "./stage.mjs";

const traceless = async (visit) => {
  assert.deepEqual(await visit.context.cookies(), []);
  assert.deepEqual(await visit.page.evaluate(() => Object.keys(localStorage).filter((name) => name !== "convizit.out")), []);
};
const act = async ({ page }) => {
  await page.click("button");
  await page.evaluate(() => { window.convizit.track("Coded"); window.convizit.identify("u1"); window.convizit.page(); });
};
const control = ({ context }) => context.addInitScript(() => Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { get: () => true }));

behaviour("with Global Privacy Control nothing is captured and nothing kept", { before: control, do: act, silent: true, then: traceless });

behaviour("with Do Not Track nothing is captured", {
  before: ({ context }) => context.addInitScript(() => Object.defineProperty(Navigator.prototype, "doNotTrack", { get: () => "1" })),
  do: act,
  silent: true,
  then: traceless,
});

behaviour("where Do Not Track is not honoured, capture goes on", {
  before: ({ context }) => context.addInitScript(() => Object.defineProperty(Navigator.prototype, "doNotTrack", { get: () => "1" })),
  settings: { honourDnt: false },
  do: ({ page }) => page.click("#save"),
  expect: [{ type: "click", batch: { consent: { gpc: false } } }],
});

behaviour("a project that does not honour the signal still tells it", {
  before: control,
  settings: { honourGpc: false },
  do: ({ page }) => page.click("#save"),
  expect: [{ type: "click", batch: { consent: { gpc: true, analytics: null, ads: null } } }],
});

behaviour("where consent is required nothing happens before it", { settings: { consentRequired: true }, do: act, silent: true, then: traceless });

behaviour("with consent the page is viewed; what was before stays untold", {
  settings: { consentRequired: true },
  ignore: ["web_vital"],
  do: async (visit) => {
    await visit.page.click("#save");
    await visit.page.evaluate(() => window.convizit.consent({ analytics: true }));
    await visit.page.click("h1");
  },
  expect: [
    { type: "page_view", batch: { consent: { analytics: true, ads: null, gpc: false } } },
    { type: "click", label: "A plain page" },
  ],
});

behaviour("withdrawn consent drops what waits and forgets the visitor", {
  do: async (visit) => {
    await visit.settled();
    const before = visit.project.posts.length;
    // In one go: a sending that is due may not come between them.
    await visit.page.evaluate(() => {
      document.querySelector("#save").click();
      window.convizit.consent({ analytics: false });
    });
    await act(visit);
    await visit.silent();
    assert.equal(visit.project.posts.length, before);
    await traceless(visit);
  },
  settle: false,
  expect: [],
});

behaviour("a state without analytics leaves capture as it is, and each batch has one", {
  do: async ({ page }) => {
    await page.click("#save");
    await page.evaluate(() => window.convizit.consent({ ads: false }));
    await page.click("#save");
  },
  expect: [
    { type: "click", batch: { consent: { analytics: null, ads: null } } },
    { type: "click", batch: { consent: { analytics: null, ads: false } } },
  ],
});

behaviour("an opt-out is kept over loads until the opt-in", {
  settle: false,
  ignore: ["web_vital"],
  do: async (visit) => {
    await visit.settled();
    const before = visit.project.posts.length;
    await visit.page.evaluate(() => window.convizit.optOut());
    await act(visit);
    await visit.silent();
    await traceless(visit);
    await visit.open("nested.html");
    await act(visit);
    await visit.silent();
    await traceless(visit);
    assert.equal(visit.project.posts.length, before);
    await visit.page.evaluate(() => window.convizit.optIn());
    await visit.settled();
  },
  expect: [{ type: "page_view", batch: { page: { url: /plain/ } } }, { type: "page_view", batch: { page: { url: /nested/ } } }],
});

behaviour("an opt-out that waits in the snippet's queue comes before the first event", { page: "stub-out.html", do: act, silent: true, then: traceless });

behaviour("what a TCF platform says is the consent", {
  page: "tcf.html",
  settings: { consentRequired: true },
  do: async (visit) => {
    await visit.withMore();
    await visit.silent();
    assert.equal(visit.sent, 0);
    await visit.page.evaluate(() => window.decide({ 1: true, 8: true, 2: false, 7: false }));
    await visit.page.click("#go");
  },
  expect: [{ type: "click", batch: { consent: { analytics: true, ads: false } } }],
});

behaviour("a TCF refusal stops capture", {
  page: "tcf.html",
  settle: false,
  do: async (visit) => {
    await visit.withMore();
    await visit.page.evaluate(() => window.decide({ 1: true, 8: false }));
    const before = visit.project.posts.length;
    await act(visit);
    await visit.silent();
    assert.equal(visit.project.posts.length, before);
  },
  expect: () => {},
  then: traceless,
});

behaviour("a GPP opt-out of sale is no consent to ads", {
  page: "gpp.html",
  do: async (visit) => {
    await visit.withMore();
    await visit.page.click("#go");
  },
  expect: [{ type: "click", batch: { consent: { ads: false, analytics: null } } }],
});

behaviour("Google's consent mode is read, before and after", {
  page: "consent-mode.html",
  do: async (visit) => {
    await visit.withMore();
    await visit.silent();
    const before = visit.project.posts.length;
    await visit.page.click("#go");
    await visit.silent();
    assert.equal(visit.project.posts.length, before);
    await visit.page.evaluate(() => window.gtag("consent", "update", { analytics_storage: "granted" }));
    await visit.page.click("#go");
    await until("the page's own list", () => visit.page.evaluate(() => window.dataLayer.length === 2));
  },
  expect: [{ type: "click", batch: { consent: { analytics: true, ads: false } } }],
});
