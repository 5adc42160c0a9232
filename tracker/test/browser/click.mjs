// Which control a click is about.
import { behaviour } from "./stage.mjs";

behaviour("a click on a nested span is its button's", {
  page: "nested.html",
  do: ({ page }) => page.click("#word"),
  expect: [{ type: "click", role: "button", label: "Save" }],
});

behaviour("a click on a path of an icon is its button's", {
  page: "nested.html",
  do: ({ page }) => page.click("#stroke"),
  expect: [{ type: "click", role: "button", label: "Save" }],
});
