// What a person decides about names while the product runs: seen before it is made, held by the next events, undone again.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { eventsIn, until } from "../product.mjs";
import { folder } from "../site.mjs";
import { made, serving } from "./sites.mjs";

const control = (label) => ({ role: "button", label, template: label, labelSource: "content", tag: "button", path: "main>section>div>button", context: [{ kind: "section", name: "Tools" }] });

test("a name is changed, merged and dropped while events come", async () => {
  const site = await made();
  site.write({ delivery: `allow_folders = [${JSON.stringify(folder(site, "lines"))}]` });
  const file = path.join(site.folder, "lines", "events.jsonl");
  site.ok("destination", "add", "shop", "lines", "file", "--path", file);
  await serving(site);
  const delivered = () => eventsIn(file);
  const send = async (...labels) => {
    const body = site.batch({ events: labels.length, each: (index) => ({ descriptor: control(labels[index]) }) });
    assert.equal((await site.post(body)).status, 204);
  };
  const click = async (...labels) => {
    const before = delivered().length;
    await send(...labels);
    await until("the events are delivered", () => delivered().length === before + labels.length);
    return delivered().slice(before);
  };
  const decide = (...args) => JSON.parse(site.ok("project", ...args, "--json")).decision;

  const [save, keep, hide] = await click("Save", "Put away", "Show less");
  assert.match(site.ok("project", "names", "shop", "--like", "save"), new RegExp(`1 +provisional +${save.element.id} +${save.name}`));
  const preview = site.ok("project", "rename", "shop", save.name, "Store it", "--preview");
  assert.match(preview, /Store it/);
  assert.match(preview, /preview/);
  assert.match(site.ok("project", "history", "shop"), /Nothing was decided yet/);

  const rename = decide("rename", "shop", save.name, "Store it");
  decide("merge", "shop", keep.element.id, save.element.id);
  decide("not-captured", "shop", hide.name);
  // The worker looks for what was decided each second.
  await until("the new name holds", async () => (await click("Save"))[0].name === "Store it");
  const [merged] = await click("Put away");
  assert.deepEqual([merged.name, merged.element.id, merged.name_state], ["Store it", save.element.id, "published"]);
  const before = delivered().length;
  await send("Show less");
  await click("Save");
  assert.equal(delivered().length, before + 1, "what is not captured is not delivered");
  await until("it is counted", () => JSON.parse(site.ok("project", "show", "shop", "--json")).outcomes["filtered.excluded"] === 1);

  decide("undo", "shop", String(rename));
  await until("the old name is back", async () => (await click("Save"))[0].name === save.name);
  const history = JSON.parse(site.ok("project", "history", "shop", "--json"));
  assert.deepEqual(history.map((one) => one.state), ["holds", "holds", "holds", "undone"]);
  assert.ok(history.every((one) => one.decision.from > 0 && one.decision.by === "command line"), JSON.stringify(history));
  assert.match(site.ok("project", "look", "shop", save.element.id), /form +since/);
  assert.match(site.ok("project", "changes", "shop"), /new +el_/);
  for (const [args, text] of [
    [["rename", "shop", "No such", "Other"], /there is no name "No such" in shop/],
    [["rename", "shop", save.name, "ada@shop.example"], /looks private/],
    [["merge", "shop", save.element.id, save.element.id], /are one element already/],
    [["undo", "shop", "99"], /there is no decision 99/],
    [["split", "shop", save.element.id, "--form", "3"], /form/],
  ]) {
    const { code, err } = site.run(["project", ...args]);
    assert.equal(code, 1);
    assert.match(err, text);
  }
});
