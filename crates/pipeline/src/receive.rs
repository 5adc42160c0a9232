//! In the collector: filter, exclusions again, scrub again, device, country, clock correction; then the address is dropped.

use std::net::IpAddr;

use convizit_model::limits::CLOCK_TOLERANCE_MILLIS;
use convizit_model::outcome::Filter;
use convizit_model::settings::{Identity, Signal};
use convizit_model::{Batch, Crowd, EventType, Outcome, Project, ProjectId, Received, Timestamp, WireEvent};

use crate::enrich::Tables;
use crate::exclude::{Decided, Exclusions};
use crate::scrub::{Places, Witness, hold_texts, scrub_batch};

/// A project's settings, ready for use.
pub struct Compiled {
    project: ProjectId,
    number: i64,
    types: [bool; EventType::ALL.len()],
    exclude_paths: Vec<String>,
    pub(crate) keep_query: Vec<String>,
    consent_required: bool,
    gpc: Signal,
    dnt: Signal,
    option_labels: bool,
    pub(crate) exclusions: Exclusions,
    pub(crate) traits: Vec<String>,
    filter_bots: bool,
    keeps_visitors: bool,
}

impl Compiled {
    /// Compiles validated settings.
    ///
    /// # Errors
    /// Never for settings that `ProjectSettings::validate` passed.
    pub fn new(project: &Project) -> Result<Self, String> {
        let settings = &project.settings;
        settings.validate().map_err(|error| error.to_string())?;
        Ok(Self {
            project: project.id.clone(),
            number: project.number,
            types: EventType::ALL.map(|kind| settings.events.contains(&kind)),
            exclude_paths: settings.exclude_paths.clone(),
            keep_query: settings.keep_query.clone(),
            consent_required: settings.consent_required,
            gpc: settings.gpc,
            dnt: settings.dnt,
            option_labels: settings.option_labels,
            exclusions: Exclusions::new(&settings.exclude_selectors, &project.since),
            traits: settings.traits.clone(),
            filter_bots: settings.filter_bots,
            keeps_visitors: settings.identity != Identity::None,
        })
    }

    /// Whether a visitor id of the tracker is used; where not, or where there is none, `Request::derived_visitor` is.
    #[must_use]
    pub fn keeps_visitors(&self) -> bool {
        self.keeps_visitors
    }

    fn wants(&self, kind: EventType) -> bool {
        self.types.get(kind as usize).copied().unwrap_or(false)
    }
}

/// What only the collector knows of a request; dropped after `receive`.
pub struct Request<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// `Sec-CH-UA*` headers that were sent, lower-case names.
    pub hints: &'a [(&'a str, &'a str)],
    /// Whether the `Sec-GPC` header says that Global Privacy Control is set.
    pub gpc: bool,
    /// Whether the `DNT` header says that Do Not Track is.
    pub dnt: bool,
    /// When it arrived.
    pub received: Timestamp,
    /// The visitor for identity mode `none`.
    pub derived_visitor: &'a str,
    /// What is known of the crowd.
    pub witness: Witness<'a>,
}

/// What `receive` made of a batch.
pub struct Taken {
    /// The scrubbed batch with the events that are left; `None` when none is.
    pub received: Option<Received>,
    /// Outcomes of the events that ended here.
    pub outcomes: Vec<(Outcome, u64)>,
    /// What the browser should have withheld.
    pub drift: Drift,
}

/// What the browser should have withheld and the server had to: an old tracker, one that was changed, or another sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    /// Texts with an e-mail address or a long number.
    pub texts: u64,
    /// Controls that a selector excludes.
    pub controls: u64,
}

