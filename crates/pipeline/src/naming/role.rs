//! Roles of native controls by their tag: the tracker sends only those that an author gave.

use convizit_model::Descriptor;

/// Fills in the role of a control that has none of its own.
pub(crate) fn complete(descriptor: &mut Descriptor) {
    if descriptor.role.is_empty() {
        native(&descriptor.tag).clone_into(&mut descriptor.role);
    }
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
