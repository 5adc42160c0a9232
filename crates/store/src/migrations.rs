//! The tables of both databases, step by step. The files lie in `migrations/`; they are read in here without the macro of sqlx,
//! which would have every build compile SQLite, PostgreSQL's client and a cryptographic library a second time, for itself.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// One file: the number before its name, its name, its text.
macro_rules! steps {
    ($folder:literal: $($version:literal $name:literal),+ $(,)?) => {
        migrator(&[$(($version, $name, include_str!(concat!("../migrations/", $folder, "/", $version, "_", $name, ".sql")))),+])
    };
}

/// Of `control.db`: who may do what, keys, settings, audit log. Its numbers begin at 1000.
pub(crate) static CONTROL: LazyLock<Migrator> = LazyLock::new(|| {
    steps!("control":
        1001 "projects",
        1002 "accounts",
        1003 "api",
        1004 "exclusions",
        1005 "drafts",
        1006 "incidents",
        1007 "passkeys",
        1008 "audit_creations",
        1010 "key_request_users",
        1016 "account_tries",
    )
});

/// Of `data.db`: frames, names, counts, what waits for destinations. Its numbers begin at 2000.
pub(crate) static DATA: LazyLock<Migrator> = LazyLock::new(|| {
    steps!("data":
        2001 "events",
        2002 "notices",
        2006 "notice_sends",
        2007 "replays",
        2010 "totals",
        2011 "plans",
        2015 "damage",
        2020 "failing",
        2025 "held",
        2026 "dead_reasons",
    )
});

fn migrator(steps: &[(i64, &str, &'static str)]) -> Migrator {
    let step = |(version, name, text): &(i64, &str, &'static str)| {
        let description = Cow::Owned(name.replace('_', " "));
        Migration::new(*version, description, MigrationType::Simple, SqlStr::from_static(text), false)
    };
    let mut migrator = Migrator::with_migrations(steps.iter().map(step).collect());
    // On PostgreSQL both folders share one table of what was applied, and each finds the other's entries there.
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folders_is_a_step() {
        for (folder, migrator) in [("control", &*CONTROL), ("data", &*DATA)] {
            let mut files: Vec<String> = std::fs::read_dir(format!("migrations/{folder}"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let steps: Vec<String> = migrator
                .iter()
                .map(|step| format!("{}_{}.sql", step.version, step.description.replace(' ', "_")))
                .collect();
            assert_eq!(steps, files);
        }
    }
}
