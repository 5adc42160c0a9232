// A power cut under load: what the disk had not got is gone, the file system recovers its journal, and no answered event is lost.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../e2e/product.mjs";
import { pause } from "../e2e/site.mjs";
import { count, random, seed, summary } from "./plan.mjs";
import { Stand, ends } from "./stand.mjs";

const CUTS = count("cuts", 10, 200);
const READY_MILLIS = 2000;

/**
 * An ext4 of its own in a file. It is mounted in a mount namespace that lives as long as one process waits for its input to end:
 * when this test ends, however it ends, the kernel unmounts it and detaches its loop device.
 */
class Disk {
  static make(megabytes) {
    const disk = new Disk();
    disk.folder = temporaryFolder("disk");
    ends.push(() => disk.remove());
    disk.at = path.join(disk.folder, "mount");
    mkdirSync(disk.at);
    execFileSync("truncate", ["-s", `${megabytes}M`, path.join(disk.folder, "image")]);
    execFileSync("mkfs.ext4", ["-q", path.join(disk.folder, "image")]);
    disk.keeper = spawn("unshare", ["--mount", "--propagation", "private", "cat"], { stdio: ["pipe", "pipe", "ignore"] });
    disk.ended = new Promise((done) => disk.keeper.once("exit", done));
    return disk;
  }

  /** What enters the namespace, before a command that runs in `folder`. */
  enter(folder = "/") { return ["nsenter", "-t", String(this.keeper.pid), "-m", `--wd=${folder}`, "--"]; }

  run(...command) {
    const [file, ...args] = [...this.enter(), ...command];
    return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  mount() { this.run("mount", "-t", "ext4", "-o", "loop", path.join(this.folder, "image"), this.at); }

  /** The file system goes dead; of what it had not written, the log alone is written when `log` says so. */
  cut({ log }) { this.run("xfs_io", "-x", "-c", log ? "shutdown -f" : "shutdown", this.at); }

  unmount() { this.run("umount", this.at); }

  async remove() {
    this.keeper.stdin.end();
    await this.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Why a disk cannot be had here, else false. */
function noDisk() {
  if (userInfo().uid !== 0) return "skipped: power is not cut because only root may mount a file system";
  for (const [tool, flag] of [["mkfs.ext4", "-V"], ["xfs_io", "-V"], ["nsenter", "-V"]]) {
    if (spawnSync(tool, [flag]).error) return `skipped: power is not cut because ${tool} is not installed`;
  }
  const { status, stderr } = spawnSync("losetup", ["-f"], { encoding: "utf8" });
  return status === 0 ? false : `skipped: power is not cut because there is no loop device (${stderr.trim()})`;
}

test(`nothing answered is lost by ${CUTS} power cuts (seed ${seed})`, { skip: noDisk() }, async () => {
  const next = random();
  const disk = Disk.make(512 + 12 * CUTS);
  // Until the keeper has its namespace, entering it would enter ours.
  await pause(200);
  disk.mount();
  disk.run("mkdir", path.join(disk.at, "lines"));
  const stand = await Stand.make({ on: disk.at, wrap: disk.enter("."), events: 8 });
  await stand.serve();
  stand.load(4);
  let slowest = 0;
  for (let cut = 0; cut < CUTS; cut++) {
    await pause(50 + next() * 700);
    const before = stand.loads.map((load) => load.answers.length);
    disk.cut({ log: next() < 0.4 });
    const dead = performance.now();
    // The program meets the dead disk for a while, or not at all.
    await pause(next() < 0.5 ? 0 : next() * 400);
    await stand.running.stop("SIGKILL");
    for (const [index, load] of stand.loads.entries()) {
      for (const { sent, events } of load.answers.slice(before[index])) {
        assert.ok(sent < dead, `cut ${cut + 1}: a batch that was sent to the dead disk was answered 204`);
        // Under way while the file system went down: a machine without power would have sent no answer. (ext4 takes a transaction that
        // was dropped between the two steps of fsync for one that is written.)
        for (const { id } of events) stand.doubtful.add(id);
      }
    }
    disk.unmount();
    disk.mount();
    const running = await stand.serve({ ready: false });
    await running.ready(stand.site.collector);
    await stand.take(`after power cut ${cut + 1}`);
    slowest = Math.max(slowest, performance.now() - running.started);
    assert.equal((await running.health()).status, 200);
  }
  await stand.quiet();
  const { answered, again, have } = await stand.check();
  const gone = [...stand.doubtful].filter((id) => !have.has(id)).length;
  assert.ok(stand.retries >= CUTS && answered > CUTS * 50, `there was load at the cuts: ${answered} events, ${stand.retries} retries`);
  assert.ok(slowest <= READY_MILLIS, `ready only after ${slowest.toFixed(0)} ms`);
  summary(`power cut: ${CUTS} cuts, ${answered} events answered (${stand.doubtful.size} more in the moment of a cut, ${gone} of them gone), ${stand.retries} retries; 0 lost, 0 repeated (${again} lines again in the file); ready again after ${slowest.toFixed(0)} ms at most`);
  assert.equal(await stand.running.stop(), 0, stand.running.log);
});
