// Roles of native controls: the server knows them by the tag; describe.js shows them, so the tracker does not carry this.

/** By tag or input type, where they differ from it. */
const ROLES: Record<string, string> = {
  a: "link",
  area: "link",
  summary: "button",
  select: "combobox",
  textarea: "textbox",
  nav: "navigation",
  li: "listitem",
  tr: "row",
  submit: "button",
  reset: "button",
  image: "button",
  color: "button",
  range: "slider",
  number: "spinbutton",
  search: "searchbox",
};

/** The role of a tag as the tracker sends it: `input:range` → `slider`. */
export const nativeRole = (tag: string): string => {
  const [element, type] = tag.split(":");
  const name = type || element!;
  return ROLES[name] || (/^(button|option|form|dialog|img|video|audio|table|checkbox|radio)$/.test(name) ? name : type ? "textbox" : "");
};
