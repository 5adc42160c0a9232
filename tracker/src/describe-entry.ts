// dist/describe.js: the capture code as one script, so that anybody can measure it from outside.
import { setSettings } from "./config";
import defaults from "./defaults.json";
import { describe, targetOf } from "./describe";
import { forgetShapes, groupOf } from "./group";
import { fold } from "./label";
import { cleanUrl, pageBlock } from "./page";
import { priced } from "./price";
import { gate, learn, mayRead, skips } from "./privacy";
import type { Properties } from "./record";
import { richPage } from "./rich";
import { nativeRole } from "./role";
import { PRICE } from "./rules";
import { templateOf } from "./template";
import words from "./words.json";

const { privateFields, privatePlaces, quantity, keptQuery } = words;

// Whoever measures gets what a page gets once its second script is there, but for the server's words.
learn((text) => text === undefined);
setSettings({ ...defaults, key: "", version: 0, identity: "none", keepQuery: `^(${keptQuery})$`, privateFields, privatePlaces, quantity });

const target = globalThis as unknown as Record<string, unknown>;

target.convizitDescribe = (element: Element, eventType = "click") => {
  try {
    const found = describe(element, eventType);
    if (!found) return null;
    const [template, value] = templateOf(String(found.descriptor.label));
    return { ...found.descriptor, role: found.descriptor.role || nativeRole(String(found.descriptor.tag)), template, ...(found.withheld.length && { withheld: found.withheld }), ...(value !== undefined && { name_value: value }), properties: priced({ ...(found.descriptor.properties as object), ...found.properties }) };
  } catch {
    return null;
  }
};

target.convizitGroup = (element: Element) => {
  try {
    forgetShapes();
    const el = targetOf(element, "group")?.[0];
    const [group] = el ? groupOf(el, () => false) : [];
    return group ? { items: group._members.map((record) => record[0]!), position: group._position, length: group._members.length } : null;
  } catch {
    return null;
  }
};

target.convizitPage = () => {
  const page = { ...pageBlock(), ...richPage({ _fold: fold, _gate: gate, _mayRead: mayRead, _skips: skips, _price: PRICE, _cleanUrl: cleanUrl }) };
  return page.product ? { ...page, product: priced(page.product as Properties) } : page;
};
