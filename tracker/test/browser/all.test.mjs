// Every browser test in one process, so that one Chromium serves them all; they wait more than they compute, so a few run at once.
// PARTS=click,frames runs only these.
import { describe } from "node:test";

const parts = ["click", "frames", "pages", "forms", "privacy", "signals", "friction", "groups", "identity", "consent", "sending", "settings", "api", "harmless", "faces", "overlay"];

describe("tracker", { concurrency: 4 }, async () => {
  for (const part of process.env.PARTS?.split(",") ?? parts) await import(`./${part}.mjs`);
});
