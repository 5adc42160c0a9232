//! A transform as VRL compiles it, with those of its functions that reach nothing and always say the same.

use std::ops::ControlFlow;

use serde_json::Value;
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::{ExpressionError, Program as Compiled, TargetValue, TimeZone, compile};
use vrl::diagnostic::{DiagnosticList, Span};
use vrl::value::{Secrets, Value as VrlValue};

/// The functions that there are. No clock, no chance, no log, nothing of the machine or its network, and no tables that an update changes.
const FUNCTIONS: [&str; 92] = [
    "abs",
    "append",
    "array",
    "bool",
    "camelcase",
    "ceil",
    "chunks",
    "compact",
    "contains",
    "contains_all",
    "decode_base64",
    "decode_percent",
    "del",
    "downcase",
    "encode_base64",
    "encode_json",
    "encode_percent",
    "ends_with",
    "exists",
    "filter",
    "find",
    "flatten",
    "float",
    "floor",
    "for_each",
    "format_int",
    "format_number",
    "format_timestamp",
    "from_entries",
    "get",
    "includes",
    "int",
    "is_array",
    "is_boolean",
    "is_empty",
    "is_float",
    "is_integer",
    "is_json",
    "is_null",
    "is_nullish",
    "is_object",
    "is_string",
    "is_timestamp",
    "join",
    "kebabcase",
    "keys",
    "length",
    "map_keys",
    "map_values",
    "match",
    "match_any",
    "merge",
    "mod",
    "object",
    "object_from_array",
    "parse_duration",
    "parse_float",
    "parse_int",
    "parse_json",
    "parse_key_value",
    "parse_query_string",
    "parse_regex",
    "parse_timestamp",
    "parse_url",
    "pascalcase",
    "pop",
    "push",
    "remove",
    "replace",
    "round",
    "screamingsnakecase",
    "set",
    "slice",
    "snakecase",
    "split",
    "starts_with",
    "string",
    "strip_whitespace",
    "strlen",
    "timestamp",
    "to_bool",
    "to_entries",
    "to_float",
    "to_int",
    "to_string",
    "to_unix_timestamp",
    "truncate",
    "unflatten",
    "unique",
    "upcase",
    "values",
    "zip",
];

/// How often it is looked whether a program takes too long, in expressions.
const LOOK: u32 = 64;

/// A program that can run.
pub(super) struct Program(Compiled);

/// What came of an event.
pub(super) enum Outcome {
    Event(Value),
    /// The program aborts.
    LeftOut,
    /// It was stopped.
    Late,
    Failed(String),
}

impl Program {
    /// # Errors
    /// What is wrong first, with line and column.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        let functions: Vec<_> =
            vrl::stdlib::all().into_iter().filter(|function| FUNCTIONS.contains(&function.identifier())).collect();
        match compile(source, &functions) {
            Ok(compiled) => Ok(Self(compiled.program)),
            Err(problems) => Err(first_of(source, &problems)),
        }
    }

    /// Runs it on an event until it ends, or it is late.
    pub(super) fn run(&self, event: &Value, late: impl Fn() -> bool) -> Outcome {
        let empty = || VrlValue::Object(std::collections::BTreeMap::new());
        let mut target = TargetValue { value: event.into(), metadata: empty(), secrets: Secrets::default() };
        let utc = TimeZone::parse("UTC").unwrap_or_default();
        let mut steps = 0_u32;
        let mut control = || {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(LOOK) && late() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let run = Runtime::default().resolve_with_control(&mut target, &self.0, &utc, &mut control);
        match run {
            Ok(_) => target
                .value
                .try_into()
                .map_or_else(|_| Outcome::Failed("what the transform made is no JSON".to_owned()), Outcome::Event),
            Err(Terminate::Interrupted) => Outcome::Late,
            Err(Terminate::Abort(ExpressionError::Abort { .. })) => Outcome::LeftOut,
            Err(Terminate::Abort(error) | Terminate::Error(error)) => Outcome::Failed(in_words(&error)),
        }
    }
}

/// The first problem, with its place and what stands there.
fn first_of(source: &str, problems: &DiagnosticList) -> String {
    let Some(problem) = problems.iter().find(|problem| problem.is_error() || problem.is_bug()) else {
        return "it does not compile".to_owned();
    };
    let Some(label) = problem.labels.iter().find(|label| label.primary).or(problem.labels.first()) else {
        return problem.message.clone();
    };
    let (from, to) = (label.span.start().min(source.len()), label.span.end().min(source.len()));
    let there = source.get(from..to).map(|text| text.lines().next().unwrap_or_default()).unwrap_or_default();
    let what = problem.message.trim();
    format!("{}: {what}: {} ({there})", place(source, from), label.message)
}

