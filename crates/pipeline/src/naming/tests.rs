//! Naming as one line after another would be named: what is one control, what is not, and what it is called.

use convizit_model::{Descriptor, PageBlock};
use serde_json::{Value, json};

use super::{NameOptions, NamedDescriptor, name_descriptor};
use crate::registry::Registry;

const LEARN: NameOptions = NameOptions { learn: true, keep: false, rank: false };

fn named(registry: &mut Registry, page: Value, descriptor: Value, options: NameOptions) -> NamedDescriptor {
    let page: PageBlock = serde_json::from_value(page).unwrap();
    let descriptor: Descriptor = serde_json::from_value(descriptor).unwrap();
    name_descriptor(registry, "line", &page, &descriptor, options)
}

fn click(registry: &mut Registry, descriptor: Value) -> NamedDescriptor {
    named(registry, json!({}), descriptor, LEARN)
}

fn button(label: &str) -> Value {
    json!({"role": "button", "label": label, "labelSource": "content", "tag": "button", "path": "main>section>div>button",
        "attributes": {"class": "btn btn-primary"}, "context": [{"kind": "section", "name": "Tools"}, {"kind": "main", "name": ""}]})
}

#[test]
fn twelve_product_pages_have_one_button() {
    for urls in [["/p/", ""], ["/shoes/", "-shoe"]] {
        let mut registry = Registry::default();
        let elements: std::collections::HashSet<String> = (0..12)
            .map(|n| {
                let product = format!("{} shoe", ["Trail", "City", "Wool", "Rain", "Snow", "Sand", "Hill", "Lake", "Moor", "Reef", "Dune", "Cape"][n]);
                let slug = if urls[1].is_empty() { format!("{}", 4711 + n) } else { product.to_lowercase().replace(' ', "-") };
                let page = json!({"url": format!("https://shop.example{}{slug}", urls[0]), "title": format!("{product} · Shop"),
                    "product": {"Product name": product}});
                let descriptor = json!({"role": "button", "label": "Add to cart", "labelSource": "content", "tag": "button",
                    "path": "main>article>div>button", "context": [{"kind": "article", "name": product}, {"kind": "main", "name": ""}]});
                named(&mut registry, page, descriptor, LEARN).element
            })
            .collect();
        assert_eq!(elements.len(), 1, "{urls:?}");
    }
}

#[test]
fn a_redesign_keeps_the_control() {
    let mut registry = Registry::default();
    let before = click(&mut registry, button("Export report")).element;
    for change in [
        json!({"attributes": {"class": "css-1x9z8q"}}),
        json!({"path": "main>section>div>div>span>button"}),
        json!({"role": "link", "tag": "a", "path": "main>section>div>a"}),
        json!({"context": [{"kind": "section", "name": "Tools and exports"}, {"kind": "main", "name": ""}]}),
        json!({"label": "Export report (3)", "template": "Export report"}),
    ] {
        let mut after = button("Export report");
        after.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(named(&mut registry.clone(), json!({}), after, LEARN).element, before, "{change}");
    }
}

#[test]
fn what_says_something_else_is_another_control() {
    let mut registry = Registry::default();
    let one = click(&mut registry, button("Save")).element;
    for label in ["Cancel", "Save as draft", "Delete"] {
        assert_ne!(click(&mut registry, button(label)).element, one, "{label}");
    }
    let mut elsewhere = button("Save");
    elsewhere["context"] = json!([{"kind": "section", "name": "Billing"}, {"kind": "main", "name": ""}]);
    let other = click(&mut registry, elsewhere);
    assert_ne!(other.element, one, "the same word in a section of another name");
    assert_eq!(other.name, "Save in Billing");
}

#[test]
fn another_language_is_the_same_control_with_its_first_name() {
    let mut registry = Registry::default();
    let field = |label: &str| {
        json!({"role": "textbox", "label": label, "labelSource": "label", "tag": "input:search", "path": "header>form>input",
            "attributes": {"name": "q", "type": "search"}, "context": [{"kind": "form", "name": ""}, {"kind": "header", "name": ""}]})
    };
    let english = named(&mut registry, json!({"language": "en-GB"}), field("Search the shop"), LEARN);
    let german = named(&mut registry, json!({"language": "de"}), field("Im Laden suchen"), LEARN);
    assert_eq!((german.element, german.name), (english.element, english.name));
    // Without anything of its own the structure says nothing: "Save" and "Abbrechen" stand in the same place.
    let save = named(&mut registry, json!({"language": "en"}), button("Save"), LEARN);
    named(&mut registry, json!({"language": "en"}), button("Cancel"), LEARN);
    assert_ne!(named(&mut registry, json!({"language": "de"}), button("Abbrechen"), LEARN).element, save.element);
}

