//! One event as one line for people: time, visitor, type, name, properties.

use convizit_model::Event;
use serde_json::Value;

/// The line, with colour where the terminal has it. Control characters are left out: captured text shall not drive a terminal.
pub(super) fn of(event: &Event, colour: bool) -> String {
    let time = event.time.to_string();
    let time = time.get(11..19).unwrap_or("");
    let visitor: String = event.visitor.chars().filter(char::is_ascii_alphanumeric).take(6).collect();
    let paint = |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut line = format!(
        "{}  {}  {}  {}",
        paint("2", time),
        paint("36", &format!("{visitor:6}")),
        paint("2", &format!("{:11}", event.kind.as_str())),
        paint("1;32", &plain(&event.name)),
    );
    for (key, value) in &event.properties {
        if key == "Currency" {
            continue;
        }
        let text = match value {
            Value::String(text) if text.contains(' ') || text.is_empty() => format!("\"{}\"", plain(text)),
            Value::String(text) => plain(text),
            Value::Number(number) if key.to_ascii_lowercase().contains("price") => {
                format!("{:.2}", number.as_f64().unwrap_or(0.0))
            }
            Value::Null => continue,
            other => other.to_string(),
        };
        line.push_str(&format!("  {}={text}", paint("33", &plain(key))));
    }
    if let Some(group) = &event.group {
        line.push_str(&paint("2", &format!("  position {} of {}", group.position, group.length)));
    }
    if event.kind == convizit_model::EventType::PageView {
        line.push_str(&paint("2", &format!("  {}", plain(&event.page.path))));
    }
    if !event.withheld.is_empty() {
        let rules: Vec<&str> = event.withheld.iter().map(|receipt| receipt.rule.as_str()).collect();
        line.push_str(&paint("35", &format!("  withheld: {}", plain(&rules.join(", ")))));
    }
    line
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_the_readme_shows_it() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": "0193a1f0-0000-7000-8000-000000000001", "project": "shop", "source": "convizit", "schema": 1,
            "name": "Add to cart\u{1b}[2J", "name_state": "published", "type": "click", "time": "2026-11-23T12:01:07.000Z",
            "received": "2026-11-23T12:01:07.000Z", "visitor": "3fk2Qa77", "session": {"id": "s", "start": "2026-11-23T12:00:00.000Z"},
            "user": null, "consent": {}, "page": {"url": "", "path": "/"},
            "group": {"id": "gr_0000000000000001", "name": "Product card", "position": 3, "length": 12},
            "properties": {"Product name": "Trail shoe", "Product price": 89.9, "Currency": "EUR", "Selected color": "Red", "Quantity": 2},
            "device": {}, "location": {}
        }))
        .unwrap();
        assert_eq!(
            of(&event, false),
            "12:01:07  3fk2Qa  click        Add to cart[2J  Product name=\"Trail shoe\"  Product price=89.90  Selected color=Red  Quantity=2  position 3 of 12"
        );
        assert!(of(&event, true).contains("\x1b[1;32m"));
    }
}
