// A control as it is sent: what its handlers may change is read here, in bounded time.
import { attributesOf, contextOf, controlOf, nameOfContainer, pathFrom, roleOf, tagOf, TOP, firstIn } from "./element";
import { forgetShapes, groupOf, sketchOf } from "./group";
import { labelOf } from "./label";
import { gate, isField, mayCapture, mayRead, withhold, type Receipt } from "./privacy";
import { CHOICES, chosenOptions, nameOfSet, optionOf, recordProperties, type Properties } from "./record";

export interface Described {
  descriptor: Record<string, unknown>;
  properties: Properties;
  withheld: Receipt[];
}

/** Milliseconds after which the rest is left out and marked `cut`: half of what browsers call a long task. */
const BOUND = 25;

const CHOICE = /^(select|input:(checkbox|radio))$/;

/** The control that an event of this type is about, or null where none may be captured. */
export const targetOf = (el: Element, type: string): [Element, boolean] | null => {
  let inert = false;
  if (/click/.test(type)) [el, inert] = controlOf(el);
  if (el.localName === "label") {
    const control = (el as HTMLLabelElement).control;
    // The browser clicks the control itself next.
    if (control) el = control;
  }
  if (!mayCapture(el)) return null;
  const tag = tagOf(el);
  if (/click/.test(type) && (CHOICE.test(tag) || tag === "option" || isField(el))) return null;
  return [el, inert];
};

export const describe = (start: Element, type: string): Described | null => {
  const target = targetOf(start, type);
  if (!target) return null;
  const [el, inert] = target;
  const until = performance.now() + BOUND;
  const late = () => performance.now() > until;
  const withheld: Receipt[] = [];
  const properties: Properties = {};
  const tag = tagOf(el);
  const role = roleOf(el);
  forgetShapes();
  let [label, source] = labelOf(el, role);
  if ((role || tag) === "form" && source === "fallback") label = nameOfContainer(el) || label;
  const choice = type === "change" && CHOICE.test(tag);
  const option = choice && gate(optionOf(el).slice(0, 200), "properties.Option", withheld, el);
  // Where it is not to be read, what surrounds it may be its very text; a select's options never are.
  const hidden = choice && !option && tag !== "select";
  if (hidden) {
    label = nameOfSet(el);
    withhold("private_choice", "element.label", withheld);
  }
  label = gate(label, "element.label", withheld, el);
  const descriptor: Record<string, unknown> = {
    role,
    label,
    labelSource: source,
    tag,
    context: (hidden ? [] : contextOf(el)).map(({ kind, name }) => ({ kind, name: gate(name, "element.section", withheld, el) })),
    group: null,
    properties,
    attributes: attributesOf(el),
    path: pathFrom(el),
  };
  if (inert) descriptor.inert = true;
  if (!late()) {
    const [group, outer] = groupOf(el, late);
    let scope: Element[] = [];
    if (group) {
      descriptor.group = sketchOf(group, el, withheld);
      if (outer) descriptor.outer = sketchOf(outer, el, withheld);
      scope = group._members[group._position - 1]!.filter(mayRead);
      if (scope[0] && !late() && !hidden) Object.assign(properties, recordProperties(scope, withheld));
    } else {
      // The nearest surroundings in which something can be chosen.
      let at = el.parentElement;
      for (let climb = 0; at && climb < 6 && !at.matches(TOP); climb++, at = at.parentElement) {
        if (firstIn(at, CHOICES)) {
          scope = [at];
          break;
        }
      }
    }
    // Options count for actions on an item, not for a way elsewhere.
    if (!late() && !/^(input|select)/.test(tag) && !el.closest("nav")) Object.assign(properties, chosenOptions(scope, el, withheld));
  }
  if (late()) descriptor.cut = true;
  const event: Properties = {};
  if (choice) {
    if (option) event.Option = option;
    if (tag === "input:checkbox" && !hidden) event.Checked = (el as HTMLInputElement).checked;
  }
  return { descriptor, properties: event, withheld };
};