#[test]
fn what_leads_on_or_back_is_no_item_and_has_a_name() {
    let group =
        json!({"position": 5, "length": 5, "signature": [3, 4], "container": "Results", "member": "li", "path": "a"});
    let link = |label: &str, class: &str| {
        json!({"role": "link", "label": label, "labelSource": if label.is_empty() { "fallback" } else { "content" }, "tag": "a",
            "attributes": {"class": class}, "group": group, "properties": {"Item name": label}, "path": "nav>ul>li>a"})
    };
    for (label, class, name) in [
        ("Next", "", "Next"),
        ("« Previous", "", "Previous"),
        ("»", "", "Next page"),
        ("<", "", "Previous page"),
        ("", "pager_prev", "Previous page"),
        ("Nächste Seite", "", "Nächste seite"),
        ("Volgende", "", "Volgende"),
    ] {
        let found = click(&mut Registry::default(), link(label, class));
        let low = |text: &str| text.to_lowercase().trim_end_matches(" click").to_owned();
        assert_eq!(low(&found.name), low(name), "{label:?}");
    }
    assert_eq!(
        click(&mut Registry::default(), link("Next level running", "")).name,
        "Result click",
        "a title is no direction"
    );
}

#[test]
fn page_numbers_above_and_below_are_one_group_without_next() {
    let mut registry = Registry::default();
    let mut group_of = |label: &str, container: &str, member: &str| {
        let descriptor = json!({"role": "link", "label": label, "labelSource": "content", "tag": "a", "path": "div>ul>li>a",
            "group": {"position": 1, "length": 6, "signature": [3, 4], "container": container, "member": member, "path": "a"}});
        click(&mut registry, descriptor).group.unwrap()
    };
    let above = group_of("2", "", "li");
    let below = group_of("14", "Results for boots", "current");
    let far = group_of("1,097", "", "li");
    let next = group_of("Next", "", "li");
    assert_eq!((above.id, above.name.as_str()), (below.id, "Page number"));
    assert_eq!(far.id, above.id);
    assert_ne!(next.id, above.id);
}

#[test]
fn a_card_is_its_title_whatever_else_it_says() {
    let card = |role: &str, label: &str| {
        json!({"role": role, "label": label, "labelSource": "content", "tag": "a", "path": "main>ul>li>a",
            "group": {"position": 1, "length": 6, "signature": [3, 4], "container": "Bestsellers", "member": "li", "path": "a"},
            "properties": {"Product name": "Trail shoe", "Product price": 89.9}})
    };
    for label in ["Trail shoe", "Trail shoe 89.90 € In stock", "New! Trail shoe from Summit"] {
        assert_eq!(click(&mut Registry::default(), card("link", label)).name, "Product card click", "{label}");
    }
    for (label, name) in [
        ("Add Trail shoe to cart", "Add to cart"),
        ("Quick view", "Quick view click"),
        ("Compare Trail shoe", "Compare"),
    ] {
        assert_eq!(click(&mut Registry::default(), card("button", label)).name, name, "{label}");
    }
}

#[test]
fn a_radio_is_its_set_and_an_amount_is_a_number() {
    let radio = json!({"label": "Yearly", "labelSource": "label", "tag": "input:radio", "path": "form>fieldset>label>input",
        "context": [{"kind": "fieldset", "name": "Payment plan"}], "properties": {"Option": "Yearly", "Product price": "€ 1.299,00", "Currency": "€ 1.299,00"}});
    let found = click(&mut Registry::default(), radio.clone());
    assert_eq!(found.name, "Payment plan change");
    assert_eq!(found.properties["Product price"], 1299.0);
    assert_eq!(found.properties["Currency"], "EUR");
    let mut registry = Registry::default();
    let yearly = click(&mut registry, radio.clone());
    let mut monthly = radio;
    monthly["label"] = json!("Monthly");
    assert_eq!(click(&mut registry, monthly).element, yearly.element);
}

#[test]
fn ranking_lists_every_known_line_and_learns_nothing() {
    let mut registry = Registry::default();
    let known = NameOptions { learn: true, keep: true, rank: false };
    let link = |label: &str, position: u32| {
        json!({"role": "link", "label": label, "labelSource": "content", "tag": "a", "path": "nav>ul>li>a", "properties": {"Item name": label},
            "group": {"position": position, "length": 3, "signature": [3], "container": "", "member": "li", "path": "a"}})
    };
    for (position, label) in (1..).zip(["Docs", "Pricing", "Blog"]) {
        let page: PageBlock = serde_json::from_value(json!({})).unwrap();
        name_descriptor(&mut registry, label, &page, &serde_json::from_value(link(label, position)).unwrap(), known);
    }
    let rank = NameOptions { learn: false, keep: false, rank: true };
    for _ in 0..2 {
        let found = named(&mut registry, json!({}), link("Pricing", 1), rank).candidates.unwrap();
        assert_eq!(found.len(), 3, "items of one group are one element and three lines");
        assert_eq!(found[0].id, "Pricing");
        assert!(found[0].score > found[1].score && found[0].score <= 1.0);
        assert!(found.iter().all(|candidate| candidate.element == found[0].element));
    }
    let unknown = named(&mut registry, json!({}), button("Something else"), rank);
    assert_eq!(named(&mut registry, json!({}), button("Something else"), rank), unknown);
}

