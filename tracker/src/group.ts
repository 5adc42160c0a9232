// Groups: from the control upwards, at each level siblings of equal shape are compared; the strongest level is the record.
// Shape: multiset of tag paths to depth 3, Dice ≥ 0.5 (a linear stand-in for tree edit distance; see the naming reference).
import { classWords, TOP } from "./element";
import { ariaName, textOf } from "./label";
import { attr, gate, mayRead, parentOf, type Receipt } from "./privacy";

export interface Group {
  /** One element for each member, or several where a record is made of k siblings. */
  _members: Element[][];
  _position: number;
  _level: Element;
}

const MENU = "nav,[role^=nav],[role^=menu]";
const SIBLINGS = 60;
const NODES = 24;

let shapes = new WeakMap<Element, number[]>();

/** Shapes hold for one look: the page changes between two. */
export const forgetShapes = () => {
  shapes = new WeakMap();
};

/** Hashes of the tag paths in an element, itself first. */
const shapeOf = (el: Element): number[] => {
  let shape = shapes.get(el)!;
  if (shape) return shape;
  shapes.set(el, (shape = []));
  const walk = (at: Element, path: number, depth: number) => {
    // FNV-0 with the order of FNV-1a, 32 bits, going on from the path above: shapes are compared as sets, nothing depends on more.
    const tag = at.localName;
    for (let letter = 0; letter < tag.length; letter++) path = Math.imul(path ^ tag.charCodeAt(letter), 0x01000193);
    shape.push(path);
    // Siblings one by one: walking an HTMLCollection takes twice as long.
    if (depth < 3) for (let child = at.firstElementChild; child && shape.length < NODES; child = child.nextElementSibling) walk(child, path, depth + 1);
  };
  walk(el, 0, 0);
  return shape;
};

/** More than a word in its tags. */
const rich = (el: Element) => shapeOf(el).length > 3;

const alike = (a: number[], b: number[]) => {
  const rest = [...a];
  let both = 0;
  // Of the same order, mostly: what is looked for is near the start.
  for (const path of b) {
    const at = rest.indexOf(path);
    if (at >= 0) both++, (rest[at] = 0);
  }
  return 4 * both >= a.length + b.length;
};

/** One by one: an HTMLCollection takes twice as long. */
const childrenOf = (parent: ParentNode) => {
  const out: Element[] = [];
  for (let child = parent.firstElementChild; child; child = child.nextElementSibling) out.push(child);
  return out;
};

const kin = (el: Element, among: Element[]) => {
  const shape = shapeOf(el);
  const out: Element[] = [];
  const tag = el.localName;
  let seen = 0;
  for (const other of among) {
    // Of a very long list the rest is taken for what its beginning is, without a look at each.
    if (other === el || seen > SIBLINGS || (other.localName === tag && (++seen, alike(shape, shapeOf(other))))) out.push(other);
  }
  return out;
};

const few = (el: Element) =>
  el.matches("li,tr,option,article,[role$=item],[role=row],[role=option],[role=tab],[itemscope]");

/** Records made of several siblings: dt + dd, header row + body row. */
const periodic = (el: Element, parent: Element): Element[][] | undefined => {
  if ((el.nextElementSibling || el.previousElementSibling)?.localName === el.localName) return;
  const all = childrenOf(parent);
  const tags = all.map((child) => child.localName);
  for (const k of [2, 3]) {
    if (tags.length < 2 * k || tags.length % k || new Set(tags.slice(0, k)).size < 2 || !tags.every((tag, at) => tag === tags[at % k])) continue;
    const out: Element[][] = [];
    for (let at = 0; at < all.length; at += k) out.push(all.slice(at, at + k));
    return out;
  }
  return;
};

/** Numbers of pages are no more of one kind with "Next" than days are with the name of their month. */
const isNumber = (el: Element) => !rich(el) && (el.firstChild?.nodeValue || "").length < 99 && /^[\s([]*\d+([.,]\d{3})*[\s.…)\]]*$/.test(el.textContent!);

const levelOf = (el: Element): Group | undefined => {
  const parent: ParentNode | null = el.parentNode;
  if (!parent || !(el.nextElementSibling || el.previousElementSibling)) return;
  // The number of the page that is shown is often of another tag: it is no link.
  const numbered = isNumber(el);
  let members = numbered ? childrenOf(parent).filter(isNumber) : kin(el, childrenOf(parent));
  if (!numbered) {
    const pairs = el.parentElement && periodic(el, el.parentElement);
    if (pairs) return { _members: pairs, _position: pairs.findIndex((record) => record.includes(el)) + 1, _level: el };
    if (!rich(el)) members = members.filter((other, at) => at > SIBLINGS || !isNumber(other));
    else if (el.parentElement) members = flatten(el, el.parentElement, members);
  }
  const at = members.indexOf(el);
  // Plain cells are parts of their row, as a cart's are.
  if (at < 0 || (el.localName === "td" && !rich(el)) || members.length < (numbered || few(el) ? 2 : 3)) return;
  return { _members: members.map((member) => [member]), _position: at + 1, _level: el };
};