/// Filter, exclusions again, scrub again, device, country, clock correction.
#[must_use]
pub fn receive(mut batch: Batch, project: &Compiled, tables: &Tables, request: &Request<'_>) -> Taken {
    let mut outcomes = Vec::new();
    if batch.dropped > 0 {
        // The count comes from the browser: held to what one tab can have dropped.
        outcomes.push((Outcome::Dropped, batch.dropped.min(100_000)));
    }
    let events = batch.events.len() as u64;
    batch.consent.gpc |= request.gpc;
    if (project.gpc == Signal::NoAds && batch.consent.gpc) || (project.dnt == Signal::NoAds && request.dnt) {
        batch.consent.ads = Some(false);
    }
    let client = tables.client(request.user_agent, request.hints);
    let path = crate::scrub::host_of(&batch.page.url).map_or(batch.page.url.as_str(), |(_, tail)| tail);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let whole = if project.filter_bots && client.bot {
        Some(Filter::Bot)
    } else if (project.consent_required && batch.consent.analytics != Some(true))
        || batch.consent.analytics == Some(false)
        || (project.gpc == Signal::Stop && batch.consent.gpc)
        || (project.dnt == Signal::Stop && request.dnt)
    {
        Some(Filter::Consent)
    } else if project.exclude_paths.iter().any(|pattern| matches(pattern, path)) {
        Some(Filter::Excluded)
    } else {
        None
    };
    if let Some(filter) = whole {
        outcomes.push((Outcome::Filtered(filter), events));
        return Taken { received: None, outcomes, drift: Drift::default() };
    }
    let count = |events: &[WireEvent]| events.len() as u64;
    batch.events.retain(|event| project.wants(event.kind));
    let off = events - count(&batch.events);
    batch.events.retain(|event| !is_private(event));
    let mut withheld = events - off - count(&batch.events);
    let (mut excluded, mut drift) = (0, Drift::default());
    if !project.exclusions.is_empty() {
        let version = batch.settings;
        batch.events.retain(|event| {
            let Some(descriptor) = &event.descriptor else { return true };
            let decided = project.exclusions.decide(descriptor, version);
            withheld += u64::from(decided == Decided::Withheld);
            excluded += u64::from(matches!(decided, Decided::Excluded | Decided::Drift));
            drift.controls += u64::from(decided == Decided::Drift);
            decided == Decided::Kept
        });
    }
    outcomes.extend(
        [
            (Outcome::Filtered(Filter::Type), off),
            (Outcome::Filtered(Filter::Excluded), excluded),
            (Outcome::Withheld, withheld),
        ]
        .into_iter()
        .filter(|(_, n)| *n > 0),
    );
    if batch.events.is_empty() {
        return Taken { received: None, outcomes, drift };
    }
    if !project.exclusions.knew_all(batch.settings) {
        // They may stand in what is excluded now.
        batch.page.product.clear();
        batch.page.breadcrumb.clear();
    }
    if !project.option_labels {
        // A tracker of older settings may have read them.
        for event in &mut batch.events {
            event.properties.remove("Option");
            if let Some(descriptor) = &mut event.descriptor {
                descriptor.properties.retain(|key, _| key != "Quantity" && !key.starts_with("Selected "));
            }
        }
    }
    // Both before the rules take away what tells them.
    let places = Places::of(&batch);
    let user = batch.user.as_deref().map(|user| (request.witness.hash)(user));
    drift.texts = scrub_batch(&mut batch, &project.keep_query, &project.traits);
    let anonymous = batch.visitor.is_none() || !project.keeps_visitors;
    let shown = hold_texts(&mut batch, &places, anonymous, &request.witness);
    let clock = request.received.since(batch.sent);
    let visitor = batch.visitor.take().filter(|_| project.keeps_visitors);
    if visitor.is_none() {
        batch.session = None;
    }
    let received = Received {
        project: project.project.clone(),
        number: project.number,
        received: request.received,
        clock: if clock.abs() > CLOCK_TOLERANCE_MILLIS { clock } else { 0 },
        visitor: visitor.unwrap_or_else(|| request.derived_visitor.to_owned()),
        device: client.device.clone(),
        location: tables.locate(request.address),
        crowd: Crowd { most: request.witness.most, network: request.witness.network, user, shown },
        batch,
    };
    Taken { received: Some(received), outcomes, drift }
}

/// Whether an entry of `exclude_paths` takes a page's path out.
#[must_use]
pub fn is_excluded_path(pattern: &str, path: &str) -> bool {
    matches(pattern, path)
}

/// `*` stands for any text; "/account/*" is meant for "/account" as well.
fn matches(pattern: &str, path: &str) -> bool {
    if let Some(own) = pattern.strip_suffix("/*")
        && matches(own, path)
    {
        return true;
    }
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut rest = rest;
    let mut open = false;
    for part in parts {
        open = true;
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
        open = false;
    }
    // The last part may also be found at the end, after an earlier one was skipped.
    open || rest.is_empty()
        || (pattern.contains('*') && pattern.rsplit('*').next().is_some_and(|last| rest.ends_with(last)))
}

