//! From JSON to a checked mapping: every error says where it stands and what to write.

use serde_json::{Map, Value};

use super::{Cast, Condition, DEPTH, Directive, IdForm, MappingError, NODES, Path, Piece, Root, TimeForm};

/// Bounds of texts in a mapping.
const TEXT: usize = 4_096;
/// What a truncation may leave, in characters or bytes.
const CUT: usize = 100_000;

/// Counts operations and knows where it is.
pub(super) struct Compiler {
    nodes: usize,
    at: Vec<String>,
    in_each: bool,
}

impl Directive {
    /// # Errors
    /// The first thing that is no mapping.
    pub(crate) fn compile(value: &Value) -> Result<Self, MappingError> {
        Compiler { nodes: 0, at: Vec::new(), in_each: false }.directive(value)
    }
}

impl Condition {
    /// # Errors
    /// The first thing that is no condition.
    pub(crate) fn compile(value: &Value) -> Result<Self, MappingError> {
        Compiler { nodes: 0, at: Vec::new(), in_each: false }.condition(value)
    }
}

impl Compiler {
    pub(super) fn fail<T>(&self, what: impl Into<String>) -> Result<T, MappingError> {
        Err(MappingError { at: self.at.iter().map(|step| format!(".{step}")).collect(), what: what.into() })
    }

    pub(super) fn inside<T>(
        &mut self,
        step: &str,
        run: impl FnOnce(&mut Self) -> Result<T, MappingError>,
    ) -> Result<T, MappingError> {
        self.nodes += 1;
        self.at.push(step.to_owned());
        if self.nodes > NODES {
            return self.fail(format!("more than {NODES} operations: make it shorter"));
        }
        if self.at.len() > DEPTH {
            return self.fail(format!("deeper than {DEPTH}: make it flatter"));
        }
        let done = run(self)?;
        self.at.pop();
        Ok(done)
    }

