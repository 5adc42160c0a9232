// What every page of the console owes who looks at it: it fits at 1440 and 360 px, and axe finds nothing; pictures of both, and of the dark one.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Gives what looks at a page as it stands, and the list of what was found wrong. */
export function looker(page, folder) {
  const pictures = path.resolve(import.meta.dirname, "../../test-output", folder);
  rmSync(pictures, { recursive: true, force: true });
  mkdirSync(pictures, { recursive: true });
  const problems = [];
  const look = async (name, { narrow = true, dark = false } = {}) => {
    for (const [word, width, colorScheme] of [["wide", 1440, "light"], ...(narrow ? [["narrow", 360, "light"]] : []), ...(dark ? [["dark", 1440, "dark"]] : [])]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(pictures, `${name}-${word}.png`), fullPage: true });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) problems.push(`${name} is ${over} px too wide at ${width} px`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      problems.push(...violations.map((one) => `${name} at ${width} px, ${colorScheme}: ${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`));
    }
    await page.setViewportSize({ width: 1100, height: 900 });
    await page.emulateMedia({ colorScheme: "light" });
  };
  return { look, problems };
}
