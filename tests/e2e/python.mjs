// Programs of Python packages, each in an environment of its own below test-output, made when it is not there.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";

// Not in one go with nothing else: connections that a server ends meanwhile would be taken for open ones.
const run = promisify(execFile);

/** Where environments and reports lie. */
export const output = path.resolve(import.meta.dirname, "../../test-output");

/** The path of a program of packages: `installed("moto[server]==5.2.5", "moto_server")`. */
export async function installed(requirements, program) {
  const folder = path.join(output, requirements.replace(/\W+/g, "-"));
  const whole = path.join(folder, "whole");
  if (!existsSync(whole)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(output, { recursive: true });
    await run("python3", ["-m", "venv", "--clear", folder]);
    await run(path.join(folder, "bin/pip"), ["install", "--quiet", ...requirements.split(" ")]);
    writeFileSync(whole, "");
  }
  return path.join(folder, "bin", program);
}
