//! Conditions of a mapping and of a filter: whether an event is meant.

use serde_json::Value;

use super::compile::Compiler;
use super::run::Run;
use super::{Directive, MappingError};

/// A condition that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Directive),
    Is { of: Directive, any: Vec<Value> },
    Contains { of: Directive, text: Directive },
    Starts { of: Directive, text: String },
    Above { of: Directive, number: f64 },
    Below { of: Directive, number: f64 },
}

impl Compiler {
    pub(super) fn condition(&mut self, value: &Value) -> Result<Condition, MappingError> {
        const FORM: &str = "no condition: there are {\"exists\": …}, {\"of\": …, \"is\" | \"in\" | \"contains\" | \"starts\" | \
                            \"above\" | \"below\": …}, {\"all\": […]}, {\"any\": […]}, {\"not\": …}";
        let Value::Object(object) = value else { return self.fail(FORM) };
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let of = |this: &mut Self| this.inside("of", |this| this.directive(&object["of"]));
        Ok(match keys.as_slice() {
            ["all"] => Condition::All(self.conditions("all", &object["all"])?),
            ["any"] => Condition::Any(self.conditions("any", &object["any"])?),
            ["not"] => Condition::Not(Box::new(self.inside("not", |this| this.condition(&object["not"]))?)),
            ["exists"] => Condition::Exists(self.inside("exists", |this| this.directive(&object["exists"]))?),
            // Keys of an object come in the order of the alphabet or in that in which they were written.
            [_, _] if keys.contains(&"of") => {
                let test = if keys[0] == "of" { keys[1] } else { keys[0] };
                let (of, given) = (of(self)?, &object[test]);
                match (test, given) {
                    ("is", Value::Array(_) | Value::Object(_)) => {
                        return self.fail("is: one text, number, true, false or null");
                    }
                    ("is", value) => Condition::Is { of, any: vec![value.clone()] },
                    ("in", Value::Array(any)) => Condition::Is { of, any: any.clone() },
                    // A mapping of its own: `$settings.names` may hold `$.name`.
                    ("contains", Value::String(_) | Value::Object(_)) => {
                        Condition::Contains { of, text: self.inside("contains", |this| this.directive(given))? }
                    }
                    ("starts", Value::String(text)) => Condition::Starts { of, text: text.clone() },
                    ("above", Value::Number(number)) => {
                        Condition::Above { of, number: number.as_f64().unwrap_or(f64::NAN) }
                    }
                    ("below", Value::Number(number)) => {
                        Condition::Below { of, number: number.as_f64().unwrap_or(f64::NAN) }
                    }
                    _ => return self.fail(FORM),
                }
            }
            _ => return self.fail(FORM),
        })
    }

    fn conditions(&mut self, step: &str, value: &Value) -> Result<Vec<Condition>, MappingError> {
        let Value::Array(items) = value else { return self.fail(format!("{step} wants a list of conditions")) };
        items.iter().map(|item| self.inside(step, |this| this.condition(item))).collect()
    }
}

impl Condition {
    pub(super) fn holds(&self, run: &mut Run<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(run)),
            Self::Any(any) => any.iter().any(|one| one.holds(run)),
            Self::Not(one) => !one.holds(run),
            Self::Exists(of) => run.value(of).is_some_and(|value| !value.is_null()),
            Self::Is { of, any } => {
                let value = run.value(of).unwrap_or(Value::Null);
                any.iter().any(|one| *one == value || (one.is_number() && one.as_f64() == value.as_f64()))
            }
            Self::Contains { of, text } => match (run.value(of), run.text(text)) {
                (Some(Value::String(value)), Some(text)) => value.contains(&text),
                (Some(Value::Array(items)), Some(text)) => items.iter().any(|item| item.as_str() == Some(&text)),
                _ => false,
            },
            Self::Starts { of, text } => {
                run.value(of).is_some_and(|value| value.as_str().is_some_and(|value| value.starts_with(text)))
            }
            Self::Above { of, number } => {
                run.value(of).and_then(|value| value.as_f64()).is_some_and(|value| value > *number)
            }
            Self::Below { of, number } => {
                run.value(of).and_then(|value| value.as_f64()).is_some_and(|value| value < *number)
            }
        }
    }
}
