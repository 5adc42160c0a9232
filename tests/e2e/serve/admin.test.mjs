// What is the operator's on an address of its own, and whom to tell of a weakness.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../product.mjs";
import { lastingPort } from "../site.mjs";
import { made, serving } from "./sites.mjs";

test("health and metrics leave the console's address for the operator's own", async () => {
  const port = await lastingPort();
  const site = await made({ sections: { console: `admin_listen = "127.0.0.1:${port}"\nsecurity_contact = "mailto:security@shop.example"` } });
  const running = await serving(site, { ready: false });
  const operator = `http://127.0.0.1:${port}`;
  const status = (url) => fetch(url, { redirect: "manual" }).then((answer) => answer.status, () => 0);
  await until("the operator's address answers", async () => (await status(`${operator}/readyz`)) === 200);
  await until("the console answers", async () => (await status(`${site.console}/sign-in`)) === 200);
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    const answer = await fetch(operator + path);
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", path);
    assert.equal(answer.headers.get("cache-control"), "no-store", path);
    assert.equal(await status(site.console + path), 404, `${path} is no longer the console's`);
  }
  for (const path of ["/", "/sign-in", "/projects", "/system", "/static/console.js", "/v1/erase"]) assert.equal(await status(operator + path), 404, `${path} is no page of the operator's`);
  const security = await (await fetch(`${site.console}/.well-known/security.txt`)).text();
  assert.match(security, /^Contact: mailto:security@shop\.example\nExpires: \d{4}-/);
  assert.equal(await running.stop(), 0, running.log);
});

test("an address of the operator's that cannot be is refused with what to do", async () => {
  const site = await made({ project: null });
  for (const [line, says] of [
    [`admin_listen = "127.0.0.1:${site.consolePort}"`, /console\.admin_listen is console\.listen/],
    ['security_contact = "security@shop.example"', /console\.security_contact = security@shop\.example: an address such as mailto:/],
  ]) {
    site.write({ console: line });
    assert.match(site.fails("project", "list"), says);
  }
});
