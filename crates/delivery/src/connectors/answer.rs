//! What an answer means for each event of a request: statuses have one meaning for all vendors, partial failures one parser each.

use std::time::Duration;

use serde_json::Value;

use super::manifest::{Partial, Response, Rest};
use super::shape::at;
use crate::destinations::Fate;

/// Characters of a vendor's own words that are kept.
const WORDS: usize = 300;

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// One fate for each item, in their order.
    Items(Vec<Fate>),
    /// The same for all, later.
    Later { reason: String, after: Option<Duration> },
    /// A person has to do something.
    Pause(String),
    /// Half of it is to be tried.
    TooLarge,
    /// An item of it is refused, the vendor does not say which: halves are to be tried.
    Refused(String),
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    pub(crate) retry_after: Option<Duration>,
}

/// Reads an answer to a request of these items. `vendor` is its name, for people.
pub(crate) fn judge(vendor: &str, rules: &Response, items: &[Value], answer: &Answer<'_>) -> Verdict {
    let code = answer.status;
    let body: Value = serde_json::from_slice(answer.body).unwrap_or_else(|_| plain(answer.body));
    let said = || words(&body);
    if let Some(fates) = rules.partial.as_ref().and_then(|parser| partial(parser, code, &body, items)) {
        return Verdict::Items(fates);
    }
    // Only the words that were looked for: such an answer may quote the credential.
    if let Some(about) = rules.pause.iter().find(|about| code >= 400 && said().contains(about.as_str())) {
        return Verdict::Pause(format!("{vendor} answered {code} ({about}): are credential and settings right?"));
    }
    let later = || Verdict::Later { reason: format!("{vendor} answered {code}{}", said()), after: answer.retry_after };
    if let Some(signs) = rules.signs.as_ref().filter(|_| code >= 400) {
        let sign = match at(&body, &signs.at) {
            Some(Value::String(text)) => Value::from(text.rsplit('#').next().unwrap_or(text)),
            other => other.cloned().unwrap_or_default(),
        };
        if signs.done.contains(&sign) {
            return Verdict::Items(vec![Fate::Done; items.len()]);
        }
        if signs.pause.contains(&sign) {
            return Verdict::Pause(format!(
                "{vendor} answered {code}: are credential, rights and names right?{}",
                said()
            ));
        }
        if signs.retry.contains(&sign) {
            return later();
        }
    }
    if rules.retry.contains(&code) {
        return later();
    }
    if rules.refuse.contains(&code) {
        return Verdict::Refused(format!("{vendor} answered {code}{}", said()));
    }
    if rules.wait.contains(&code) {
        return Verdict::Pause(format!("{vendor} answered {code}: are settings, names and rights right?{}", said()));
    }
    match code {
        _ if rules.success.contains(&code) => Verdict::Items(vec![Fate::Done; items.len()]),
        200..=299 => confirmed(vendor, rules, items, &body),
        401 | 403 => Verdict::Pause(format!(
            "{vendor} answered {code}: is the credential right, and may it write events?{}",
            said()
        )),
        404 | 405 | 410 => {
            Verdict::Pause(format!("{vendor} answered {code}: are region, address and names right?{}", said()))
        }
        300..=399 => Verdict::Pause(format!(
            "{vendor} answered {code}, a redirect, which is not followed: is the address right?"
        )),
        413 => Verdict::TooLarge,
        400..=499 if !matches!(code, 408 | 425 | 429) => {
            Verdict::Refused(format!("{vendor} answered {code}{}", said()))
        }
        _ => later(),
    }
}

fn confirmed(vendor: &str, rules: &Response, items: &[Value], body: &Value) -> Verdict {
    let Some(confirm) = &rules.confirm else { return Verdict::Items(vec![Fate::Done; items.len()]) };
    let Some(state) = at(body, &confirm.at) else {
        return Verdict::Pause(format!("{vendor} did not answer as it should: is the address right?"));
    };
    if confirm.is.contains(state) {
        return Verdict::Items(vec![Fate::Done; items.len()]);
    }
    let reason = format!("{vendor} did not confirm: {} is {state}{}", confirm.at, words(body));
    if confirm.retry.contains(state) {
        return Verdict::Later { reason, after: None };
    }
    if confirm.pause.contains(state) {
        return Verdict::Pause(reason);
    }
    Verdict::Refused(reason)
}

