//! What each operation makes, what is refused with a reason, and that nothing in a mapping can go without end.

use serde_json::{Value, json};

use super::{Condition, Directive, Input, Limits};

fn event() -> Value {
    json!({
        "id": "0193a1f0-1b2c-7def-8123-456789abcdef", "name": "Add to cart", "type": "click",
        "time": "2026-11-23T18:00:00.123Z", "user": null, "visitor": "v1",
        "page": {"url": "https://shop.example/p/:id", "title": "Größe"},
        "properties": {"Product price": 89.9, "Quantity": "2", "Currency": "EUR", "Deep": {"a": {"b": 1}, "list": [1, "x"]}},
        "items": [{"sku": "a"}, {"sku": "b"}]
    })
}

fn run(mapping: &Value) -> Option<Value> {
    let event = event();
    let settings = json!({"project": "77"});
    Directive::compile(mapping).unwrap().run(Input { event: &event, settings: &settings }, Limits::default())
}

#[test]
fn each_operation_makes_what_it_says() {
    for (mapping, wanted) in [
        (json!("$.page.url"), json!("https://shop.example/p/:id")),
        (json!("$.properties['Product price']"), json!(89.9)),
        (json!("$.items.1.sku"), json!("b")),
        (json!("$settings.project"), json!("77")),
        (json!("plain"), json!("plain")),
        (json!({"@const": "$.page.url"}), json!("$.page.url")),
        (json!({"a": {"@null": true}}), json!({"a": null})),
        (json!({"a": "$.name", "gone": "$.nothing", "null": "$.user"}), json!({"a": "Add to cart", "null": null})),
        (json!(["$.name", "$.nothing", 1]), json!(["Add to cart", 1])),
        (json!({"@template": "{$.name} at {$.nothing}{$.properties.Quantity}"}), json!("Add to cart at 2")),
        (json!({"@if": {"exists": "$.user"}, "then": 1, "else": 2}), json!(2)),
        (json!({"@switch": {"click": "c", "page_view": "p"}, "of": "$.type"}), json!("c")),
        (json!({"@switch": {"submit": "s"}, "of": "$.type", "else": "o"}), json!("o")),
        (json!({"@coalesce": ["$.nothing", "$.user", "$.visitor"]}), json!("v1")),
        (json!({"@each": "$.items", "do": {"id": "$item.sku"}}), json!([{"id": "a"}, {"id": "b"}])),
        (
            json!({"@each": {"@pick": ["Currency"], "of": "$.properties"}, "do": {"@template": "{$item.key}={$item.value}"}}),
            json!(["Currency=EUR"]),
        ),
        (json!({"@omit": ["Deep", "Quantity", "Currency"], "of": "$.properties"}), json!({"Product price": 89.9})),
        (
            json!({"@pick": {"@split": ",", "of": "Currency,Quantity"}, "of": "$.properties"}),
            json!({"Quantity": "2", "Currency": "EUR"}),
        ),
        (
            json!({"@keys": "_", "of": {"@pick": ["Product price"], "of": "$.properties"}}),
            json!({"product_price": 89.9}),
        ),
        (
            json!({"@keyed": {"@template": "_{$settings.project}"}, "of": {"a": "$.name"}}),
            json!({"_77": {"a": "Add to cart"}}),
        ),
        (json!({"@merge": [{"a": 1, "b": 1}, {"b": 2}]}), json!({"a": 1, "b": 2})),
        (json!({"@flatten": "$.properties.Deep", "with": "_"}), json!({"a_b": 1, "list_0": 1, "list_1": "x"})),
        (json!({"@case": "upper", "of": "$.name"}), json!("ADD TO CART")),
        (json!({"@cast": "integer", "of": "$.properties.Quantity"}), json!(2)),
        (json!({"@cast": "integer", "of": "$.properties['Product price']"}), json!(89)),
        (json!({"@cast": "string", "of": "$.properties['Product price']"}), json!("89.9")),
        (json!({"@cast": "json", "of": "$.items"}), json!("[{\"sku\":\"a\"},{\"sku\":\"b\"}]")),
        (json!({"@cast": "boolean", "of": "true"}), json!(true)),
        (json!({"@time": "s", "of": "$.time"}), json!(1_795_456_800)),
        (json!({"@time": "ms", "of": "$.time"}), json!(1_795_456_800_123_i64)),
        (json!({"@time": "us", "of": "$.time"}), json!(1_795_456_800_123_000_i64)),
        (json!({"@time": "iso_s", "of": "$.time"}), json!("2026-11-23T18:00:00Z")),
        (json!({"@hash": "sha256", "of": "a", "digits": 16}), json!("ca978112ca1bbdca")),
        (json!({"@truncate": 3, "of": "$.page.title"}), json!("Grö")),
        (json!({"@truncate": 3, "of": "$.page.title", "unit": "bytes"}), json!("Gr")),
        (json!({"@slug": "_", "of": "$.name"}), json!("add_to_cart")),
        (json!({"@time": "s_ms", "of": "$.time"}), json!(1_795_456_800.123)),
        (json!({"@time": "day", "of": "$.time"}), json!("2026-11-23")),
        (json!({"@time": "hour", "of": "$.time"}), json!("18")),
        (
            json!({"@join": ["pe", "$settings.project", "$.nothing", "$.items", {"@slug": "_", "of": "$.name"}], "with": "_"}),
            json!("pe_77_add_to_cart"),
        ),
        (json!({"@split": ",", "of": "Add to cart , ,purchase"}), json!(["Add to cart", "purchase"])),
        (json!({"@replace": {"&": "&amp;", "<": "&lt;", "Gr": ""}, "of": "Größe <&amp;"}), json!("öße &lt;&amp;amp;")),
        (json!({"@base64": {"a": 1}}), json!("eyJhIjoxfQ==")),
        (json!({"@query": {"a b": "c&d", "n": 1}}), json!("a+b=c%26d&n=1")),
        (json!({"@id": "uuid", "of": "$.id"}), json!("0193a1f0-1b2c-7def-8123-456789abcdef")),
        (json!({"@id": "hex", "of": "$.id"}), json!("0193a1f01b2c7def8123456789abcdef")),
        (json!({"@id": "ulid", "of": "$.id"}), json!("01JEGZ06SCFQQR28T5CY4TQKFF")),
        (json!({"@id": "hex16", "of": "a"}), json!("ca978112ca1bbdca")),
        (json!({"@id": "number", "of": "a"}), json!("7128065739670391")),
        (json!({"@id": "hash_uuid", "of": "a"}), json!("ca978112-ca1b-4dca-bac2-31b39a23dc4d")),
        (
            json!({"@id": "timed_uuid", "of": "a", "at": "2025-01-01T00:00:00.000Z"}),
            json!("01941f29-7c00-7dca-bac2-31b39a23dc4d"),
        ),
        (json!({"@join": ["?", {"@query": {"a": 1}}, "$.nothing", 2]}), json!("?a=12")),
        (json!({"@join": ["$.visitor", "$.user", "$.name"], "with": "/"}), json!("v1/Add to cart")),
    ] {
        assert_eq!(run(&mapping), Some(wanted), "{mapping}");
    }
    for nothing in [
        json!("$.nothing.at.all"),
        json!({"@time": "s", "of": "$.name"}),
        json!({"@cast": "number", "of": "$.name"}),
        json!({"@id": "ulid", "of": "$.name"}),
        json!({"@each": "$.name", "do": "$item"}),
        json!({"@if": {"exists": "$.user"}, "then": 1}),
    ] {
        assert_eq!(run(&nothing), None, "{nothing}");
    }
}

