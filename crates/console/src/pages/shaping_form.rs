//! The part of a destination's form that says what it gets of the events: fields left out, a condition, a share of visitors, own fields.

use convizit_model::Shaping;
use serde_json::Value;

use crate::access::Fields;
use crate::page::Problem;

/// What is left out with one tick: its word, what it is called, and its fields of an event.
const TICKS: [(&str, &str, &[&str]); 4] = [
    ("platform", "Platform", &["device.platform"]),
    ("os", "Operating system", &["device.os_name", "device.os_version"]),
    ("brand", "Brand of the device", &["device.brand"]),
    ("location", "Location", &["location"]),
];

/// The part of the form, as it was sent or as it stands.
#[derive(Default)]
pub(super) struct ShapingForm {
    /// The ticks: word, name, whether it is on.
    pub(super) ticks: Vec<(&'static str, &'static str, bool)>,
    /// Further fields that are left out, a line each.
    pub(super) without: String,
    pub(super) when: String,
    pub(super) percent: String,
    /// Own fields, a line each: `properties.Shop = $.project`.
    pub(super) fields: String,
    pub(super) transform: String,
    /// Whether this build has transforms.
    pub(super) transforms: bool,
}

impl ShapingForm {
    /// As it was sent.
    pub(super) fn sent(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            ticks: TICKS.map(|(word, name, _)| (word, name, fields.all("less").any(|on| on == word))).into(),
            without: text("without"),
            when: text("when"),
            percent: text("percent"),
            fields: text("fields"),
            transform: text("transform"),
            transforms: convizit_delivery::HAS_TRANSFORMS,
        }
    }

    /// As it stands.
    pub(super) fn of(shaping: &Shaping) -> Self {
        let has = |path: &str| shaping.without.iter().any(|left| left == path);
        let is_on = |paths: &[&str]| paths.iter().all(|path| has(path));
        let ticked: Vec<&str> =
            TICKS.iter().filter(|(_, _, paths)| is_on(paths)).flat_map(|(_, _, paths)| paths.iter().copied()).collect();
        let others = shaping.without.iter().filter(|path| !ticked.contains(&path.as_str()));
        let line = |(field, mapping): (&String, &Value)| match mapping {
            Value::String(path) if path.starts_with("$.") && path.trim() == path && !path.contains('\n') => {
                format!("{field} = {path}")
            }
            other => format!("{field} = {other}"),
        };
        Self {
            ticks: TICKS.map(|(word, name, paths)| (word, name, is_on(paths))).into(),
            without: others.cloned().collect::<Vec<_>>().join("\n"),
            when: shaping.when.as_ref().map(|when| when.to_string()).unwrap_or_default(),
            percent: shaping.percent.map(|percent| percent.to_string()).unwrap_or_default(),
            fields: shaping.set.iter().map(line).collect::<Vec<_>>().join("\n"),
            transform: shaping.transform.clone().unwrap_or_default(),
            transforms: convizit_delivery::HAS_TRANSFORMS,
        }
    }

    /// Whether it says anything: then it stands open.
    pub(super) fn is_used(&self) -> bool {
        let texts = [&self.without, &self.when, &self.percent, &self.fields, &self.transform];
        self.ticks.iter().any(|(.., on)| *on) || texts.iter().any(|text| !text.trim().is_empty())
    }
}

/// Whether a field of the form belongs to this part.
pub(super) fn is_part(field: &str) -> bool {
    ["without", "when", "percent", "fields", "transform"].contains(&field)
}

