// Addresses and words: what of them may leave the browser.
import assert from "node:assert/strict";
import test from "node:test";
import { load } from "./sources.mjs";

const { cleanUrl, words, slug, domains, excludedPath, setSettings, pageBlock } = await load();

for (const [href, clean] of [
  ["/list", "https://shop.example/list"],
  ["/list#part", "https://shop.example/list"],
  ["https://anna:secret@shop.example/a", "https://shop.example/a"],
  // Values by list only; of every other parameter the key.
  ["/list?page=2&sort=price&utm_source=mail&q=anna", "https://shop.example/list?page=2&sort=price&utm_source=mail&q"],
  ["/list?size=42", "https://shop.example/list?size=42"],
  ["/list?utm_source=anna@mail.example", "https://shop.example/list?utm_source"],
  ["/list?utm_source=anna%40mail.example", "https://shop.example/list?utm_source"],
  ["/list?utm_source=anna%2540mail.example", "https://shop.example/list?utm_source"],
  ["/list?anna@mail.example=1", "https://shop.example/list"],
  [`/list?${"k".repeat(40)}=1`, "https://shop.example/list"],
  // Segments that are ids.
  ["/order/4915159998877", "https://shop.example/order/:id"],
  ["/user/anna@mail.example/orders", "https://shop.example/user/:id/orders"],
  ["/user/anna%40mail.example/orders", "https://shop.example/user/:id/orders"],
  ["/user/anna%2540mail.example/orders", "https://shop.example/user/:id/orders"],
  ["/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx", "https://shop.example/reset/:id"],
  ["/p/trail-shoe-2", "https://shop.example/p/trail-shoe-2"],
  ["javascript:alert(1)", ""],
  ["mailto:anna@mail.example", ""],
  ["data:text/html,x", ""],
  ["http://[", ""],
]) {
  test(`the clean address of ${href}`, () => assert.equal(cleanUrl(href), clean));
}

test("a long address is cut, one with many parameters is bounded", () => {
  assert.equal(cleanUrl("/" + "a/".repeat(3000)).length, 2000);
  const many = Array.from({ length: 50 }, (_, at) => `k${at}=1`).join("&");
  assert.equal(new URL(cleanUrl(`/?${many}`)).searchParams.size, 20);
});

for (const [text, split] of [
  ["add_toCart-btn", "add to cart btn"],
  ["signUp", "sign up"],
  ["nav.menu:open", "nav menu open"],
  ["item12 open", "open"],
  ["a8f3k", ""],
  ["x927", ""],
  ["btn", ""],
  ["", ""],
]) {
  test(`the words of ${JSON.stringify(text)}`, () => assert.equal(words(text), split));
}

for (const [address, word] of [
  ["/img/trail-shoe.png?w=200", "trail shoe"],
  ["https://shop.example/sale/", "sale"],
  ["/files/sizeGuide.pdf#page", "size guide"],
  ["/i/8f3a9c01d2.png", ""],
  ["", ""],
]) {
  test(`the slug of ${JSON.stringify(address)}`, () => assert.equal(slug(address), word));
}

test("a cookie's domains, widest first", () => {
  assert.deepEqual(domains("www.shop.example.co.uk"), ["co.uk", "example.co.uk", "shop.example.co.uk", "www.shop.example.co.uk", ""]);
  assert.deepEqual(domains("shop.example"), ["shop.example", ""]);
  for (const host of ["localhost", "127.0.0.1", "[::1]"]) assert.deepEqual(domains(host), [""]);
});

test("a path is excluded by the server's expression only", () => {
  assert.equal(excludedPath("/account"), false);
  setSettings({ excludePaths: "^(\\/account\\/.*|\\/help)$" });
  assert.equal(excludedPath("/account/orders"), true);
  assert.equal(excludedPath("/help"), true);
  assert.equal(excludedPath("/helpers"), false);
});

test("a page's title and referrer pass the gate", async () => {
  const { pageBlock } = await load();
  document.title = " Orders of  anna@mail.example ";
  document.referrer = "https://mail.example/inbox?token=abc#x";
  document.documentElement.lang = "de";
  const receipts = [];
  assert.deepEqual(pageBlock(receipts), { url: "https://shop.example/list?page=2", title: "", language: "de", referrer: "https://mail.example/inbox?token" });
  assert.deepEqual(receipts, [{ field: "page.title", rule: "email", by: "browser", rules: 2 }]);
});