/// The rows of the document's tables: the section, what is written, and what comes of it; `None` for nothing.
fn documented() -> (Value, Vec<(String, Value, Option<Value>)>) {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mapping.md"));
    let event = text.split_once("```json").unwrap().1.split_once("```").unwrap().0;
    let json = |cell: &str| {
        let code = cell.trim_matches('`');
        serde_json::from_str(code).unwrap_or_else(|error| panic!("{cell}: {error}"))
    };
    let (mut section, mut rows) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, example, makes] = cells[..] else { continue };
        if example.starts_with('`') {
            let makes = (makes != "nothing").then(|| json(makes));
            rows.push((section.clone(), json(example), makes));
        }
    }
    (serde_json::from_str(event).unwrap(), rows)
}

#[test]
fn the_document_says_what_each_operation_makes_and_leaves_none_out() {
    let (event, rows) = documented();
    let settings = json!({"project": "77"});
    let input = Input { event: &event, settings: &settings };
    for (section, example, makes) in &rows {
        let made = match section.as_str() {
            "Conditions" => Some(Value::Bool(Condition::compile(example).unwrap().meets(input))),
            _ => Directive::compile(example).unwrap().run(input, Limits::default()),
        };
        assert_eq!(&made, makes, "{example}");
    }
    let all = Directive::compile(&json!({"@nothing": 1})).unwrap_err().what;
    let operations: Vec<&str> = all.split_whitespace().filter(|word| word.starts_with('@')).collect();
    assert!(operations.len() > 20, "{all}");
    let tests = ["exists", "is", "in", "contains", "starts", "above", "below", "all", "any", "not"];
    for word in operations.into_iter().chain(tests) {
        let key = format!("\"{word}\":");
        assert!(rows.iter().any(|(_, example, _)| example.to_string().contains(&key)), "{word} has no example");
    }
}