/// An answer that is no JSON: the code and message of one in XML, else its first line, where it is a text.
fn plain(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with('<') {
        return text.lines().next().map_or(Value::Null, |line| serde_json::json!({ "message": line }));
    }
    let inside = |tag: &str| {
        let (_, after) = text.split_once(&format!("<{tag}>"))?;
        after.split_once(&format!("</{tag}>")).map(|(inside, _)| (tag.to_owned(), Value::from(inside)))
    };
    ["Code", "Message"].into_iter().filter_map(inside).collect()
}

/// The first words of an answer that a person would read, in brackets. What an answer quotes of an event was sent by us, and is scrubbed.
fn words(body: &Value) -> String {
    const FIELDS: [&str; 12] = [
        "message",
        "error_message",
        "error.message",
        "error",
        "reason",
        "detail",
        "errors.0.detail",
        "errors.0.message",
        "errors.0",
        "status.error.message",
        "Message",
        "__type",
    ];
    let found = FIELDS.iter().find_map(|field| at(body, field).and_then(Value::as_str));
    found.map_or_else(String::new, |text| {
        let plain: String = text.chars().filter(|c| !c.is_control()).take(WORDS).collect();
        format!(" ({plain})")
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().filter(|c| !c.is_control()).take(WORDS).collect(),
        Value::Null => "refused without a reason".to_owned(),
        other => other.to_string().chars().take(WORDS).collect(),
    }
}

/// What is said of one item, in brackets as all words that are not our own.
fn item_words(said: Option<&Value>) -> String {
    format!("the event itself was not taken ({})", text(said.unwrap_or(&Value::Null)))
}

/// Of a success that does not say what became of each item: nothing of it is taken for done.
fn unclear(code: u16, items: &[Value]) -> Option<Vec<Fate>> {
    let again = || Fate::Again(format!("the answer {code} does not say what became of each event"));
    (code < 300).then(|| items.iter().map(|_| again()).collect())
}

/// `None` where the parser has nothing to say of such an answer.
fn partial(parser: &Partial, code: u16, body: &Value, items: &[Value]) -> Option<Vec<Fate>> {
    let rest = |rest: &Rest| match rest {
        Rest::Done => Fate::Done,
        Rest::Resend => Fate::Again("sent again without the events that were refused".to_owned()),
    };
    let place = |value: Option<&Value>| {
        let value = value?;
        let index = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        usize::try_from(index).ok().filter(|index| *index < items.len())
    };
    match parser {
        Partial::IndexList { status, list, index, reason, rest: others } if status.contains(&code) => {
            let failures = at(body, list)?.as_array()?;
            let mut fates = vec![rest(others); items.len()];
            let mut named = 0;
            for failure in failures {
                if let Some(place) = place(at(failure, index)) {
                    fates[place] = Fate::Refused(item_words(at(failure, reason)));
                    named += 1;
                }
            }
            // A failure that names no item says nothing of any.
            (named > 0 || (failures.is_empty() && code < 300)).then_some(fates)
        }
        Partial::FieldIndexes { status, fields, later, rest: others } if status.contains(&code) => {
            let mut fates = vec![rest(others); items.len()];
            let mut named = 0;
            let of = |field: &String| -> Vec<(String, usize)> {
                let Some(value) = at(body, field) else { return Vec::new() };
                let lists: Vec<(&str, &Value)> = match value {
                    Value::Object(lists) => lists.iter().map(|(key, list)| (key.as_str(), list)).collect(),
                    list => vec![("", list)],
                };
                lists
                    .into_iter()
                    .flat_map(|(key, list)| list.as_array().into_iter().flatten().map(move |index| (key, index)))
                    .filter_map(|(key, index)| Some((format!("{field} {key}").trim().to_owned(), place(Some(index))?)))
                    .collect()
            };
            for (why, place) in later.iter().flat_map(of) {
                fates[place] = Fate::Again(why);
                named += 1;
            }
            for (why, place) in fields.iter().flat_map(of) {
                fates[place] = Fate::Refused(why);
                named += 1;
            }
            (named > 0).then_some(fates)
        }
        Partial::Parallel { status, list, code: field, refused } if status.contains(&code) => {
            // One that does not speak of every item is not believed.
            let Some(entries) = at(body, list).and_then(Value::as_array).filter(|all| all.len() == items.len()) else {
                return unclear(code, items);
            };
            let fate = |entry: &Value| match at(entry, field) {
                None | Some(Value::Null) => Fate::Done,
                Some(code) if refused.contains(&text(code)) => Fate::Refused(text(code)),
                Some(code) => Fate::Again(text(code)),
            };
            Some(entries.iter().map(fate).collect())
        }
        Partial::IdList { status, list, id, reason, fault } if status.contains(&code) => {
            let mut fates = vec![Fate::Done; items.len()];
            for failure in at(body, list).and_then(Value::as_array).into_iter().flatten() {
                // One that cannot be placed: nothing is known of any.
                let named = at(failure, id)?;
                let place = items.iter().position(|item| at(item, id) == Some(named)).or_else(|| place(Some(named)))?;
                let why = item_words(at(failure, reason));
                let theirs = at(failure, fault) != Some(&Value::Bool(true));
                fates[place] = if theirs { Fate::Again(why) } else { Fate::Refused(why) };
            }
            Some(fates)
        }
        Partial::EsItems if code == 200 => {
            let entries = body.get("items")?.as_array()?;
            if entries.len() != items.len() {
                return None;
            }
            let fate = |entry: &Value| {
                let done = entry.as_object().and_then(|of| of.values().next()).unwrap_or(&Value::Null);
                let reason = || item_words(at(done, "error.reason").or_else(|| at(done, "error")));
                match done["status"].as_u64() {
                    // Already there.
                    Some(200..=299 | 409) => Fate::Done,
                    Some(429 | 500..=599) | None => Fate::Again(reason()),
                    Some(_) => Fate::Refused(reason()),
                }
            };
            Some(entries.iter().map(fate).collect())
        }
        Partial::ValueLists { status, lists } if status.contains(&code) => {
            let mut fates = vec![Fate::Done; items.len()];
            for (list, field) in lists {
                for value in at(body, list).and_then(Value::as_array).into_iter().flatten() {
                    for (item, fate) in items.iter().zip(&mut fates) {
                        if at(item, field) == Some(value) {
                            *fate = Fate::Refused(list.clone());
                        }
                    }
                }
            }
            Some(fates)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(partial: Value) -> Response {
        serde_json::from_value(json!({ "partial": partial })).unwrap()
    }

    fn fates(partial: Value, status: u16, body: &Value) -> Verdict {
        let items: Vec<Value> = (0..3).map(|n| json!({"id": format!("e{n}")})).collect();
        let body = body.to_string();
        judge("It", &rules(partial), &items, &Answer { status, body: body.as_bytes(), retry_after: None })
    }

    fn marks(verdict: &Verdict) -> String {
        let Verdict::Items(fates) = verdict else { return format!("{verdict:?}") };
        fates
            .iter()
            .map(|fate| match fate {
                Fate::Done => 'd',
                Fate::Refused(_) => 'r',
                Fate::Again(_) => 'a',
                Fate::Waiting | Fate::Skipped | Fate::NoPlace(_) => '-',
            })
            .collect()
    }

    #[test]
    fn each_parser_gives_every_item_its_own_fate() {
        let index = |rest: &str| json!({"parser": "index_list", "status": [200, 400], "list": "failed_records", "index": "index", "reason": "message", "rest": rest});
        let bad = json!({"failed_records": [{"index": 1, "message": "bad time"}]});
        let verdict = fates(index("done"), 400, &bad);
        assert_eq!(marks(&verdict), "drd");
        assert!(
            matches!(&verdict, Verdict::Items(fates) if fates[1] == Fate::Refused("the event itself was not taken (bad time)".to_owned()))
        );
        assert_eq!(marks(&fates(index("resend"), 400, &bad)), "ara");
        // A failure of no item, or of one that was not sent, is one of the whole.
        assert!(matches!(fates(index("done"), 400, &json!({"failed_records": [{"index": 7}]})), Verdict::Refused(_)));
        assert!(matches!(fates(index("done"), 400, &json!({})), Verdict::Refused(_)));

        let amplitude = json!({"parser": "field_indexes", "status": [400, 429], "fields": ["events_with_invalid_fields", "events_with_missing_fields"],
            "later": ["throttled_events"], "rest": "resend"});
        assert_eq!(
            marks(&fates(
                amplitude.clone(),
                400,
                &json!({"events_with_invalid_fields": {"time": [0]}, "events_with_missing_fields": {}})
            )),
            "raa"
        );
        assert_eq!(marks(&fates(amplitude, 429, &json!({"throttled_events": [2]}))), "aaa");

        let kinesis = json!({"parser": "parallel", "status": [200], "list": "Records", "code": "ErrorCode", "refused": ["ValidationException"]});
        let some = json!({"FailedRecordCount": 2, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": "ProvisionedThroughputExceededException"}, {"ErrorCode": "ValidationException"}]});
        assert_eq!(marks(&fates(kinesis.clone(), 200, &some)), "dar");
        // Fewer entries than records: the answer is not believed, nor taken for an event's fault.
        assert_eq!(marks(&fates(kinesis, 200, &json!({"Records": [{}]}))), "aaa");

        let sqs = json!({"parser": "id_list", "status": [200], "list": "Failed", "id": "Id", "reason": "Code", "fault": "SenderFault"});
        assert_eq!(
            marks(&fates(
                sqs,
                200,
                &json!({"Failed": [{"Id": "0", "Code": "X", "SenderFault": true}, {"Id": "2", "Code": "Y", "SenderFault": false}]})
            )),
            "rda"
        );
        let named = json!({"parser": "id_list", "status": [200], "list": "Failed", "id": "id", "reason": "Code", "fault": "SenderFault"});
        assert_eq!(
            marks(&fates(named, 200, &json!({"Failed": [{"id": "e1", "Code": "X", "SenderFault": true}]}))),
            "drd"
        );

        let es = json!({"parser": "es_items"});
        let items = json!({"items": [{"create": {"status": 201}}, {"create": {"status": 409}}, {"create": {"status": 400, "error": {"reason": "mapping"}}}]});
        assert_eq!(marks(&fates(es.clone(), 200, &items)), "ddr");
        let busy =
            json!({"items": [{"create": {"status": 429}}, {"create": {"status": 201}}, {"create": {"status": 503}}]});
        assert_eq!(marks(&fates(es, 200, &busy)), "ada");

        // A code may be a number.
        let numbers =
            json!({"parser": "parallel", "status": [207], "list": "responses", "code": "status", "refused": ["400"]});
        let some = json!({"responses": [{"xactionId": "1"}, {"status": 400}, {"status": 503}]});
        assert_eq!(marks(&fates(numbers, 207, &some)), "dra");

        let lists = json!({"parser": "value_lists", "status": [200], "lists": {"invalidIds": "id"}});
        assert_eq!(marks(&fates(lists, 200, &json!({"invalidIds": ["e2"]}))), "ddr");
    }

    #[test]
    fn statuses_mean_the_same_for_every_vendor_and_its_words_are_kept() {
        let items = [json!({})];
        let of = |status: u16, body: &str| {
            judge(
                "It",
                &Response::default(),
                &items,
                &Answer { status, body: body.as_bytes(), retry_after: Some(Duration::from_secs(7)) },
            )
        };
        assert_eq!(of(204, ""), Verdict::Items(vec![Fate::Done]));
        for code in [401, 403, 404, 410, 302] {
            assert!(matches!(of(code, ""), Verdict::Pause(_)), "{code}");
        }
        for code in [408, 425, 429, 500, 502, 503] {
            assert!(
                matches!(of(code, ""), Verdict::Later { after: Some(after), .. } if after.as_secs() == 7),
                "{code}"
            );
        }
        assert_eq!(of(413, ""), Verdict::TooLarge);
        assert_eq!(
            of(422, r#"{"error": {"message": "no such\u0007 field"}}"#),
            Verdict::Refused("It answered 422 (no such field)".to_owned())
        );
        assert_eq!(of(400, "<html>"), Verdict::Refused("It answered 400".to_owned()));
    }

    #[test]
    fn a_failure_is_what_its_body_says() {
        let rules: Response =
            serde_json::from_value(json!({"signs": {"at": "error.code", "pause": [190], "retry": [4]}})).unwrap();
        let of = |status: u16, code: i32| {
            let body = json!({"error": {"code": code, "message": "why"}}).to_string();
            judge("It", &rules, &[json!({})], &Answer { status, body: body.as_bytes(), retry_after: None })
        };
        assert!(matches!(of(400, 190), Verdict::Pause(why) if why.contains("why")));
        assert!(matches!(of(400, 4), Verdict::Later { .. }));
        assert!(matches!(of(400, 100), Verdict::Refused(_)));
        assert!(matches!(of(200, 190), Verdict::Items(_)));
    }

    #[test]
    fn a_refusal_that_speaks_of_the_credential_waits_for_a_person() {
        let rules: Response = serde_json::from_value(json!({"pause": ["Invalid API key"]})).unwrap();
        let of = |body: &str| {
            judge("It", &rules, &[json!({})], &Answer { status: 400, body: body.as_bytes(), retry_after: None })
        };
        let quoted = of(r#"{"code": 400, "error": "Invalid API key: canary"}"#);
        assert!(matches!(quoted, Verdict::Pause(why) if why.contains("Invalid API key") && !why.contains("canary")));
        assert!(matches!(of(r#"{"code": 400, "error": "Invalid time"}"#), Verdict::Refused(_)));
    }

    #[test]
    fn answers_that_are_no_json_are_read_and_a_failure_may_mean_that_it_is_there() {
        let rules: Response = serde_json::from_value(json!({"wait": [400],
            "signs": {"at": "Code", "done": ["BlobAlreadyExists"], "pause": ["NoSuchContainer"]}}))
        .unwrap();
        let of = |rules: &Response, status: u16, body: &str| {
            judge("It", rules, &[json!({})], &Answer { status, body: body.as_bytes(), retry_after: None })
        };
        let xml = |code: &str| {
            format!("\u{feff}<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Why.</Message></Error>")
        };
        assert_eq!(of(&rules, 409, &xml("BlobAlreadyExists")), Verdict::Items(vec![Fate::Done]));
        assert!(matches!(of(&rules, 409, &xml("NoSuchContainer")), Verdict::Pause(why) if why.contains("(Why.)")));
        assert_eq!(of(&rules, 409, &xml("Other")), Verdict::Refused("It answered 409 (Why.)".to_owned()));
        let line = "Code: 60. Table shop.events does not exist\nstack";
        assert!(
            matches!(of(&rules, 400, line), Verdict::Pause(why) if why.contains("does not exist") && !why.contains("stack"))
        );
        let aws: Response =
            serde_json::from_value(json!({"signs": {"at": "__type", "pause": ["NotFound"], "retry": ["Slow"]}}))
                .unwrap();
        assert!(matches!(of(&aws, 400, r#"{"__type": "com.vendor.stream#NotFound"}"#), Verdict::Pause(_)));
        assert!(matches!(of(&aws, 400, r#"{"__type": "Slow"}"#), Verdict::Later { .. }));
        assert!(matches!(of(&aws, 400, r#"{"__type": "Bad"}"#), Verdict::Refused(_)));
    }

    #[test]
    fn a_success_that_its_body_denies_is_none() {
        let rules: Response = serde_json::from_value(
            json!({"confirm": {"at": "status.state", "is": ["SUCCEEDED"], "retry": ["PENDING"], "pause": ["NOT_FOUND"]}}),
        )
        .unwrap();
        let of = |body: &str| {
            judge("It", &rules, &[json!({})], &Answer { status: 200, body: body.as_bytes(), retry_after: None })
        };
        assert_eq!(of(r#"{"status": {"state": "SUCCEEDED"}}"#), Verdict::Items(vec![Fate::Done]));
        assert!(matches!(of(r#"{"status": {"state": "PENDING"}}"#), Verdict::Later { .. }));
        assert!(matches!(of(r#"{"status": {"state": "NOT_FOUND"}}"#), Verdict::Pause(_)));
        assert!(
            matches!(of(r#"{"status": {"state": "FAILED", "error": {"message": "no table"}}}"#), Verdict::Refused(reason) if reason.contains("no table"))
        );
        assert!(matches!(of("nonsense"), Verdict::Pause(_)));
    }
}
