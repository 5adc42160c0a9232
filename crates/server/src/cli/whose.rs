//! Whose data a command is about: ids that are typed or stand in a file, and which of them have nothing stored.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail};
use clap::Args;
use convizit_model::Person;
use serde::Deserialize;

use crate::cli::counted;

/// Lines that are named one by one.
const SAID: usize = 20;

/// Whom a command names.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Ids of the tracker.
    #[arg(long, value_name = "ID", num_args = 0..)]
    visitor: Option<Vec<String>>,
    /// Ids that the site gave with convizit.identify.
    #[arg(long, value_name = "ID", num_args = 0..)]
    user: Option<Vec<String>>,
    /// Further ids, of the one kind that is said.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

impl Whose {
    /// What is said of whose data it is, for a person who looks for the mistake.
    pub(crate) fn flags(&self) -> &'static str {
        match (&self.visitor, &self.user) {
            (Some(_), Some(_)) => "--visitor and --user are",
            (None, Some(_)) => "--user is",
            _ => "--visitor is",
        }
    }
}

/// The ids that a command names, each with its line where it stands in a file.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) persons: Vec<Person>,
    lines: Vec<Option<usize>>,
}

/// Those of which no event was met yet.
#[derive(Debug)]
pub(crate) struct Unmet<'a>(&'a Ids, HashSet<&'a Person>);

/// Whose an event is.
#[derive(Deserialize)]
struct Of {
    visitor: String,
    user: Option<String>,
}

impl Ids {
    /// `2 ids`.
    pub(crate) fn counted(&self) -> String {
        counted(self.persons.len(), "id")
    }

    pub(crate) fn unmet(&self) -> Unmet<'_> {
        Unmet(self, self.persons.iter().collect())
    }
}

impl Unmet<'_> {
    /// Takes an event's visitor and user for met.
    pub(crate) fn meet(&mut self, json: &[u8]) {
        // Mostly everybody is met by the first page.
        if self.1.is_empty() {
            return;
        }
        if let Ok(Of { visitor, user }) = serde_json::from_slice(json) {
            self.1.remove(&Person::Visitor(visitor));
            if let Some(user) = user {
                self.1.remove(&Person::User(user));
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.1.len()
    }

    /// How many of the ids have nothing stored, and which: by their lines in a file, by themselves only `at_terminal`, where whoever reads
    /// it has typed them. `None` where all have, or none has, which is said otherwise.
    pub(crate) fn in_words(&self, at_terminal: bool) -> Option<String> {
        let Self(ids, unmet) = self;
        if unmet.is_empty() || unmet.len() == ids.persons.len() {
            return None;
        }
        let (mut lines, mut typed) = (Vec::new(), Vec::new());
        for (person, line) in ids.persons.iter().zip(&ids.lines).filter(|(person, _)| unmet.contains(person)) {
            match line {
                Some(line) => lines.push(*line),
                None => typed.push(format!("{} {}", person.kind(), person.id())),
            }
        }
        lines.sort_unstable();
        let more = match lines.len().saturating_sub(SAID) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let first: Vec<String> = lines.iter().take(SAID).map(ToString::to_string).collect();
        let mut which = Vec::new();
        if !first.is_empty() {
            let word = if lines.len() == 1 { "line" } else { "lines" };
            which.push(format!("{word} {}{more} of the file", first.join(", ")));
        }
        if at_terminal {
            which.extend(typed);
        }
        let which = if which.is_empty() { String::new() } else { format!(": {}", which.join(", ")) };
        let have = if unmet.len() == 1 { "has" } else { "have" };
        Some(format!("{} of {} {have} nothing stored{which}", unmet.len(), ids.counted()))
    }
}

/// The ids that a command names.
pub(crate) fn ids(whose: &Whose, file: Option<&std::path::Path>) -> Result<Ids> {
    let kind = match (&whose.visitor, &whose.user) {
        (Some(_), None) => "visitor",
        (None, Some(_)) => "user",
        (Some(_), Some(_)) if whose.ids.is_empty() && file.is_none() => "visitor",
        (Some(_), Some(_)) if file.is_some() => {
            bail!(
                "a file has ids of one kind: say either --visitor or --user with it, and name the others in a call of their own"
            )
        }
        (Some(_), Some(_)) => bail!("whose ids are {}? Say each behind --visitor or --user", whose.ids.join(", ")),
        _ => bail!("whose ids are they? Say --visitor or --user"),
    };
    let mut all: BTreeMap<Person, Option<usize>> = BTreeMap::new();
    let text = match file {
        None => String::new(),
        Some(path) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
        }
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
    };
    // Editors on Windows begin a file with a byte order mark, which is no part of the first id.
    let lines =
        text.strip_prefix('\u{feff}').unwrap_or(&text).lines().enumerate().map(|(line, id)| (Some(line + 1), id));
    let of = |kind: &'static str, ids: &Option<Vec<String>>| {
        ids.iter().flatten().map(|id| (kind, None, id.clone())).collect::<Vec<_>>()
    };
    let named = [of("visitor", &whose.visitor), of("user", &whose.user)].concat();
    let further = whose.ids.iter().map(|id| (kind, None, id.clone()));
    let lines = lines.map(|(line, id)| (kind, line, id.to_owned()));
    for (kind, line, id) in named.into_iter().chain(further).chain(lines) {
        let id = id.trim();
        if id.is_empty() && line.is_some() {
            continue;
        }
        match (Person::new(kind, id), line) {
            (Ok(person), line) => drop(all.entry(person).or_insert(line)),
            (Err(error), Some(line)) => bail!("line {line} of the file: {error}"),
            (Err(error), None) => bail!(error),
        }
    }
    if all.is_empty() {
        bail!("no id was given: convizit erase --project shop --{kind} ID, or --file FILE");
    }
    let (persons, lines) = all.into_iter().unzip();
    Ok(Ids { persons, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_events_are_named_by_their_lines_and_themselves_only_where_they_were_typed() {
        let of = |user: &str| Person::User(user.to_owned());
        let ids =
            Ids { persons: vec![of("a"), of("b"), of("c"), of("d")], lines: vec![Some(7), None, Some(3), Some(1)] };
        let mut unmet = ids.unmet();
        assert_eq!(unmet.in_words(true), None, "nothing at all is said otherwise");
        unmet.meet(br#"{"visitor": "v", "user": "d"}"#);
        assert_eq!(unmet.in_words(true).unwrap(), "3 of 4 ids have nothing stored: lines 3, 7 of the file, user b");
        assert_eq!(unmet.in_words(false).unwrap(), "3 of 4 ids have nothing stored: lines 3, 7 of the file");
        unmet.meet(br#"{"visitor": "v", "user": "a"}"#);
        unmet.meet(br#"{"visitor": "v", "user": "c"}"#);
        assert_eq!(unmet.in_words(false).unwrap(), "1 of 4 ids has nothing stored");
        unmet.meet(br#"{"visitor": "b", "user": "b"}"#);
        assert_eq!((unmet.in_words(true), unmet.count()), (None, 0));
    }
}
