//! Signals: what may be the beginning of an attack, kept for two hours, and the rules that make incidents of it.
//!
//! Most are taken from the audit log's entries as they are written, in the same transaction, whatever face the act came by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use convizit_model::{IncidentKind, Timestamp};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::accounts::Account;
use crate::audit::Entry;
use crate::error::{Columns as _, During, StoreError};

const MINUTE: i64 = 60_000;
/// Signals are kept for so long.
const KEPT: i64 = 120 * MINUTE;
/// No rule looks further back.
pub(crate) const LONGEST: i64 = 60 * MINUTE;
/// Signals that are looked at, the newest first.
const LOOKED: i64 = 20_000;

/// Accounts that one network may fail to sign in to within ten minutes.
const NETWORK_ACCOUNTS: usize = 10;
/// Accounts that all networks together may fail to sign in to within ten minutes.
const ALL_ACCOUNTS: usize = 40;
/// Failures of one account within an hour.
const ACCOUNT_FAILURES: usize = 20;
/// Exports, and persons in them, of one actor within an hour.
const EXPORTS: usize = 20;
const EXPORTED_PERSONS: i64 = 100;
/// Pages with samples or the audit log that one actor reads within ten minutes.
const READS: usize = 200;
/// Acts that are refused to one actor within ten minutes.
const REFUSALS: usize = 10;
/// Refused acts on keys within an hour.
const KEY_REFUSALS: usize = 3;

/// A signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) time: i64,
    pub(crate) kind: String,
    pub(crate) project: String,
    pub(crate) actor: String,
    pub(crate) origin: String,
    pub(crate) amount: i64,
}

/// What a rule has found: an incident that is to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: IncidentKind,
    pub(crate) project: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// When the newest of its signals came.
    pub(crate) last: i64,
}

/// The signal that an entry of the audit log is.
fn of_entry(entry: &Entry) -> Option<Signal> {
    let (kind, amount) = match entry.act {
        "access.refuse" if entry.detail == "own role" => ("own_role", 1),
        "access.refuse" => ("refuse", 1),
        // `12 persons`.
        "export.persons" => ("export", entry.detail.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(1)),
        "key.refuse" => ("key", 1),
        _ => return None,
    };
    Some(Signal {
        time: entry.time.as_millis(),
        kind: kind.to_owned(),
        project: entry.project.clone(),
        actor: entry.actor.clone(),
        origin: String::new(),
        amount,
    })
}

/// Writes a signal inside a transaction.
pub(crate) async fn write(connection: &mut AnyConnection, signal: &Signal) -> Result<(), StoreError> {
    query("INSERT INTO signals (time, kind, project, actor, origin, amount) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(signal.time)
        .bind(signal.kind.as_str())
        .bind(signal.project.as_str())
        .bind(signal.actor.as_str())
        .bind(signal.origin.as_str())
        .bind(signal.amount)
        .execute(connection)
        .await
        .during("write signal")
        .map(|_| ())
}

/// Writes the signal that an entry is, where it is one.
pub(crate) async fn of_audit(connection: &mut AnyConnection, entry: &Entry) -> Result<(), StoreError> {
    match of_entry(entry) {
        Some(signal) => write(connection, &signal).await,
        None => Ok(()),
    }
}

/// Groups of signals within a time before now.
fn grouped<'a, K: Ord>(
    signals: &'a [Signal],
    (kinds, since): (&[&str], i64),
    key: impl Fn(&'a Signal) -> K,
) -> BTreeMap<K, Vec<&'a Signal>> {
    let mut groups: BTreeMap<K, Vec<&Signal>> = BTreeMap::new();
    for signal in signals.iter().filter(|one| one.time > since && kinds.contains(&one.kind.as_str())) {
        groups.entry(key(signal)).or_default().push(signal);
    }
    groups
}

fn newest(signals: &[&Signal]) -> i64 {
    signals.iter().map(|signal| signal.time).max().unwrap_or(0)
}

fn accounts(signals: &[&Signal]) -> usize {
    signals.iter().map(|signal| signal.actor.as_str()).collect::<BTreeSet<_>>().len()
}

