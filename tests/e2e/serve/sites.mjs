// Sites of one test file, stopped and removed after its last test.
import { after } from "node:test";
import { Site } from "../site.mjs";

export const ends = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

export async function made(options) {
  const site = await Site.make(options);
  ends.push(() => site.remove());
  return site;
}

export async function serving(site, options) {
  const running = await site.serve(options);
  ends.push(() => running.stop("SIGKILL"));
  return running;
}
