//! What is held back for a crowd is nowhere in what goes to the journal, in whatever spelling the batch repeats it.

use convizit_model::{Received, Ruling};
use convizit_pipeline::Witness;
use serde_json::{Value, json};

use crate::batches::{full, taken, taken_by};

fn text_of(received: &Received) -> String {
    serde_json::to_string(received).unwrap().to_lowercase()
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut batch = full();
    for (place, value) in changes {
        *batch.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value.clone();
    }
    batch
}

const LABEL: &str = "/events/0/descriptor/label";

#[test]
fn a_name_is_held_back_wherever_the_batch_repeats_it() {
    let batch = with(&[
        (LABEL, json!("Anna Schmidt")),
        ("/events/0/descriptor/template", json!("Anna Schmidt")),
        (
            "/events/0/descriptor/attributes",
            json!({"id": "author-anna-schmidt", "href": "/team/anna-schmidt", "class": "card card--anna-schmidt", "data-row": "Anna_Schmidt"}),
        ),
        (
            "/events/0/descriptor/properties",
            json!({"Item name": "Anna Schmidt (3)", "Selected color": "Red", "Of Anna": "yes"}),
        ),
        ("/events/0/descriptor/context", json!([{"kind": "section", "name": "Posts by Anna"}])),
        ("/page/title", json!("Anna Schmidt – Team")),
        ("/page/url", json!("https://shop.example/team/anna-schmidt?sort=price")),
        ("/page/canonical", json!("https://shop.example/team/Anna%20Schmidt")),
        ("/page/breadcrumb", json!(["Team", "Anna Schmidt"])),
    ]);
    let received = taken(&batch).unwrap();
    let text = text_of(&received);
    assert!(!text.contains("anna") && !text.contains("schmidt"), "{text}");
    assert_eq!(received.batch.page.url, "https://shop.example/team/:id?sort=price");
    let descriptor = received.batch.events[0].descriptor.as_ref().unwrap();
    assert_eq!(descriptor.properties["Selected color"], "Red", "what says something else stays");
    let rules: Vec<&str> = received.batch.events[0].withheld.iter().map(|receipt| receipt.rule.as_str()).collect();
    assert!(rules.iter().filter(|rule| **rule == "waits").count() >= 3, "{rules:?}");
}

#[test]
fn a_label_that_holds_the_name_of_its_record_is_held_back_too() {
    let batch = with(&[
        (LABEL, json!("Remove Anna Schmidt from the team today")),
        ("/events/0/descriptor/properties", json!({"Item name": "Anna Schmidt"})),
    ]);
    let text = text_of(&taken(&batch).unwrap());
    assert!(!text.contains("anna"), "{text}");
    assert!(
        text_of(&taken(&with(&[(LABEL, json!("Remove from the team"))])).unwrap()).contains("remove from the team")
    );
}

#[test]
fn what_varies_is_held_back_with_its_numbers_and_spellings() {
    let varies = |_: u64| Some(Ruling::Varies);
    let witness = Witness { most: 5, network: 1, hash: &|_| 7, ruling: &varies };
    let batch = with(&[
        (LABEL, json!("Plan 12 of the stable")),
        ("/events/0/descriptor/attributes", json!({"id": "plan-of-the-stable", "data-row": "Plan 12 of the Stable"})),
        ("/events/0/descriptor/properties", json!({"Item name": "Plan 12 of the stable"})),
        ("/page/title", json!("Plan 12 of the stable – Files")),
    ]);
    let text = text_of(&taken_by(&batch, witness).unwrap());
    assert!(!text.contains("stable"), "{text}");
}

#[test]
fn accounts_and_greetings_are_private_and_users_count_though_their_id_is_withheld() {
    let fate = |changes: &[(&str, Value)]| {
        let mut all = vec![(LABEL, json!("Anna Schmidt"))];
        all.extend_from_slice(changes);
        let received = taken(&with(&all)).unwrap();
        let label = received.crowd.shown.iter().find(|shown| shown.field == convizit_model::ShownField::Label).unwrap();
        (serde_json::to_value(label.fate).unwrap(), received.crowd.user.is_some())
    };
    assert_eq!(fate(&[]), (json!("waits"), true));
    assert_eq!(fate(&[("/user", json!("anna@mail.example"))]), (json!("waits"), true));
    let private = json!("private");
    assert_eq!(
        fate(&[("/events/0/descriptor/context", json!([{"kind": "section", "name": "Welcome back, Anna"}]))]).0,
        private
    );
    assert_eq!(fate(&[("/page/url", json!("https://shop.example/account/orders"))]).0, private);
    assert_eq!(fate(&[("/events/0/descriptor/outer/container", json!("Your profile"))]).0, private);
    // Where visitors are derived from addresses one person may be several of them.
    assert_eq!(fate(&[("/visitor", Value::Null)]).0, private);
}
