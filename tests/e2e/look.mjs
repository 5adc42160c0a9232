// What every page of the console owes who looks at it: it fits at 1440 and 360 px, tables too, and axe finds nothing; pictures of both, and of the dark one.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/**
 * Gives what looks at a page as it stands, the list of what was found wrong, and the folder of the pictures. `on` is another page than
 * `page`; without `read` the page is somebody else's: it is shown as far as the window goes, and not judged.
 */
export function looker(page, folder) {
  const pictures = path.resolve(import.meta.dirname, "../../test-output", folder);
  rmSync(pictures, { recursive: true, force: true });
  mkdirSync(pictures, { recursive: true });
  const problems = [];
  const look = async (name, { on = page, narrow = true, dark = false, read = true } = {}) => {
    const size = on.viewportSize();
    for (const [word, width, colorScheme] of [["wide", 1440, "light"], ...(narrow ? [["narrow", 360, "light"]] : []), ...(dark ? [["dark", 1440, "dark"]] : [])]) {
      await on.setViewportSize({ width, height: 900 });
      await on.emulateMedia({ colorScheme });
      await on.screenshot({ path: path.join(pictures, `${name}-${word}.png`), fullPage: read });
      if (!read) continue;
      const over = await on.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) problems.push(`${name} is ${over} px too wide at ${width} px`);
      // A table has a region of its own to scroll in, which a narrow screen must not need.
      const cut = await on.locator(".table").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.getAttribute("aria-label") ?? one.getAttribute("aria-labelledby")));
      if (cut.length > 0) problems.push(`${name}: cut off at ${width} px: ${cut.join(", ")}`);
      await on.evaluate(axe);
      const { violations } = await on.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      problems.push(...violations.map((one) => `${name} at ${width} px, ${colorScheme}: ${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`));
    }
    await on.setViewportSize(size);
    await on.emulateMedia({ colorScheme: "light" });
  };
  return { look, problems, pictures };
}

/** Lets a test look into the customizer's overlay, whose root is closed to the page. */
export function openOverlay(context) {
  return context.addInitScript(() => {
    const attach = Element.prototype.attachShadow;
    Element.prototype.attachShadow = function (given) { return attach.call(this, { ...given, mode: "open" }); };
  });
}
