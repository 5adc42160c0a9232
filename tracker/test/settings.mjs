// The settings of a new project as the collector publishes them; a test of crates/collector compares it with these files.
import { readFileSync } from "node:fs";
import path from "node:path";

const read = (name) => JSON.parse(readFileSync(path.resolve(import.meta.dirname, "../src", name), "utf8"));
const { privateFields, privatePlaces, quantity, keptQuery } = read("words.json");

export const settingsFor = (key) => ({ ...read("defaults.json"), key, version: 1, keepQuery: `^(${keptQuery})$`, privateFields, privatePlaces, quantity });