/** Rows that hold nothing but members are one list: position and length run over all of them. */
const flatten = (el: Element, row: Element, members: Element[]): Element[] => {
  // A cell of mere text is a filler beside rich ones.
  const cellsOf = (el: Element) => [...el.children].filter((cell) => cell.firstElementChild);
  if (/^([uod]l|nav|fieldset|body|main)$/.test(row.localName) || members.length < 2 || members.length > SIBLINGS || members.length < 0.7 * cellsOf(row).length) return members;
  const shape = shapeOf(el);
  const cells = [...row.parentNode!.children]
    .slice(0, SIBLINGS)
    .filter((other) => other.localName === row.localName && alike(shape, shapeOf(other.firstElementChild || other)))
    .flatMap(cellsOf);
  const out = kin(el, cells);
  return out.length > 0.7 * cells.length && out.includes(el) ? out : members;
};

/** Whether a member is made of members of the group inside it: a row of cards is no record, its cards are. */
const filled = (inner: Group, outer: Element) => {
  const count = (el: Element) => el.querySelectorAll("*").length + 1;
  return rich(inner._level) && inner._members.filter(([part]) => outer.contains(part!)).length * count(inner._level) > 0.7 * count(outer);
};

/** [the record's group, the group around it], or nothing. `late` says when to stop. */
export const groupOf = (el: Element, late: () => boolean): [Group | undefined, Group | undefined] => {
  let best: Group | undefined;
  let outer: Group | undefined;
  let score = 0;
  // Within a menu the nearest list is meant, however much those around it hold.
  const menu = el.closest(MENU);
  let at: Element | null = el;
  for (let climb = 0; at && climb < 12 && !at.matches(TOP) && !late(); climb++) {
    const level = levelOf(at);
    if (level) {
      const size = level._members[level._position - 1]!.reduce((sum, part) => sum + shapeOf(part).length, 0);
      const value = isNumber(at) ? 1e9 : Math.min(level._members.length, 30) * Math.min(size, 40) ** 0.7;
      if (value >= score && !(best && value < 1e9 && (menu || filled(best, at)))) {
        score = value;
        best = level;
        outer = undefined;
      } else outer = outer || level;
    }
    at = parentOf(at);
  }
  return [best, outer];
};

/** What a member is called in the page: schema type, role, class word, tag. */
const memberName = (el: Element) => attr(el, "itemtype").split(/[/#]/).pop() || classWords(el)[0] || attr(el, "role") || el.localName;

const containerName = (group: Group): string => {
  let at: Element | null = group._level.parentElement;
  for (let climb = 0; at && climb < 3 && !at.matches(TOP); climb++, at = at.parentElement) {
    const before = at.previousElementSibling;
    const first = at.firstElementChild;
    const heading = [before, first].find((el) => el && /^(h\d|legend)$/.test(el.localName) && !el.contains(group._level) && mayRead(el));
    const name = ariaName(at) || (heading ? textOf(heading, 40).slice(0, 80) : "");
    if (name) return name;
  }
  return "";
};

/** The group as it is sent. */
export const sketchOf = (group: Group, control: Element, withheld: Receipt[]) => {
  const counts = new Map<number, number>();
  const sample = group._members.slice(0, 30);
  for (const record of sample) {
    const paths = record.flatMap(shapeOf);
    paths.forEach((path, at) => paths.indexOf(path) === at && counts.set(path, (counts.get(path) || 0) + 1));
  }
  const signature = [...counts].filter(([, count]) => count >= sample.length * 0.6).map(([path]) => path >>> 0);
  const steps: string[] = [];
  const record = group._members[group._position - 1]!;
  for (let at: Element | null = control; at && !record.includes(at) && steps.length < 12; at = parentOf(at)) steps.unshift(at.localName);
  return {
    position: group._position,
    length: group._members.length,
    signature: signature.sort((a, b) => a - b).slice(0, 32),
    container: gate(containerName(group), "group.name", withheld, control),
    // The first one speaks for all: the group is the same wherever it is clicked.
    member: memberName(group._members[0]![0]!),
    path: steps.join(">"),
  };
};
