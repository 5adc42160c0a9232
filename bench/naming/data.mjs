// The data sets: unpacked once beside the build, read in place; nothing of them enters the repository.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";

/** The folder with the parts, unpacking `dev.tar.zst` where only that is there. */
export function open(folder, scratch) {
  if (existsSync(path.join(folder, "similo.jsonl"))) return folder;
  const archive = readdirSync(folder).find((name) => name.endsWith(".tar.zst"));
  if (!archive) throw new Error(`${folder} holds neither the data sets nor an archive of them`);
  const into = path.join(scratch, "data");
  const stamp = path.join(into, ".from");
  const { size, mtimeMs } = statSync(path.join(folder, archive));
  const from = `${path.resolve(folder, archive)} ${size} ${mtimeMs}`;
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== from) {
    mkdirSync(into, { recursive: true });
    execFileSync("tar", ["--zstd", "-xf", path.join(folder, archive), "-C", into]);
    writeFileSync(stamp, from);
  }
  return existsSync(path.join(into, "similo.jsonl")) ? into : path.join(into, readdirSync(into).find((name) => existsSync(path.join(into, name, "similo.jsonl"))));
}

/** A file's bytes, unpacked when it ends in .gz. */
export const bytes = (file) => (file.endsWith(".gz") ? gunzipSync(readFileSync(file)) : readFileSync(file));

/** Rows of a tab-separated file by their header; quotes mean nothing. */
export function tsv(file) {
  const [head, ...rows] = readFileSync(file, "utf8").split(/\r?\n/).filter(Boolean).map((line) => line.split("\t"));
  return rows.map((row) => Object.fromEntries(head.map((name, at) => [name, row[at] ?? ""])));
}

/** Fields of a comma-separated text, quotes doubled inside quotes. */
export function csv(text) {
  const rows = [];
  let [row, field, quoted] = [[], "", false];
  const end = () => (row.push(field), (field = ""));
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (quoted) {
      if (c !== '"') field += c;
      else if (text[at + 1] === '"') field += text[++at];
      else quoted = false;
    } else if (c === '"' && field === "") quoted = true;
    else if (c === ",") end();
    else if (c === "\n") {
      end();
      rows.push(row);
      row = [];
    } else if (c !== "\r") field += c;
  }
  if (field || row.length) {
    end();
    rows.push(row);
  }
  return rows;
}

/** A text whose encoding is UTF-8 or else of Windows. */
export function decoded(buffer) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer);
  } catch {
    return new TextDecoder("windows-1252").decode(buffer);
  }
}

const files = (folder, end) => readdirSync(folder).filter((name) => name.endsWith(end)).sort().map((name) => path.join(folder, name));

/** Real pages by set: `{ set, id, file }`. */
export function pages(root) {
  const seen = new Set();
  const first = tsv(path.join(root, "estuka_index.tsv")).filter(({ site }) => !seen.has(site) && seen.add(site));
  return [
    ...first.map(({ html }) => ({ set: "estuka", id: html, file: path.join(root, html) })),
    ...files(path.join(root, "product-extraction/html"), ".html.gz").map((file) => ({ set: "product", id: path.basename(file), file })),
    ...files(path.join(root, "readability"), ".html").map((file) => ({ set: "readability", id: path.basename(file), file })),
  ];
}

export const articles = (root) => files(path.join(root, "articles"), ".html.gz").map((file) => ({ set: "articles", id: path.basename(file), file }));