#[test]
fn endless_labels_are_a_bounded_number_of_elements_and_a_property() {
    use convizit_model::Received;
    let mut registry = Registry::default();
    let received = |n: usize| -> Received {
        let descriptor = json!({"role": "", "label": format!("{}{}", ["ba", "co", "du", "fe", "gi", "ho", "ju", "ka", "le", "mo"].iter().cycle().nth(n % 10).unwrap(),
            (0..6).map(|at| char::from(b'a' + u8::try_from((n / 26_usize.pow(at)) % 26).unwrap())).collect::<String>()),
            "labelSource": "content", "tag": "button", "path": "main>div>div>button", "context": [{"kind": "main", "name": ""}]});
        serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": "2026-11-23T18:00:01.000Z", "clock": 0, "visitor": "v", "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{n}"), "sent": "2026-11-23T18:00:00.000Z",
                "page": {"url": "https://shop.example/feed", "path": "/feed"},
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{n:012}"), "type": "click", "time": "2026-11-23T18:00:00.000Z", "descriptor": descriptor}]}
        })).unwrap()
    };
    let mut rows = Vec::new();
    let mut last = None;
    for n in 0..1000 {
        if n == 600 {
            // As after a restart.
            rows.extend(registry.take_changes());
            registry = Registry::default();
            registry.load(&rows).unwrap();
        }
        last = crate::name_events(received(n), &mut registry).pop();
    }
    assert!(registry.elements.len() <= 300, "{} elements", registry.elements.len());
    assert!(registry.take_folded() >= 400, "what was folded is counted");
    let last = last.unwrap().event;
    assert_eq!(last.name, "Button click");
    assert!(last.properties["Text"].as_str().unwrap().len() > 2);
    // What was an element before stays one.
    let first = crate::name_events(received(0), &mut registry).pop().unwrap().event;
    assert_ne!(first.name, "Button click");
}

#[test]
fn next_and_previous_beside_each_other_are_two() {
    let mut registry = Registry::default();
    let mut of = |label: &str, source: &str, position: u32, own: &serde_json::Value| {
        let mut descriptor = json!({"role": "link", "label": label, "labelSource": source, "tag": "a", "path": "nav>ul>li>a",
            "attributes": {"href": "", "class": "page-link"}, "properties": own,
            "group": {"position": position, "length": 2, "signature": [3, 4], "container": "", "member": "page-item", "path": "a"}});
        descriptor["context"] = json!([{"kind": "nav", "name": "Page navigation"}]);
        let named = click(&mut registry, descriptor);
        (named.name, named.element)
    };
    for (previous, next, source) in
        [("Previous", "Next", "content"), ("‹", "›", "content"), ("Zurück", "Weiter", "aria-label")]
    {
        let (first, second) = (
            of(previous, source, 1, &json!({"Item name": previous})),
            of(next, source, 2, &json!({"Item name": next})),
        );
        assert_ne!(first, second, "{previous} {next}");
        assert_ne!(first.0, second.0, "{previous} {next}");
        assert_eq!(of(next, source, 2, &json!({"Item name": next})), second);
    }
}

#[test]
fn neighbouring_buttons_are_no_list_where_each_is_its_own() {
    let mut registry = Registry::default();
    let mut of = |label: &str, source: &str, id: &str, position: u32| {
        let descriptor = json!({"role": "button", "label": label, "labelSource": source, "tag": "button", "path": "main>div>button",
            "attributes": {"data-testid": id}, "properties": {"Item name": label},
            "group": {"position": position, "length": 3, "signature": [3], "container": "", "member": "button", "path": ""}});
        click(&mut registry, descriptor)
    };
    let tools =
        [of("Save changes", "content", "", 1), of("Print page", "content", "", 2), of("Delete item", "content", "", 3)];
    assert_eq!(tools.each_ref().map(|tool| tool.name.as_str()), ["Save changes", "Print page", "Delete item"]);
    let icons = [
        of("Search", "aria-label", "search", 1),
        of("Account", "aria-label", "account", 2),
        of("Cart", "aria-label", "cart", 3),
    ];
    assert_eq!(icons.each_ref().map(|icon| icon.name.as_str()), ["Search", "Account click", "Cart click"]);
    // Sizes are one choice.
    let sizes = [of("S", "content", "", 1), of("M", "content", "", 2), of("L", "content", "", 3)];
    assert_eq!(sizes[0].element, sizes[2].element);
}

#[test]
fn a_cut_title_takes_no_part_of_a_word_away() {
    let label = "Show all results for the wonderful long summer campaign of the shop";
    let descriptor = json!({"role": "button", "label": label, "labelSource": "content", "tag": "button", "path": "main>div>button",
        "properties": {"Item name": "Show all results for the wonderful long summer campaig"}});
    assert_eq!(click(&mut Registry::default(), descriptor).name, "Of the shop click");
}