/// What a form says of it.
pub(super) fn shaping(fields: &Fields) -> Result<Shaping, Problem> {
    let ticked = TICKS.iter().filter(|(word, ..)| fields.all("less").any(|on| on == *word));
    let ticked = ticked.flat_map(|(_, _, paths)| paths.iter().copied());
    let mut without: Vec<String> = Vec::new();
    for path in ticked.chain(lines(fields.get("without"))) {
        if !without.iter().any(|known| known == path) {
            without.push(path.to_owned());
        }
    }
    let when = Some(fields.get("when").trim()).filter(|text| !text.is_empty());
    let when = when.map(serde_json::from_str).transpose();
    let when = when.map_err(|error| {
        let text = format!("this is no JSON ({error}): write {{\"of\": \"$.page.path\", \"starts\": \"/shop\"}}");
        Problem::new("when", text)
    })?;
    let percent = match fields.get("percent").trim() {
        // All of them is no choice.
        "" | "100" => None,
        text => {
            let number = text.parse::<u8>().ok().filter(|percent| (1..=99).contains(percent));
            Some(number.ok_or_else(|| Problem::new("percent", "a whole number from 1 to 99, or none for all"))?)
        }
    };
    let mut set = serde_json::Map::new();
    for line in lines(fields.get("fields")) {
        let wrong = |what: String| Problem::new("fields", what);
        let (field, text) = line
            .split_once('=')
            .map(|(field, text)| (field.trim(), text.trim()))
            .ok_or_else(|| wrong(format!("{line}: write a field, = and a mapping: properties.Shop = $.project")))?;
        let mapping = match serde_json::from_str(text) {
            Ok(mapping) => mapping,
            Err(_) if text.starts_with('$') => Value::from(text),
            Err(error) => {
                let help =
                    "write $.page.path for a path, \"shop\" for a text, or {\"@case\": \"upper\", \"of\": \"$.name\"}";
                return Err(wrong(format!("{field}: what stands behind = is no JSON ({error}): {help}")));
            }
        };
        if set.insert(field.to_owned(), mapping).is_some() {
            return Err(wrong(format!("{field} stands here twice")));
        }
    }
    // Lines of a form end in two characters.
    let transform = fields.get("transform").replace("\r\n", "\n");
    let transform = Some(transform).filter(|source| !source.trim().is_empty());
    Ok(Shaping { without, when, percent, set, transform })
}

/// Lines that hold something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        Fields::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_a_form_says_is_what_it_shows_again() {
        let sent = fields(&[
            ("less", "os"),
            ("less", "location"),
            ("without", "properties.Note, with a comma\r\n\r\nlocation\r\n"),
            ("when", " {\"exists\": \"$.user\"} "),
            ("percent", "10"),
            (
                "fields",
                "properties.Shop = $.project\r\nproperties.Kind=\"web\"\nn = {\"@cast\": \"json\", \"of\": \"$.name\"}",
            ),
        ]);
        let made = shaping(&sent).unwrap();
        let wanted = json!({
            "without": ["device.os_name", "device.os_version", "location", "properties.Note, with a comma"],
            "when": {"exists": "$.user"}, "percent": 10,
            "set": {"properties.Shop": "$.project", "properties.Kind": "web", "n": {"@cast": "json", "of": "$.name"}},
        });
        assert_eq!(serde_json::to_value(&made).unwrap(), wanted);
        let shown = ShapingForm::of(&made);
        let on: Vec<&str> = shown.ticks.iter().filter(|(.., on)| *on).map(|(word, ..)| *word).collect();
        assert_eq!((on, shown.without.as_str()), (vec!["os", "location"], "properties.Note, with a comma"));
        assert!(shown.is_used() && !ShapingForm::of(&Shaping::default()).is_used());
        let again = fields(&[
            ("less", "os"),
            ("less", "location"),
            ("without", shown.without.as_str()),
            ("when", shown.when.as_str()),
            ("percent", shown.percent.as_str()),
            ("fields", shown.fields.as_str()),
        ]);
        assert_eq!(shaping(&again).unwrap(), made);
        assert!(shaping(&fields(&[("percent", "100")])).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        for (field, text, word) in [
            ("when", "{", "no JSON"),
            ("percent", "0", "1 to 99"),
            ("percent", "half", "1 to 99"),
            ("fields", "properties.Shop", "= and a mapping"),
            ("fields", "a = {", "a: what stands behind"),
            ("fields", "a = 1\na = 2", "twice"),
        ] {
            let problem = shaping(&fields(&[(field, text)])).unwrap_err();
            assert!(problem.field == field && problem.text.contains(word), "{field} {text}: {}", problem.text);
        }
    }
}