#[test]
fn a_ulid_holds_the_time_of_the_id() {
    let Some(Value::String(ulid)) = run(&json!({"@id": "ulid", "of": "$.id"})) else { panic!("no text") };
    let letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = ulid.chars().take(10).fold(0_u64, |time, c| time * 32 + letters.find(c).unwrap() as u64);
    assert_eq!(time, 0x0193_a1f0_1b2c);
}

#[test]
fn conditions_hold_as_they_say() {
    let event = event();
    let input = Input { event: &event, settings: &Value::Null };
    for (condition, wanted) in [
        (json!({"exists": "$.user"}), false),
        (json!({"exists": "$.visitor"}), true),
        (json!({"of": "$.type", "is": "click"}), true),
        (json!({"of": "$.type", "in": ["submit", "click"]}), true),
        (json!({"of": "$.type", "in": ["submit"]}), false),
        (json!({"of": "$.page.url", "contains": "/p/"}), true),
        (json!({"of": "$.page.url", "starts": "https://shop"}), true),
        (json!({"of": "$.page.title", "contains": "$.name"}), false),
        (json!({"of": {"@split": ",", "of": "Add to cart, Buy"}, "contains": "$.name"}), true),
        (json!({"of": {"@split": ",", "of": "Add to cart again, Buy"}, "contains": "$.name"}), false),
        (json!({"of": "$.name", "contains": "$.nothing"}), false),
        (json!({"of": "$.properties['Product price']", "above": 89}), true),
        (json!({"of": "$.properties['Product price']", "below": 89}), false),
        (json!({"of": "$.user", "is": null}), true),
        (json!({"all": [{"exists": "$.name"}, {"not": {"exists": "$.user"}}]}), true),
        (json!({"any": [{"exists": "$.user"}, {"of": "$.name", "is": "x"}]}), false),
    ] {
        assert_eq!(Condition::compile(&condition).unwrap().meets(input), wanted, "{condition}");
    }
}

#[test]
fn what_is_no_mapping_says_where_and_what_to_write() {
    for (mapping, at, word) in [
        (json!({"a": {"b": {"@nothing": 1}}}), ".a.b.@nothing", "@coalesce"),
        (json!({"a": "$page.url"}), ".a", "$.page.url"),
        (json!("$.page..url"), "", "empty step"),
        (json!("$item.x"), "", "@each only"),
        (json!({"@slug": "+", "of": "$.name"}), ".@slug", "\"_\" or \"-\""),
        (json!({"@slug": "_"}), ".@slug", "of is missing"),
        (json!({"@split": "", "of": "$.name"}), ".@split", "between the parts"),
        (json!({"@replace": {"": "x"}, "of": "$.name"}), ".@replace", "by what"),
        (json!({"@truncate": 0, "of": "$.name"}), ".@truncate", "from 1"),
        (json!({"@case": "upper", "of": "$.name", "else": 1}), ".@case", "does not belong"),
        (json!({"@if": {"of": "$.a", "like": "x"}, "then": 1}), ".@if", "no condition"),
        (json!({"@each": "$.items", "do": {"@each": "$item", "do": 1}}), ".@each.do.@each", "cannot stand in"),
        (json!({"@template": "{$.name"}), ".@template", "no }"),
    ] {
        let error = Directive::compile(&mapping).unwrap_err();
        assert!(error.at == at && error.what.contains(word), "{mapping}: {error}");
    }
    let deep = (0..40).fold(json!("$.name"), |inner, _| json!({"a": inner}));
    assert!(Directive::compile(&deep).unwrap_err().what.contains("deeper"));
    let wide: Value = (0..3_000).map(|_| json!("$.name")).collect();
    assert!(Directive::compile(&wide).unwrap_err().what.contains("more than"));
}

#[test]
fn what_comes_out_is_bounded_whatever_the_event_holds() {
    let long = "x".repeat(200_000);
    let event = json!({"name": long, "list": (0..5_000).collect::<Vec<_>>()});
    let input = Input { event: &event, settings: &Value::Null };
    let many =
        Directive::compile(&json!([["$.name", "$.name"], "$.name", {"@each": "$.list", "do": "$.name"}])).unwrap();
    let made = many.run(input, Limits::default()).unwrap();
    assert!(made.to_string().len() < 300_000, "{}", made.to_string().len());
    let grown = Directive::compile(&json!({"@replace": {"x": "xxxx"}, "of": "$.name"})).unwrap();
    assert_eq!(grown.run(input, Limits::default()), None);
    let each = Directive::compile(&json!({"@each": "$.list", "do": "$item"})).unwrap();
    assert_eq!(each.run(input, Limits::default()).unwrap().as_array().unwrap().len(), 1_000);
}
