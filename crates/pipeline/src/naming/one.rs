//! One descriptor at a time, for `convizit name`: the face by which naming is measured from outside.

use convizit_model::{Descriptor, EventType, PageBlock, Properties, Timestamp, event};

use crate::events::merge_properties;
use crate::naming::{Features, identity, name_of, resolve, words};
use crate::registry::Registry;

/// Candidates that `--rank` prints at most.
const CANDIDATES: usize = 50;

/// What `convizit name` prints for a line.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct NamedDescriptor {
    /// The name.
    pub name: String,
    /// `el_…`.
    pub element: String,
    /// Group id, name, position, length; null outside a group.
    pub group: Option<event::Group>,
    /// Properties with the page's product merged in.
    pub properties: Properties,
    /// Where the name came from: `action`, `label`, `group`, `fallback`.
    pub name_source: String,
    /// With `--rank`: element and score, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<Candidate>>,
}

/// A candidate of `--rank`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Candidate {
    /// Id of the `--known` line that registered it.
    pub id: String,
    /// Its element.
    pub element: String,
    /// 0 to 1.
    pub score: f64,
}

/// Names one descriptor, registering it when `learn`, with candidates when `rank`. `id` is the line's id.
pub fn name_descriptor(
    registry: &mut Registry,
    id: &str,
    page: &PageBlock,
    descriptor: &Descriptor,
    learn: bool,
    rank: bool,
) -> NamedDescriptor {
    let mut page = page.clone();
    if page.path.is_empty() {
        let tail = crate::scrub::host_of(&page.url).map_or(page.url.as_str(), |(_, tail)| tail);
        page.path = crate::scrub::path_template(tail.split(['?', '#']).next().unwrap_or_default());
    }
    let candidates = rank.then(|| {
        let mut scratch = registry.clone();
        let group = crate::naming::groups_of(&mut scratch, descriptor);
        let features = Features::of(descriptor, group, crate::naming::is_item(descriptor));
        identity::rank(registry, &features)
            .into_iter()
            .take(CANDIDATES)
            .map(|(element, score)| Candidate {
                id: registry.line_of(element).unwrap_or_default().to_owned(),
                element: convizit_model::ElementId(element).to_string(),
                score,
            })
            .collect()
    });
    // What is not to be learned is named on a copy, so that the next line finds the registry as it was.
    let mut scratch;
    let registry = if learn {
        registry
    } else {
        scratch = registry.clone();
        &mut scratch
    };
    let resolved = resolve(registry, descriptor, learn);
    let properties = merge_properties(Some(descriptor), &page, &Properties::new());
    // A click is what the face names; a control that only changes is named as a change.
    let kind = match descriptor.tag.as_str() {
        "select" | "textarea" | "input:checkbox" | "input:radio" | "input:text" => EventType::Change,
        "form" => EventType::Submit,
        _ if matches!(
            descriptor.role.as_str(),
            "combobox" | "textbox" | "checkbox" | "radio" | "searchbox" | "listbox" | "spinbutton"
        ) =>
        {
            EventType::Change
        }
        _ => EventType::Click,
    };
    let name =
        name_of(registry, kind, &page, Some((descriptor, &resolved)), &properties, None, Timestamp::from_millis(0));
    let name = registry.name(name).map(|name| name.text.clone()).unwrap_or_default();
    if learn {
        registry.set_line(resolved.element.0, id);
    }
    let name_source = if resolved.is_item {
        "group"
    } else if descriptor.label.is_empty() || descriptor.label_source == "fallback" {
        "fallback"
    } else if words::is_action(&name) {
        "action"
    } else {
        "label"
    };
    NamedDescriptor {
        name,
        element: resolved.element.to_string(),
        group: resolved.group,
        properties,
        name_source: name_source.to_owned(),
        candidates,
    }
}
