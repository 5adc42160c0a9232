// How large a run is, the seed that it can be repeated from, and the line that each part prints at its end.
import { appendFileSync } from "node:fs";

export const full = process.env.FAULTS_SIZE === "full";

/** How many of something: as asked for by `--name`, else by the size of the run. */
export const count = (name, small, large) => Number(process.env[`FAULTS_${name.toUpperCase()}`] ?? (full ? large : small));

export const seed = Number(process.env.FAULTS_SEED ?? Date.now() % 1_000_000);

/** mulberry32, so that a run can be repeated from its seed. */
export function random(state = seed) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A part's one line: printed here, and once more by the runner below everything. */
export function summary(line) {
  console.log(line);
  if (process.env.FAULTS_LINES) appendFileSync(process.env.FAULTS_LINES, `${line}\n`);
}