/// The rules. `over` says until when signals of a kind, project and subject belong to an incident that is resolved.
pub(crate) fn look(signals: &[Signal], now: i64, over: impl Fn(IncidentKind, &str, &str) -> i64) -> Vec<Found> {
    let mut found: BTreeMap<(&'static str, String, String), Found> = BTreeMap::new();
    let mut add = |kind: IncidentKind, (project, subject): (&str, &str), signals: &[&Signal], text: String| {
        let key = (kind.as_str(), project.to_owned(), subject.to_owned());
        let last = newest(signals);
        let one = Found { kind, project: project.to_owned(), subject: subject.to_owned(), text, last };
        // The first rule that holds says what it is; one incident is enough for all.
        let known = found.entry(key).or_insert(one);
        known.last = known.last.max(last);
    };
    let (minutes, hour) = (now - 10 * MINUTE, now - LONGEST);
    stuffing(signals, (minutes, hour), over(IncidentKind::CredentialStuffing, "", "sign-in"), &mut add);
    let by_actor = |signal: &Signal| (signal.project.clone(), signal.actor.clone());
    for ((project, actor), all) in grouped(signals, (&["export"], hour), by_actor) {
        let over = over(IncidentKind::MassExport, &project, &actor);
        let all: Vec<_> = all.into_iter().filter(|signal| signal.time > over).collect();
        let persons: i64 = all.iter().map(|signal| signal.amount).sum();
        if all.len() >= EXPORTS || persons >= EXPORTED_PERSONS {
            let text = format!(
                "{actor} exported {persons} persons in {} exports within an hour. Ask them why; if nobody knows, end their \
                 sessions or remove their token, and look at export.persons in the audit log.",
                all.len()
            );
            add(IncidentKind::MassExport, (&project, &actor), &all, text);
        }
    }
    for ((project, actor), all) in grouped(signals, (&["read"], minutes), by_actor) {
        let over = over(IncidentKind::MassExport, &project, &actor);
        let all: Vec<_> = all.into_iter().filter(|signal| signal.time > over).collect();
        if all.len() >= READS {
            let text = format!(
                "{actor} read {} pages of samples or of the audit log within ten minutes: nobody reads so fast. Ask them why; if \
                 nobody knows, end their sessions or remove their token.",
                all.len()
            );
            add(IncidentKind::MassExport, (&project, &actor), &all, text);
        }
    }
    for ((project, actor), all) in grouped(signals, (&["refuse", "own_role"], minutes), by_actor) {
        let over = over(IncidentKind::RoleEscalation, &project, &actor);
        let all: Vec<_> = all.into_iter().filter(|signal| signal.time > over).collect();
        let own = all.iter().any(|signal| signal.kind == "own_role");
        if own || all.len() >= REFUSALS {
            let text = if own {
                format!(
                    "{actor} tried to change their own role and was refused: no page offers them that. Ask them; if it was not \
                     them, end their sessions and have them set a new password."
                )
            } else {
                format!(
                    "{actor} tried {} acts within ten minutes that their role does not allow. Look at access.refuse in the audit \
                     log; if it was not them, end their sessions and have them set a new password.",
                    all.len()
                )
            };
            add(IncidentKind::RoleEscalation, (&project, &actor), &all, text);
        }
    }
    let since = hour.max(over(IncidentKind::KeyMisuse, "", "keys"));
    let keys: Vec<&Signal> = signals.iter().filter(|one| one.kind == "key" && one.time > since).collect();
    if keys.len() >= KEY_REFUSALS {
        let text = format!(
            "{} acts on keys were refused within an hour, or keys did not open. Look at key.refuse in the audit log for who; \
             remove tokens of scope keys that nobody misses, and see that the key provider is the right one.",
            keys.len()
        );
        add(IncidentKind::KeyMisuse, ("", "keys"), &keys, text);
    }
    for signal in signals.iter().filter(|one| one.kind == "country") {
        if signal.time > over(IncidentKind::NewCountry, "", &signal.actor) {
            let text = format!(
                "the Master Admin {} signed in from {}, for the first time. Ask them whether it was them; if not, end their \
                 sessions at once and have them set password and second factor anew.",
                signal.actor, signal.origin
            );
            add(IncidentKind::NewCountry, ("", &signal.actor), &[signal], text);
        }
    }
    found.into_values().collect()
}

/// Passwords that are tried: three rules, one incident.
fn stuffing(
    signals: &[Signal],
    (minutes, hour): (i64, i64),
    over: i64,
    add: &mut impl FnMut(IncidentKind, (&str, &str), &[&Signal], String),
) {
    const DO: &str = "See that those accounts have a second factor, and keep the network out at the proxy; account.refuse in \
                      the audit log says which accounts were tried.";
    let (minutes, hour) = (minutes.max(over), hour.max(over));
    let kind = IncidentKind::CredentialStuffing;
    let mut recent = Vec::new();
    for all in grouped(signals, (&["sign_in"], minutes), |signal| &signal.origin).into_values() {
        let tried = accounts(&all);
        if tried >= NETWORK_ACCOUNTS {
            let text = format!("Within ten minutes one network failed to sign in to {tried} accounts. {DO}");
            add(kind, ("", "sign-in"), &all, text);
        }
        recent.extend(all);
    }
    for (actor, all) in grouped(signals, (&["sign_in"], hour), |signal| &signal.actor) {
        if all.len() >= ACCOUNT_FAILURES {
            let text = format!("Within an hour {} tries to sign in as {actor} failed. {DO}", all.len());
            add(kind, ("", "sign-in"), &all, text);
        }
    }
    let tried = accounts(&recent);
    if tried >= ALL_ACCOUNTS {
        let text = format!("Within ten minutes sign-ins to {tried} accounts failed, from several networks. {DO}");
        add(kind, ("", "sign-in"), &recent, text);
    }
}

impl Store {
    /// The signals of the last hour, oldest first; drops those that no rule looks at any more.
    pub(crate) async fn signals(&self) -> Result<Vec<Signal>, StoreError> {
        const NAME: &str = "read signals";
        let now = self.clock().now().as_millis();
        let oldest: Option<i64> = sqlx::query_scalar("SELECT MIN(time) FROM signals")
            .fetch_one(self.control().readers())
            .await
            .during(NAME)?;
        if oldest.is_some_and(|oldest| oldest < now - KEPT) {
            let sql = "DELETE FROM signals WHERE time < $1";
            self.control()
                .run_tx("drop signals", move |connection| {
                    Box::pin(async move {
                        query(sql).bind(now - LONGEST).execute(connection).await.during("drop signals").map(|_| ())
                    })
                })
                .await?;
        }
        if oldest.is_none() {
            return Ok(Vec::new());
        }
        let rows = query(
            "SELECT time, kind, project, actor, origin, amount FROM signals WHERE time > $1 ORDER BY time DESC LIMIT $2",
        )
        .bind(now - LONGEST)
        .bind(LOOKED)
        .fetch_all(self.control().readers())
        .await
        .during(NAME)?;
        let read = rows.iter().rev().map(|row| {
            Ok(Signal {
                time: row.read(0)?,
                kind: row.read(1)?,
                project: row.read(2)?,
                actor: row.read(3)?,
                origin: row.read(4)?,
                amount: row.read(5)?,
            })
        });
        read.collect()
    }

    /// Writes a signal in a transaction of its own, beside the caller: an answer neither waits for it nor fails with it.
    fn signal(&self, signal: impl Future<Output = Result<Signal, StoreError>> + Send + 'static) {
        let store = self.clone();
        tokio::spawn(async move {
            let written = async {
                let signal = std::sync::Arc::new(signal.await?);
                store
                    .control()
                    .run_tx("write signal", move |connection| {
                        let signal = signal.clone();
                        Box::pin(async move { write(connection, &signal).await })
                    })
                    .await
            };
            if let Err(error) = written.await {
                tracing::debug!(%error, "a signal of a possible attack was not written");
            }
        });
    }

    fn new_signal(&self, kind: &str, project: &str, origin: String) -> Signal {
        Signal {
            time: self.clock().now().as_millis(),
            kind: kind.to_owned(),
            project: project.to_owned(),
            actor: self.actor().to_owned(),
            origin,
            amount: 1,
        }
    }

    /// Takes down that a sign-in with this address failed. Of the network a keyed hash is kept, another one each day, for two hours.
    pub fn sign_in_refused(&self, email: &str, address: IpAddr) {
        let network = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        let short = |tag: [u8; 32]| tag.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let purpose = format!("sign-in network {}", self.clock().now().day());
        let origin = short(self.ring().mac(&purpose, network.to_string().as_bytes()));
        let unknown = format!("unknown:{}", short(self.email_hash(email)));
        let (store, email) = (self.clone(), email.to_owned());
        self.signal(async move {
            let known = store.account_by_email(&email).await?;
            let actor = known.as_ref().map_or(unknown, Account::actor);
            Ok(Signal { actor, ..store.new_signal("sign_in", "", origin) })
        });
    }

    /// Takes down that the actor reads what visitors did, or who did what, in a project.
    pub fn note_read(&self, project: &str) {
        let signal = self.new_signal("read", project, String::new());
        self.signal(async move { Ok(signal) });
    }

    /// Notes from where an account signs in, inside a transaction; a Master Admin's new country is a signal.
    pub(crate) async fn note_country(
        &self,
        connection: &mut AnyConnection,
        account: &Account,
        country: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const NAME: &str = "note country";
        let hash = self.ring().mac("sign-in country", format!("{}\n{country}", account.number).as_bytes());
        let done = query("UPDATE account_countries SET last = $1 WHERE account = $2 AND country = $3")
            .bind(now.as_millis())
            .bind(account.number)
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        if done.rows_affected() > 0 {
            return Ok(());
        }
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM account_countries WHERE account = $1")
            .bind(account.number)
            .fetch_one(&mut *connection)
            .await
            .during(NAME)?;
        query("INSERT INTO account_countries (account, country, last) VALUES ($1, $2, $3)")
            .bind(account.number)
            .bind(hash.as_slice())
            .bind(now.as_millis())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        if known == 0 || !account.master {
            return Ok(());
        }
        let signal = Signal {
            time: now.as_millis(),
            kind: "country".to_owned(),
            project: String::new(),
            actor: account.actor(),
            origin: country.to_owned(),
            amount: 1,
        };
        write(connection, &signal).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Split = (fn(usize) -> String, fn(usize) -> String);

    fn many(n: usize, kind: &str, actor: impl Fn(usize) -> String, origin: impl Fn(usize) -> String) -> Vec<Signal> {
        let one = |n: usize| Signal {
            time: i64::try_from(n).unwrap() * 1000,
            kind: kind.to_owned(),
            project: String::new(),
            actor: actor(n),
            origin: origin(n),
            amount: 1,
        };
        (1..=n).map(one).collect()
    }

    fn found(signals: &[Signal]) -> Vec<(IncidentKind, String)> {
        let found = look(signals, 60_000, |_, _, _| 0);
        found.into_iter().map(|one| (one.kind, one.subject)).collect()
    }

    #[test]
    fn each_rule_holds_from_its_threshold_on() {
        let number = |n: usize| format!("account:{n}");
        let same = |_: usize| "account:1".to_owned();
        let none = |_: usize| String::new();
        let split: Split = (|n| format!("account:{n}"), |n| format!("network {}", n % 8));
        let cases = [
            (9, many(9, "sign_in", number, none), many(10, "sign_in", number, none), IncidentKind::CredentialStuffing),
            (
                19,
                many(19, "sign_in", same, number),
                many(20, "sign_in", same, number),
                IncidentKind::CredentialStuffing,
            ),
            (
                39,
                many(39, "sign_in", split.0, split.1),
                many(40, "sign_in", split.0, split.1),
                IncidentKind::CredentialStuffing,
            ),
            (19, many(19, "export", same, none), many(20, "export", same, none), IncidentKind::MassExport),
            (199, many(199, "read", same, none), many(200, "read", same, none), IncidentKind::MassExport),
            (9, many(9, "refuse", same, none), many(10, "refuse", same, none), IncidentKind::RoleEscalation),
            (0, Vec::new(), many(1, "own_role", same, none), IncidentKind::RoleEscalation),
            (2, many(2, "key", number, none), many(3, "key", number, none), IncidentKind::KeyMisuse),
            (0, Vec::new(), many(1, "country", same, none), IncidentKind::NewCountry),
        ];
        for (below, few, enough, kind) in cases {
            assert_eq!(found(&few), [], "{kind:?} at {below}");
            let all = found(&enough);
            assert!(matches!(all.as_slice(), [(one, _)] if *one == kind), "{kind:?}: {all:?}");
        }
        // Of one resolved incident nothing opens the next.
        let exports = many(20, "export", same, none);
        assert_eq!(look(&exports, 60_000, |_, _, _| 20_000), []);
        // A large export needs no second one.
        let large = [Signal { amount: 100, ..exports[0].clone() }];
        assert_eq!(found(&large), [(IncidentKind::MassExport, "account:1".to_owned())]);
    }
}
