// Every browser test in one process, so that one Chromium serves them all; they wait more than they compute, so a few run at once.
import { describe } from "node:test";

describe("tracker", { concurrency: 4 }, async () => {
  for (const part of ["click", "frames", "pages", "forms"]) await import(`./${part}.mjs`);
});