/// `line 3, column 5`.
fn place(source: &str, at: usize) -> String {
    let before = source.get(..at).unwrap_or(source);
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    format!("line {}, column {column}", before.matches('\n').count() + 1)
}

/// Why it failed, by its place alone: a message may quote what the event holds.
fn in_words(error: &ExpressionError) -> String {
    let spans: Vec<Span> = match error {
        ExpressionError::Fallible { span } | ExpressionError::Missing { span, .. } => vec![*span],
        ExpressionError::Error { labels, .. } => labels.iter().map(|label| label.span).collect(),
        _ => Vec::new(),
    };
    // Of a function the message begins with its name and with where it stands.
    let message = error.to_string();
    let function = message.strip_prefix("function call error for \"").and_then(|rest| rest.split_once('"'));
    let named = function.map(|(name, _)| name).filter(|name| FUNCTIONS.contains(name));
    let start = spans.first().map(|span| span.start()).or_else(|| {
        let (_, rest) = function?.1.split_once("at (")?;
        rest.split_once(':')?.0.parse().ok()
    });
    let of = named.map(|name| format!(" in {name}")).unwrap_or_default();
    let at = start.map(|start| format!(" at character {}", start + 1)).unwrap_or_default();
    format!("the transform failed{of}{at}: the event is not as it expects")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(source: &str, event: &Value) -> Outcome {
        Program::compile(source).unwrap().run(event, || false)
    }

    #[test]
    fn every_function_of_the_list_is_there_and_no_other_can_be_called() {
        let all: Vec<&str> = vrl::stdlib::all().iter().map(|function| function.identifier()).collect();
        for name in FUNCTIONS {
            assert!(all.contains(&name), "{name}");
        }
        for call in [
            "http_request!(\"http://127.0.0.1\")",
            "dns_lookup!(\"localhost\")",
            "reverse_dns!(\"127.0.0.1\")",
            "get_env_var!(\"HOME\")",
            "get_hostname!()",
            "get_timezone_name!()",
            "now()",
            "uuid_v4()",
            "uuid_v7()",
            "random_int!(0, 9)",
            "random_bytes!(4)",
            "log(\"x\")",
            "parse_proto!(\"x\", \"/etc/passwd\", \"a\")",
            "validate_json_schema!(\"{}\", \"/etc/passwd\")",
            "parse_grok!(\"a\", \"b\")",
        ] {
            let error = Program::compile(&format!(".a = 1\n.x = {call}")).err().unwrap_or_default();
            let name = call.split(['!', '(']).next().unwrap_or_default();
            assert!(error.starts_with("line 2, column 6") && error.contains(name), "{call}: {error}");
        }
    }

    #[test]
    fn an_event_is_changed_left_out_or_refused_by_its_place_alone() {
        let event = json!({"id": "1", "properties": {"Price": "12.5", "Note": "canary"}});
        let Outcome::Event(made_of) =
            made(".properties.Price = to_float!(.properties.Price) * 2\ndel(.properties.Note)", &event)
        else {
            panic!("no event")
        };
        assert_eq!(made_of["properties"], json!({"Price": 25.0}));
        assert!(matches!(made("if .id == \"1\" { abort }", &event), Outcome::LeftOut));
        let Outcome::Failed(reason) = made(".x = to_int!(.properties.Note)", &event) else { panic!("it did not fail") };
        assert!(reason.contains("to_int at character 6") && !reason.contains("canary"), "{reason}");
    }

    #[test]
    fn the_example_of_the_documents_does_what_they_say() {
        let text = include_str!("../../../../docs/mapping.md");
        let (_, from) = text.split_once("    # only real purchases").unwrap();
        let source: String =
            from.lines().skip(1).take_while(|line| line.starts_with("    ")).map(|line| format!("{line}\n")).collect();
        let event = json!({"name": "Purchase", "properties": {"Product price": "89.9", "Product name": "Trail Shoe"}});
        let Outcome::Event(after) = made(&source, &event) else { panic!("no event") };
        assert_eq!((&after["properties"]["Price"], &after["properties"]["Slug"]), (&json!(89.9), &json!("trail-shoe")));
        assert!(matches!(made(&source, &json!({"name": "Click"})), Outcome::LeftOut));
    }

    #[test]
    fn what_runs_for_long_is_stopped() {
        let many: Vec<u32> = (0..1_000).collect();
        let nested = "a = array!(.many)\nfor_each(a) -> |_i, x| { for_each(a) -> |_j, y| { for_each(a) -> |_k, z| { .n = x } } }";
        let begun = std::time::Instant::now();
        let late = || begun.elapsed() > std::time::Duration::from_millis(100);
        let outcome = Program::compile(nested).unwrap().run(&json!({"many": many}), late);
        assert!(matches!(outcome, Outcome::Late) && begun.elapsed().as_secs() < 5);
    }
}
