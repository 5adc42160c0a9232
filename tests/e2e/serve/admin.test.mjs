// What is the operator's on an address of its own, and whom to tell of a weakness.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../product.mjs";
import { lastingPort } from "../site.mjs";
import { made, serving } from "./sites.mjs";

test("health, metrics and the installation leave the console's address for the operator's own", async () => {
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
  // Who has not signed in is sent to do so where there is such a page.
  for (const path of ["/system", "/notices", "/incidents", "/projects/new"]) {
    assert.equal(await status(operator + path), 303, `${path} is the operator's`);
    assert.equal(await status(site.console + path), 404, `${path} is no longer the console's`);
  }
  for (const [path, answer] of [["/sign-in", 200], ["/static/console.js", 200], ["/projects", 303]]) {
    assert.equal(await status(operator + path), answer, `${path} is on both`);
    assert.equal(await status(site.console + path), answer, `${path} is on both`);
  }
  for (const path of ["/v1/erase/er_1", "/api/v1/openapi.json", "/api/v1/projects/shop"]) assert.equal(await status(operator + path), 404, `${path} is of programs`);
  // The link that makes the first Master Admin leads there.
  assert.match(running.log, new RegExp(`^ *${operator}/welcome/`, "m"));
  const security = await (await fetch(`${site.console}/.well-known/security.txt`)).text();
  assert.match(security, /^Contact: mailto:security@shop\.example\nExpires: \d{4}-/);
  assert.equal(await running.stop(), 0, running.log);
});

test("an address of the operator's that cannot be is refused with what to do", async () => {
  const site = await made({ project: null });
  for (const [line, says] of [
    [`admin_listen = "127.0.0.1:${site.consolePort}"`, /console\.admin_listen is console\.listen/],
    ['admin_public = "https://admin.shop.example"', /console\.admin_public is the address of console\.admin_listen/],
    ['security_contact = "security@shop.example"', /console\.security_contact = security@shop\.example: an address such as mailto:/],
  ]) {
    site.write({ console: line });
    assert.match(site.fails("project", "list"), says);
  }
});
