//! One descriptor at a time, for `convizit name`: the face by which naming is measured from outside.

use convizit_model::{Descriptor, EventType, PageBlock, Properties, Timestamp, event};

use crate::events::merge_properties;
use crate::naming::{Features, Pages, find_name, identity, resolve, words};
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

/// What becomes of a line beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameOptions {
    /// The registry learns it.
    pub learn: bool,
    /// It is kept for the ranking of later lines.
    pub keep: bool,
    /// Its candidates among the kept lines are listed.
    pub rank: bool,
}

/// Names one descriptor. `id` is the line's id.
pub fn name_descriptor(
    registry: &mut Registry,
    id: &str,
    page: &PageBlock,
    descriptor: &Descriptor,
    options: NameOptions,
) -> NamedDescriptor {
    let mut descriptor = descriptor.clone();
    crate::naming::complete(&mut descriptor);
    let descriptor = &descriptor;
    let mut page = page.clone();
    if page.path.is_empty() {
        let tail = crate::scrub::host_of(&page.url).map_or(page.url.as_str(), |(_, tail)| tail);
        page.path = crate::scrub::path_template(tail.split(['?', '#']).next().unwrap_or_default());
    }
    let template = registry.page(&page, options.learn.then_some(0)).into_owned();
    let pages = Pages { own: &page, template: &template };
    let features = (options.rank || options.keep)
        .then(|| Features::of(descriptor, &identity::section(descriptor, &page), &page.language));
    let candidates = features.as_ref().filter(|_| options.rank).map(|features| {
        identity::rank(registry, features)
            .into_iter()
            .take(CANDIDATES)
            .map(|(id, element, score)| Candidate {
                id,
                element: convizit_model::ElementId(element).to_string(),
                score,
            })
            .collect()
    });
    let resolved = resolve(registry, descriptor, pages, options.learn.then(|| Timestamp::from_millis(0)));
    if let Some(features) = features.filter(|_| options.keep) {
        registry.keep_line(id, resolved.element.0, features);
    }
    let properties = merge_properties(Some(descriptor), &template, &Properties::new());
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
    let control = Some((descriptor, &resolved));
    let name = find_name(registry, kind, &template, control, &properties, None);
    if options.learn && registry.name(name.id).is_none() {
        registry.add_name(name.id, name.owner, &name.text, Timestamp::from_millis(0));
    }
    let name = name.text;
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
