// A clock that a test moves: libfaketime before a program, told by a file.
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

/** libfaketime for programs with threads, else null. */
export const library = ["/usr/lib", "/usr/lib64", "/usr/local/lib"]
  .flatMap((folder) => (existsSync(folder) ? [folder, ...readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => path.join(folder, entry.name))] : []))
  .flatMap((folder) => [path.join(folder, "libfaketimeMT.so.1"), path.join(folder, "faketime/libfaketimeMT.so.1")])
  .find(existsSync) ?? null;

/** The environment of a program whose clock `set` moves: `+25h`, `-400d`, `+0`. */
export function movedClock(folder) {
  const file = path.join(folder, "clock");
  // Renamed into place, since it is read at any moment.
  const set = (offset) => { writeFileSync(`${file}.new`, `${offset}\n`); renameSync(`${file}.new`, file); };
  set("+0");
  // Only the time of day is false: a monotonic clock does not jump.
  return { set, env: { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1", FAKETIME_DONT_RESET: "1" } };
}