    pub(super) fn directive(&mut self, value: &Value) -> Result<Directive, MappingError> {
        match value {
            Value::String(text) if text == "$" || text.starts_with("$.") || is_root(text) => {
                Ok(Directive::Path(self.path(text)?))
            }
            Value::String(text) if text.starts_with('$') => self.fail(format!(
                "{text} is no path: write $.page.url, or {{\"@const\": \"{text}\"}} for the text itself"
            )),
            Value::String(text) if text.len() > TEXT => self.fail(format!("a text of more than {TEXT} bytes")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Directive::Const(value.clone())),
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    list.push(self.inside(&index.to_string(), |this| this.directive(item))?);
                }
                Ok(Directive::List(list))
            }
            Value::Object(object) => match object.keys().find(|key| key.starts_with('@')) {
                Some(operation) => {
                    let operation = operation.clone();
                    self.inside(&operation, |this| this.operation(&operation, object))
                }
                None => {
                    let mut fields = Vec::with_capacity(object.len());
                    for (key, item) in object {
                        fields.push((key.clone(), self.inside(key, |this| this.directive(item))?));
                    }
                    Ok(Directive::Object(fields))
                }
            },
        }
    }

    fn operation(&mut self, operation: &str, object: &Map<String, Value>) -> Result<Directive, MappingError> {
        let argument = &object[operation];
        let allowed: &[&str] = match operation {
            "@const" | "@null" | "@template" | "@coalesce" | "@merge" | "@base64" | "@query" => &[],
            "@if" => &["then", "else"],
            "@switch" => &["of", "else"],
            "@each" => &["do"],
            "@flatten" | "@join" => &["with"],
            "@hash" => &["of", "digits"],
            "@truncate" => &["of", "unit"],
            "@slug" | "@keys" => &["of", "max"],
            "@id" => &["of", "at"],
            "@case" | "@cast" | "@time" | "@pick" | "@omit" | "@split" | "@replace" | "@keyed" => &["of"],
            _ => {
                return self.fail(
                    "no operation: there are @const @null @template @if @switch @coalesce @each @pick @omit @merge @flatten @case @cast \
                     @time @hash @truncate @slug @keys @keyed @id @join @split @replace @base64 @query",
                );
            }
        };
        if let Some(key) = object.keys().find(|key| *key != operation && !allowed.contains(&key.as_str())) {
            let takes = if allowed.is_empty() { "nothing else".to_owned() } else { allowed.join(", ") };
            return self.fail(format!("{key} does not belong here: {operation} takes {takes}"));
        }
        Ok(match operation {
            "@const" => Directive::Const(argument.clone()),
            // TOML has no word for it.
            "@null" if *argument == Value::Bool(true) => Directive::Const(Value::Null),
            "@null" => return self.fail("write {\"@null\": true}"),
            "@template" => Directive::Template(self.template(argument)?),
            "@coalesce" => Directive::Coalesce(self.list(argument)?),
            "@merge" => Directive::Merge(self.list(argument)?),
            "@base64" => Directive::Base64(Box::new(self.directive(argument)?)),
            "@query" => Directive::Query(Box::new(self.directive(argument)?)),
            "@if" => {
                let condition = self.condition(argument)?;
                let then = self.needed(object, "then")?;
                let otherwise =
                    object.get("else").map(|value| self.inside("else", |this| this.directive(value))).transpose()?;
                Directive::If(Box::new((condition, then, otherwise)))
            }
            "@switch" => {
                let Value::Object(of) = argument else {
                    return self.fail("write {\"@switch\": {\"click\": …}, \"of\": …}");
                };
                let mut cases = Vec::with_capacity(of.len());
                for (key, value) in of {
                    cases.push((key.clone(), self.inside(key, |this| this.directive(value))?));
                }
                let otherwise = object
                    .get("else")
                    .map(|value| self.inside("else", |this| this.directive(value)).map(Box::new))
                    .transpose()?;
                Directive::Switch { of: Box::new(self.needed(object, "of")?), cases, otherwise }
            }
            "@each" => {
                if self.in_each {
                    return self.fail("@each cannot stand in @each");
                }
                let of = Box::new(self.directive(argument)?);
                self.in_each = true;
                let item = self.needed(object, "do");
                self.in_each = false;
                Directive::Each { of, item: Box::new(item?) }
            }
            "@flatten" => {
                let with = self.word(object, "with", ".")?;
                Directive::Flatten { of: Box::new(self.directive(argument)?), with }
            }
            "@join" => {
                let with = self.word(object, "with", "")?;
                Directive::Join { of: Box::new(self.directive(argument)?), with }
            }
            "@split" => {
                let Some(at) = argument.as_str().filter(|at| !at.is_empty() && at.len() <= 8) else {
                    return self.fail("what stands between the parts, of at most 8 bytes: \",\"");
                };
                Directive::Split { of: Box::new(self.needed(object, "of")?), at: at.to_owned() }
            }
            "@replace" => {
                let pairs = argument.as_object().into_iter().flatten();
                let pairs: Option<Vec<_>> =
                    pairs.map(|(key, to)| Some((key.clone(), to.as_str()?.to_owned()))).collect();
                let Some(pairs) =
                    pairs.filter(|pairs| !pairs.is_empty() && pairs.iter().all(|(key, _)| !key.is_empty()))
                else {
                    return self.fail("what is replaced, and by what: {\"&\": \"&amp;\"}");
                };
                Directive::Replace { of: Box::new(self.needed(object, "of")?), pairs }
            }
            "@pick" => Directive::Pick { of: Box::new(self.needed(object, "of")?), keys: self.words(argument)? },
            "@omit" => Directive::Omit { of: Box::new(self.needed(object, "of")?), keys: self.words(argument)? },
            "@keyed" => {
                Directive::Keyed { of: Box::new(self.needed(object, "of")?), key: Box::new(self.directive(argument)?) }
            }
            "@case" => {
                let upper = match argument.as_str() {
                    Some("upper") => true,
                    Some("lower") => false,
                    _ => return self.fail("\"upper\" or \"lower\""),
                };
                Directive::Case { of: Box::new(self.needed(object, "of")?), upper }
            }
            "@cast" => {
                let to = match argument.as_str() {
                    Some("string") => Cast::Text,
                    Some("number") => Cast::Number,
                    Some("integer") => Cast::Integer,
                    Some("boolean") => Cast::Boolean,
                    Some("json") => Cast::Json,
                    _ => return self.fail("\"string\", \"number\", \"integer\", \"boolean\" or \"json\""),
                };
                Directive::Cast { of: Box::new(self.needed(object, "of")?), to }
            }
            "@time" => {
                let form = match argument.as_str() {
                    Some("s") => TimeForm::Seconds,
                    Some("s_ms") => TimeForm::Fraction,
                    Some("ms") => TimeForm::Millis,
                    Some("us") => TimeForm::Micros,
                    Some("iso") => TimeForm::Iso,
                    Some("iso_s") => TimeForm::IsoSeconds,
                    Some("day") => TimeForm::Day,
                    Some("hour") => TimeForm::Hour,
                    _ => {
                        return self.fail("\"s\", \"s_ms\", \"ms\", \"us\", \"iso\", \"iso_s\", \"day\" or \"hour\"");
                    }
                };
                Directive::Time { of: Box::new(self.needed(object, "of")?), form }
            }
            "@hash" => {
                if argument.as_str() != Some("sha256") {
                    return self.fail("\"sha256\"");
                }
                let digits = self.number(object, "digits", 64, 8, 64)?;
                Directive::Hash { of: Box::new(self.needed(object, "of")?), digits }
            }
            "@truncate" => {
                let most = self.within(argument, 1, CUT)?;
                let bytes = match object.get("unit").map(Value::as_str) {
                    None | Some(Some("characters")) => false,
                    Some(Some("bytes")) => true,
                    _ => return self.fail("unit is \"characters\" or \"bytes\""),
                };
                Directive::Truncate { of: Box::new(self.needed(object, "of")?), most, bytes }
            }
            "@slug" | "@keys" => {
                let with = match argument.as_str() {
                    Some("_") => '_',
                    Some("-") => '-',
                    _ => return self.fail("\"_\" or \"-\""),
                };
                let most = self.number(object, "max", 100, 8, 255)?;
                let of = Box::new(self.needed(object, "of")?);
                if operation == "@keys" {
                    Directive::Keys { of, with, most }
                } else {
                    Directive::Slug { of, with, most }
                }
            }
            // The last that is allowed: @id.
            _ => {
                let form = match argument.as_str() {
                    Some("uuid") => IdForm::Uuid,
                    Some("ulid") => IdForm::Ulid,
                    Some("hex") => IdForm::Hex,
                    Some("hex16") => IdForm::Hex16,
                    Some("number") => IdForm::Number,
                    Some("hash_uuid") => IdForm::HashUuid,
                    Some("timed_uuid") => {
                        let of = Box::new(self.needed(object, "of")?);
                        return Ok(Directive::TimedId { of, at: Box::new(self.needed(object, "at")?) });
                    }
                    _ => {
                        return self.fail(
                            "\"uuid\", \"ulid\", \"hex\", \"hex16\", \"number\", \"hash_uuid\" or \"timed_uuid\"",
                        );
                    }
                };
                if object.contains_key("at") {
                    return self.fail("at belongs to \"timed_uuid\"");
                }
                Directive::Id { of: Box::new(self.needed(object, "of")?), form }
            }
        })
    }

    fn needed(&mut self, object: &Map<String, Value>, key: &str) -> Result<Directive, MappingError> {
        match object.get(key) {
            Some(value) => self.inside(key, |this| this.directive(value)),
            None => self.fail(format!("{key} is missing")),
        }
    }

    fn list(&mut self, value: &Value) -> Result<Vec<Directive>, MappingError> {
        let Value::Array(items) = value else { return self.fail("a list is wanted: […]") };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.inside(&index.to_string(), |this| this.directive(item)))
            .collect()
    }

    /// Names as they are, or a mapping that makes a list of them.
    fn words(&mut self, value: &Value) -> Result<Box<Directive>, MappingError> {
        match value {
            Value::Array(list) if list.iter().all(Value::is_string) => Ok(Box::new(Directive::Const(value.clone()))),
            Value::Object(_) => Ok(Box::new(self.directive(value)?)),
            _ => self.fail("a list of names is wanted: [\"Product price\"]"),
        }
    }

    fn word(&self, object: &Map<String, Value>, key: &str, default: &str) -> Result<String, MappingError> {
        match object.get(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(word)) if word.len() <= 8 => Ok(word.clone()),
            Some(_) => self.fail(format!("{key} is a text of at most 8 bytes")),
        }
    }

    fn within(&self, value: &Value, least: usize, most: usize) -> Result<usize, MappingError> {
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => self.fail(format!("a whole number from {least} to {most}")),
        }
    }

    fn number(
        &self,
        object: &Map<String, Value>,
        key: &str,
        default: usize,
        least: usize,
        most: usize,
    ) -> Result<usize, MappingError> {
        object.get(key).map_or(Ok(default), |value| self.within(value, least, most))
    }

    fn template(&self, value: &Value) -> Result<Vec<Piece>, MappingError> {
        let Some(text) = value.as_str().filter(|text| text.len() <= TEXT) else {
            return self.fail(format!("a text of at most {TEXT} bytes such as \"{{$.name}} on {{$.page.path}}\""));
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{$") {
            let (before, after) = rest.split_at(open);
            let Some(close) = after.find('}') else { return self.fail("a { has no }") };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Of(self.path(&after[1..close])?));
            rest = &after[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(pieces)
    }

    /// `$.page.url`, `$.properties['Product price']`, `$item.value`, `$settings.project_id`.
    fn path(&self, text: &str) -> Result<Path, MappingError> {
        let (root, mut rest) = match text {
            _ if text.starts_with("$item") => (Root::Item, &text["$item".len()..]),
            _ if text.starts_with("$settings") => (Root::Settings, &text["$settings".len()..]),
            _ => (Root::Event, &text[1..]),
        };
        if root == Root::Item && !self.in_each {
            return self.fail("$item is known in @each only");
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(quoted) = rest.strip_prefix("['") {
                match quoted.find("']") {
                    Some(end) => (&quoted[..end], &quoted[end + 2..]),
                    None => return self.fail(format!("{text}: a [' has no ']")),
                }
            } else if let Some(plain) = rest.strip_prefix('.') {
                let end = plain.find(['.', '[']).unwrap_or(plain.len());
                plain.split_at(end)
            } else {
                return self.fail(format!("{text} is no path: write $.page.url or $.properties['Product price']"));
            };
            if step.is_empty() {
                return self.fail(format!("{text} has an empty step"));
            }
            steps.push(step.to_owned());
            rest = after;
        }
        if steps.len() > 8 {
            return self.fail(format!("{text} has more than 8 steps"));
        }
        Ok(Path { root, steps })
    }
}

fn is_root(text: &str) -> bool {
    ["$item", "$settings"].iter().any(|root| {
        text.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("['"))
    }) || text.starts_with("$['")
}