/// What the tracker must not have sent: a click in a field that is typed into.
fn is_private(event: &WireEvent) -> bool {
    let Some(descriptor) = &event.descriptor else { return false };
    let field = match descriptor.tag.split_once(':') {
        Some(("input", kind)) => !matches!(kind, "button" | "color" | "range" | "reset" | "submit" | "image"),
        _ => matches!(descriptor.tag.as_str(), "input" | "textarea"),
    };
    field && event.kind == EventType::Click
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use convizit_model::ProjectSettings;

    pub(crate) fn project(settings: ProjectSettings) -> Compiled {
        Compiled::new(&Project {
            id: "shop".parse().unwrap(),
            number: 1,
            key: "pk_12345678".parse().unwrap(),
            created: Timestamp::from_millis(0),
            version: 1,
            since: BTreeMap::new(),
            settings,
        })
        .unwrap()
    }

    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

    fn take(settings: ProjectSettings, user_agent: &str, change: impl Fn(&mut Batch)) -> Taken {
        take_with(settings, user_agent, change, |_| {})
    }

    fn take_with(
        settings: ProjectSettings,
        user_agent: &str,
        change: impl Fn(&mut Batch),
        ask: impl Fn(&mut Request<'_>),
    ) -> Taken {
        static TABLES: std::sync::LazyLock<Tables> = std::sync::LazyLock::new(|| Tables::vendored().unwrap());
        let json = serde_json::json!({
            "v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": "2026-11-23T18:00:00.000Z", "visitor": "v1",
            "session": {"id": "s1"}, "page": {"url": "https://shop.example/account/17?x=a@b.example", "title": "Hello, Anna"},
            "events": [
                {"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": "2026-11-23T18:00:00.000Z",
                 "descriptor": {"role": "button", "label": "Call +49 151 5999 8877", "template": "Call", "tag": "button"},
                 "properties": {"Note": "anna.b@mail.example", "Quantity": 2}},
                {"id": "0193a1f0-0000-7000-8000-000000000002", "type": "copy", "time": "2026-11-23T18:00:00.000Z"}
            ]
        });
        let mut batch = crate::decode(json.to_string().as_bytes()).unwrap();
        change(&mut batch);
        let mut request = Request {
            gpc: false,
            dnt: false,
            address: "8.8.8.8".parse().unwrap(),
            user_agent,
            hints: &[],
            received: "2026-11-23T18:00:10.000Z".parse().unwrap(),
            derived_visitor: "derived",
            witness: Witness::blind(),
        };
        ask(&mut request);
        receive(batch, &project(settings), &TABLES, &request)
    }

    fn filtered(taken: &Taken, filter: Filter) -> u64 {
        assert!(taken.received.is_none());
        taken.outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Filtered(filter)).map(|(_, n)| n).sum()
    }

    #[test]
    fn nothing_private_is_left_and_receipts_say_so() {
        let taken = take(ProjectSettings::default(), CHROME, |_| {});
        let received = taken.received.unwrap();
        let text = serde_json::to_string(&received).unwrap();
        for private in ["5999", "anna.b", "Anna", "a@b", "8.8.8.8", "Mozilla"] {
            assert!(!text.contains(private), "{private} in {text}");
        }
        let rules: Vec<&str> = received.batch.events[0].withheld.iter().map(|receipt| receipt.rule.as_str()).collect();
        assert_eq!(rules, ["email", "digits", "person"]);
        assert_eq!(received.batch.page.path, "/account/:id");
        assert_eq!(received.clock, 10_000);
        assert_eq!(received.location.country.as_deref(), Some("US"));
        assert_eq!(received.batch.events[0].properties["Quantity"], 2);
    }

    #[test]
    fn policy_filters_before_anything_is_kept() {
        let settings = ProjectSettings::default;
        assert_eq!(filtered(&take(settings(), "Googlebot/2.1", |_| {}), Filter::Bot), 2);
        let strict = ProjectSettings { consent_required: true, ..settings() };
        assert_eq!(filtered(&take(strict.clone(), CHROME, |_| {}), Filter::Consent), 2);
        assert!(take(strict, CHROME, |batch| batch.consent.analytics = Some(true)).received.is_some());
        assert_eq!(filtered(&take(settings(), CHROME, |batch| batch.consent.gpc = true), Filter::Consent), 2);
        let paths = ProjectSettings { exclude_paths: vec!["/account/*".to_owned()], ..settings() };
        assert_eq!(filtered(&take(paths, CHROME, |_| {}), Filter::Excluded), 2);
        let clicks = ProjectSettings { events: vec![EventType::Click], ..settings() };
        assert_eq!(take(clicks, CHROME, |_| {}).outcomes, [(Outcome::Filtered(Filter::Type), 1)]);
    }

    #[test]
    fn signals_of_the_browser_do_what_the_project_says() {
        let settings = ProjectSettings::default;
        let with = |gpc, dnt| ProjectSettings { gpc, dnt, ..settings() };
        let asked = |settings: ProjectSettings, gpc, dnt| {
            take_with(settings, CHROME, |_| {}, |request| (request.gpc, request.dnt) = (gpc, dnt))
        };
        assert_eq!(filtered(&asked(settings(), true, false), Filter::Consent), 2);
        assert_eq!(filtered(&asked(settings(), false, true), Filter::Consent), 2);
        let taken = asked(with(Signal::NoAds, Signal::Ignore), true, true);
        let consent = taken.received.unwrap().batch.consent;
        assert_eq!((consent.gpc, consent.ads, consent.analytics), (true, Some(false), None));
        let taken = asked(with(Signal::Ignore, Signal::NoAds), false, true);
        assert_eq!(taken.received.unwrap().batch.consent.ads, Some(false));
        let taken = asked(with(Signal::Ignore, Signal::Ignore), true, true);
        assert_eq!(taken.received.unwrap().batch.consent.ads, None);
    }

    #[test]
    fn an_excluded_control_is_dropped_and_counted_as_drift_when_the_tracker_knew() {
        let settings = ProjectSettings { exclude_selectors: vec!["#secret".to_owned()], ..ProjectSettings::default() };
        let control = |batch: &mut Batch| {
            let descriptor =
                serde_json::json!({"tag": "button", "attributes": {"id": "secret"}, "path": "body>button"});
            batch.events[0].descriptor = serde_json::from_value(descriptor).unwrap();
        };
        let one = [(Outcome::Filtered(Filter::Excluded), 1)];
        let taken = take(settings.clone(), CHROME, |batch| control(batch));
        assert_eq!((taken.outcomes.as_slice(), taken.drift), (one.as_slice(), Drift::default()));
        let taken = take(settings, CHROME, |batch| {
            control(batch);
            batch.settings = u64::MAX;
        });
        assert_eq!((taken.outcomes.as_slice(), taken.drift.controls), (one.as_slice(), 1));
    }

    #[test]
    fn allowed_traits_pass_and_only_on_identify() {
        let settings = ProjectSettings { traits: vec!["email".to_owned()], ..ProjectSettings::default() };
        let taken = take(settings, CHROME, |batch| {
            batch.events[0].kind = EventType::Identify;
            for event in &mut batch.events {
                event.properties =
                    serde_json::from_str(r#"{"email": "a@mail.example", "phone": "+49 151 59998877"}"#).unwrap();
            }
        });
        let batch = taken.received.unwrap().batch;
        assert_eq!(batch.events[0].properties["email"], "a@mail.example");
        assert!(!batch.events[0].properties.contains_key("phone") && batch.events[1].properties.is_empty());
        // Two numbers, and one address that nobody allowed.
        assert_eq!(taken.drift.texts, 3);
    }

    #[test]
    fn a_click_in_a_typed_field_is_withheld_whole() {
        let taken = take(ProjectSettings::default(), CHROME, |batch| {
            batch.events[0].descriptor.as_mut().unwrap().tag = "input:password".to_owned();
            batch.events.truncate(1);
        });
        assert!(taken.received.is_none());
        assert_eq!(taken.outcomes, [(Outcome::Withheld, 1)]);
    }

    #[test]
    fn without_identity_the_visitor_is_derived_and_the_browsers_is_dropped() {
        let none = ProjectSettings { identity: Identity::None, ..ProjectSettings::default() };
        let received = take(none, CHROME, |_| {}).received.unwrap();
        assert_eq!((received.visitor.as_str(), received.batch.session), ("derived", None));
    }

    #[test]
    fn path_patterns() {
        for (pattern, path, expected) in [
            ("/account/*", "/account/17", true),
            ("/account", "/account/17", false),
            ("/account", "/account", true),
            ("/*/private", "/a/b/private", true),
            ("/*/private", "/a/private/b", false),
            ("/*", "/", true),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b", "/abab", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
