// The overlay's panel: what a control's event is called and carries, and what a person may change of it.
import type { Draft, Seen } from "./server";

type Props = Record<string, string | boolean | number | undefined | ((event: Event) => void)>;

/** An element with attributes, listeners (`onclick`) and children. */
export const h = <K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: (Node | string | null | false | undefined)[]): HTMLElementTagNameMap[K] => {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") el.addEventListener(name.slice(2), value);
    else if (value === true) el.setAttribute(name, "");
    else if (value !== undefined && value !== false) el.setAttribute(name, String(value));
  }
  for (const child of children) if (child || child === "") el.append(child as Node | string);
  return el;
};

/** A control as it stands: what the server says, with the drafts laid over it. */
export interface View {
  seen: Seen;
  type: string;
  renamed: Draft | undefined;
  control: Draft | undefined;
  group: Draft | undefined;
}

export const nameOf = ({ seen, renamed }: View): string => (renamed?.change.change === "rename" ? renamed.change.text : seen.text);

const kept = (draft: Draft | undefined, now: boolean): boolean => (draft && "captured" in draft.change ? draft.change.captured : now);

export const isControlKept = (view: View): boolean => kept(view.control, view.seen.captured);
export const isGroupKept = (view: View): boolean => kept(view.group, view.seen.group?.captured !== false);
export const isKept = (view: View): boolean => isControlKept(view) && isGroupKept(view);
export const isDraft = (view: View): boolean => !!(view.renamed || view.control || view.group);

const STATES: Record<Seen["state"], [string, string]> = {
  new: ["", "not used yet"],
  provisional: ["warn", "provisional"],
  published: ["good", "published"],
  given: ["", "given"],
};

const badges = (view: View) => {
  const out: Node[] = [];
  const add = (kind: string, text: string) => out.push(h("span", { class: `badge ${kind}` }, text), document.createTextNode(" "));
  add(...STATES[view.seen.state]);
  if (!isKept(view)) add("bad", "not captured");
  if (isDraft(view)) add("warn", "draft");
  return out;
};

const asText = (value: unknown): string => (value === true ? "yes" : value === false ? "no" : value === null ? "–" : String(value));

export interface Acts {
  rename: (text: string) => void;
  capture: (group: boolean, captured: boolean) => void;
  back: () => void;
}

/** Whose draft it is, where it is somebody else's. */
const theirs = (draft: Draft | undefined): string => (draft && !draft.own ? ` The draft is ${draft.by ? draft.by + "’s" : "somebody else’s"}.` : "");

const pair = (label: string, now: boolean, say: (captured: boolean) => void, disabled: boolean) =>
  h("div", { class: "pair", role: "group", "aria-label": label },
    h("button", { type: "button", "aria-pressed": String(now), disabled, onclick: () => now || say(true) }, "Captured"),
    h("button", { type: "button", "aria-pressed": String(!now), disabled, onclick: () => now && say(false) }, "Not captured"));

/** What the panel says of the control that was chosen. `typed` is what stands in the field, `wrong` why it was not taken. */
export const details = (view: View, selector: [string, number], typed: string, wrong: string, acts: Acts): Node[] => {
  const { seen } = view;
  const unused = seen.name === null;
  const field = h("input", { id: "name", type: "text", maxlength: 255, autocomplete: "off", spellcheck: false, disabled: unused, "aria-invalid": wrong ? "true" : undefined, "aria-describedby": wrong ? "wrong" : "hint" });
  field.value = typed;
  const out: Node[] = [
    h("h2", { tabindex: -1, id: "chosen" }, nameOf(view)),
    h("p", {}, ...badges(view), h("span", { class: "soft" }, `on ${view.type}`)),
    h("form", { onsubmit: (event) => { event.preventDefault(); acts.rename(field.value.trim()); } },
      h("label", { for: "name" }, "Name"),
      h("div", { class: "row" }, field, h("button", { disabled: unused }, "Save")),
      wrong ? h("p", { class: "wrong", id: "wrong", role: "alert" }, wrong) : null,
      h("p", { class: "soft", id: "hint" }, unused ? "No event has come from it yet. Use the page, click it once, and choose it again after some seconds: then it can be changed." : `Saved as a draft: nothing changes before it is published in the console.${theirs(view.renamed)}`)),
    h("h3", {}, "This control"),
    pair("This control", isControlKept(view), (captured) => acts.capture(false, captured), !seen.element),
  ];
  if (seen.group) {
    out.push(
      h("h3", {}, `Its whole group: ${seen.group.name}, ${seen.group.length} on this page`),
      pair("Its whole group", isGroupKept(view), (captured) => acts.capture(true, captured), !seen.group.id),
    );
  }
  const properties = Object.entries(seen.properties);
  out.push(h("h3", {}, "What its event carries"));
  out.push(properties.length ? h("table", {}, h("tbody", {}, ...properties.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, asText(value)))))) : h("p", { class: "soft" }, "No properties."));
  if (seen.group) out.push(h("p", { class: "soft" }, `Place ${seen.group.position} of ${seen.group.length}.`));
  if (seen.withheld.length) {
    out.push(h("h3", {}, "Withheld"), h("ul", {}, ...seen.withheld.map(({ field: name, rule, by }) => h("li", {}, `${name}: ${rule}, by the ${by}`))));
  }
  const [css, count] = selector;
  out.push(h("h3", {}, "Selector"), h("p", {}, h("code", {}, css), " ", h("span", { class: "soft" }, count === 1 ? "finds this one" : `finds ${count} here`)));
  out.push(h("p", {}, h("button", { type: "button", class: "quiet", onclick: acts.back }, "Back")));
  return out;
};

/** What the panel says while nothing is chosen. */
export const overview = (counts: { all: number; off: number; out: number }, step: (by: number) => void, choosing: boolean): Node[] => [
  h("p", {}, choosing ? "Point at a control to see what its event is called. Click it to change that." : "The page works as it does for visitors, and what you do is captured. Choose again to look at a control."),
  h("ul", { class: "legend" },
    h("li", {}, h("span", { class: "box" }), `captured (${counts.all - counts.off - counts.out})`),
    h("li", {}, h("span", { class: "box off" }), `not captured (${counts.off})`),
    h("li", {}, h("span", { class: "box out" }), `left out by the page or a selector (${counts.out})`)),
  h("div", { class: "row" },
    h("button", { type: "button", class: "quiet", disabled: !counts.all, onclick: () => step(-1) }, "Previous"),
    h("button", { type: "button", class: "quiet", disabled: !counts.all, onclick: () => step(1) }, "Next control")),
  h("p", { class: "soft" }, "With the keyboard: Tab goes through the page, Enter chooses, Escape goes back and then ends."),
];
