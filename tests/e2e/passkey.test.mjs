// Passkeys in a real browser with a virtual authenticator: made, used in place of the code, used to prove again, removed; and what is
// refused: another account's, one that did not verify the person, an answer that was given before.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { administratorIn, firstLink, totp } from "./person.mjs";
import { startBrowser } from "./product.mjs";
import { Site } from "./site.mjs";

let [site, running, browser, page, devtools] = [];
const PASSWORD = "copper lantern walks uphill";

before(async () => {
  site = await Site.make();
  running = await site.serve();
  // A passkey belongs to a name.
  running.operator = `http://localhost:${site.consolePort}`;
  browser = await startBrowser();
  page = await browser.context.newPage();
  devtools = await browser.context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
});

after(async () => {
  await browser?.stop();
  if (running) assert.equal(await running.stop(), 0, running.log);
  site?.remove();
});

const at = (path) => `${running.operator}${path}`;
const authenticator = (isUserVerified = true) => devtools.send("WebAuthn.addVirtualAuthenticator", {
  options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified, automaticPresenceSimulation: true },
}).then(({ authenticatorId }) => authenticatorId);
const signOut = async () => {
  await page.goto(at("/account"));
  await page.click("text=Sign out");
};
const halfSignIn = async (email) => {
  await page.goto(at("/sign-in"));
  await page.fill("#email", email);
  await page.fill("#password", PASSWORD);
  await page.click("main button");
  await page.waitForURL("**/sign-in/code**");
};

test("a passkey takes the place of the code, and nobody else's does", { timeout: 120_000 }, async () => {
  const link = (await firstLink(running)).replace("127.0.0.1", "localhost");
  await administratorIn(page, { ...running, log: link });
  const device = await authenticator();
  await page.goto(at("/account"));
  await page.fill("#passkey-name", "Laptop");
  await page.click("text=Add a passkey");
  await page.locator(".said.good").waitFor();
  assert.equal(await page.locator("text=Laptop").count(), 1);

  await signOut();
  await halfSignIn("admin@shop.example");
  // What the browser sends is kept, to be sent a second time.
  let sent = "";
  page.on("request", (request) => { if (request.url().endsWith("/sign-in/passkey")) sent = request.postData(); });
  await page.click("text=Use a passkey");
  await page.waitForURL("**/projects");
  assert.match(sent, /client=7b/);

  // The same answer in a new session: its challenge is another one's.
  await signOut();
  await halfSignIn("admin@shop.example");
  const replayed = await page.evaluate(async (body) => {
    const fields = new URLSearchParams(body);
    fields.set("token", document.querySelector("[name=token]").value);
    const answer = await fetch("/sign-in/passkey", { method: "POST", body: fields, redirect: "manual" });
    return { status: answer.status, text: await answer.text() };
  }, sent);
  assert.equal(replayed.status, 422);
  assert.match(replayed.text, /belongs to another question/);

  // A device that does not verify the person.
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId: device, isUserVerified: false });
  await page.click("text=Use a passkey");
  await page.locator("[data-said]:visible").waitFor();
  assert.match(page.url(), /sign-in\/code/);
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId: device, isUserVerified: true });
  await page.click("text=Use a passkey");
  await page.waitForURL("**/projects");

  await page.goto(at("/account"));
  await page.click("text=Remove");
  await page.locator(".said.good").waitFor();
  assert.equal(await page.locator("text=Laptop").count(), 0);
  await signOut();
  await halfSignIn("admin@shop.example");
  assert.equal(await page.locator("text=Use a passkey").count(), 0, "none is offered where there is none");
  // What a removed passkey signs is worth nothing.
  const own = await answered();
  assert.equal(own.status, 422);
  assert.match(own.text, /does not belong to this account/);
});

/** What the console says to an answer of whatever credential the device chooses by itself. */
const answered = () => page.evaluate(async () => {
  const token = document.querySelector("[name=token]").value;
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (two) => Number.parseInt(two, 16));
  const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const asked = await (await fetch("/sign-in/passkey/begin", { method: "POST", body: new URLSearchParams({ token }) })).json();
  const { rawId, response } = await navigator.credentials.get({ publicKey: { challenge: bytes(asked.challenge), rpId: asked.host, userVerification: "required" } });
  const answer = await fetch("/sign-in/passkey", { method: "POST", redirect: "manual", body: new URLSearchParams({ token, id: hex(rawId), client: hex(response.clientDataJSON), data: hex(response.authenticatorData), signature: hex(response.signature) }) });
  return { status: answer.status, text: await answer.text() };
});
