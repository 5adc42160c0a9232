//! Completes a descriptor: roles of native controls by their tag, of which the tracker sends only those that an author gave; the
//! surroundings by what they are, whether a tag or a role says so; the label's text without its numbers; and paragraphs of a text are no records, however alike they are.

use convizit_model::Descriptor;

use crate::naming::template::template_of;

/// Fills in the role of a control that has none of its own, and takes running text for no list.
pub(crate) fn complete(descriptor: &mut Descriptor) {
    let record = descriptor.group.as_ref().and_then(|group| descriptor.path.strip_suffix(group.path.as_str()));
    // One that says nothing is told from others by its place alone.
    if !descriptor.label.is_empty() && record.is_some_and(|path| path.trim_end_matches('>').ends_with(">p")) {
        descriptor.group = None;
    }
    if descriptor.template.is_empty() && !descriptor.label.is_empty() {
        let (template, value) = template_of(&descriptor.label);
        descriptor.template = template;
        if descriptor.name_value.is_none() {
            descriptor.name_value = value;
        }
    }
    if descriptor.role.is_empty() {
        native(&descriptor.tag).clone_into(&mut descriptor.role);
    }
    for entry in &mut descriptor.context {
        if let Some(kind) = surroundings(&entry.kind) {
            kind.clone_into(&mut entry.kind);
        }
    }
}

/// What surroundings of this role are called by their tag, where that differs. Source: HTML-AAM 1.0.
fn surroundings(role: &str) -> Option<&'static str> {
    Some(match role {
        "alertdialog" => "dialog",
        "region" => "section",
        "group" | "radiogroup" => "fieldset",
        "grid" => "table",
        "navigation" => "nav",
        "banner" => "header",
        "complementary" => "aside",
        "contentinfo" => "footer",
        _ => return None,
    })
}

/// The role of a tag as the tracker sends it, inputs with their type: `input:range` → `slider`. Source: HTML-AAM 1.0.
fn native(tag: &str) -> &str {
    let (element, kind) = tag.split_once(':').map_or((tag, None), |(element, kind)| (element, Some(kind)));
    match kind.unwrap_or(element) {
        "a" | "area" => "link",
        "summary" | "submit" | "reset" | "image" | "color" => "button",
        "select" => "combobox",
        "textarea" => "textbox",
        "nav" => "navigation",
        "li" => "listitem",
        "tr" => "row",
        "range" => "slider",
        "number" => "spinbutton",
        "search" => "searchbox",
        name @ ("button" | "option" | "form" | "dialog" | "img" | "video" | "audio" | "table" | "checkbox"
        | "radio") => name,
        _ if kind.is_some() => "textbox",
        _ => "",
    }
}
