// A person at the console, without a browser: the first administrator's link, the second factor, pages with a session.
import { createHmac } from "node:crypto";
import { until } from "./product.mjs";

/** RFC 6238: what a phone would show. */
export function totp(secret, time = Date.now()) {
  const bits = [...secret.replace(/\s/g, "")].map((sign) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(sign).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(time / 30_000)));
  const tag = createHmac("sha1", key).update(counter).digest();
  const at = tag[19] & 15;
  return String((tag.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** The link that `convizit serve` prints while there is no account. */
export function firstLink(running) {
  return until("the first administrator's link", () => /http:\/\/\S+\/welcome\/\S+/.exec(running.log)?.[0]);
}

/** Makes the first Master Admin and gives what asks for pages in their name. */
export async function administrator(running) {
  const link = await firstLink(running);
  let cookie = "";
  const ask = async (path, form) => {
    const answer = await fetch(new URL(path, running.operator), {
      method: form ? "POST" : "GET",
      redirect: "manual",
      headers: { cookie, ...(form ? { origin: running.operator, "content-type": "application/x-www-form-urlencoded" } : {}) },
      body: form && new URLSearchParams(form),
    });
    cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie;
    return { status: answer.status, location: answer.headers.get("location"), text: await answer.text() };
  };
  const field = (page, name) => new RegExp(`name="${name}" value="([^"]*)"`).exec(page.text)[1];
  const path = new URL(link).pathname;
  const welcome = await ask(path);
  const made = await ask(path, { token: field(welcome, "token"), email: "admin@shop.example", name: "Ada", password: "copper lantern walks uphill" });
  if (made.location !== "/projects") throw new Error(`the first account was not made: ${made.status} ${made.text}`);
  const factor = await ask("/account/second-factor");
  const secret = field(factor, "secret");
  const set = await ask("/account/second-factor", { token: field(factor, "token"), secret, code: totp(secret) });
  if (set.status !== 200) throw new Error(`the second factor was not set up: ${set.status} ${set.text}`);
  return { ask };
}

/** The same in a browser: whoever sees `page` is the first Master Admin after it. `look` is called with each page on the way. */
export async function administratorIn(page, running, look = async () => {}) {
  await page.goto(await firstLink(running));
  await look("welcome");
  await page.fill("#email", "admin@shop.example");
  await page.fill("#name", "Ada");
  await page.fill("#password", "copper lantern walks uphill");
  await page.click("text=Make the account");
  await page.waitForURL("**/account/second-factor");
  await look("second-factor");
  await page.fill("#code", totp(await page.inputValue("input[name=secret]")));
  await page.click("text=Set it up");
  await page.locator(".codes li").nth(9).waitFor();
  await look("recovery-codes");
}
