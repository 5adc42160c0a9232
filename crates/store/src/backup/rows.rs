//! What of a backup comes back: not what was erased since, nor what no key opens any more.

use std::collections::{BTreeMap, HashMap, HashSet};

use convizit_keys::version_of;

use super::ledger_copy::{LedgerCopy, OWED};
use super::pack::{Cell, Manifest, Pack};
use crate::gap;
use crate::work::OF_PERSONS;

/// What `worker.journal` says while a restore goes on: no start takes the database for its own.
pub(crate) const RESTORING: &str = "restoring";

/// Decides on rows.
pub(super) struct Sieve {
    /// Days of projects whose key there is.
    days: HashSet<(i64, i64)>,
    /// Living versions of projects' keys.
    versions: HashMap<i64, HashSet<u32>>,
    /// Projects whose whole dataset was erased since.
    erased: HashSet<i64>,
    /// Projects of which persons were erased since.
    forgetting: HashSet<i64>,
    /// The highest number of a project that anything was sealed or erased of.
    given: i64,
    /// The backup's newest erasure, and those that it has carried out.
    known: (i64, i64),
    /// Last event numbers, as the backup has them.
    last: HashMap<i64, i64>,
    /// Rows that were left out by table and project.
    pub(super) left_out: BTreeMap<(String, i64), u64>,
    /// Events of the frames that are left out, as the backup counted them.
    pub(super) left_events: i64,
    /// Destinations that no key opens any more.
    pub(super) lost_destinations: Vec<String>,
}

impl Sieve {
    pub(super) fn new(ledger: &LedgerCopy, manifest: &Manifest) -> Self {
        let mut sieve = Self {
            days: HashSet::new(),
            versions: HashMap::new(),
            erased: HashSet::new(),
            forgetting: HashSet::new(),
            given: 0,
            known: (manifest.erasure, manifest.erased),
            last: HashMap::new(),
            left_out: BTreeMap::new(),
            left_events: 0,
            lost_destinations: Vec::new(),
        };
        for row in ledger.table("keys").iter().flat_map(|pack| &pack.rows) {
            let [project, kind, number, wrapped_by, ..] = row.as_slice() else { continue };
            sieve.given = sieve.given.max(project.int());
            match (kind.text(), wrapped_by.text()) {
                (_, "destroyed") => {}
                ("day", _) => drop(sieve.days.insert((project.int(), number.int()))),
                (_, _) => {
                    let version = u32::try_from(number.int()).unwrap_or(0);
                    sieve.versions.entry(project.int()).or_default().insert(version);
                }
            }
        }
        for row in ledger.table("erasures").iter().flat_map(|pack| &pack.rows) {
            let [number, project, kind, ..] = row.as_slice() else { continue };
            sieve.given = sieve.given.max(project.int());
            if kind.text() == "all" && number.int() > manifest.erasure {
                sieve.erased.insert(project.int());
            } else if ["visitor", "user"].contains(&kind.text()) && number.int() > manifest.erased {
                sieve.forgetting.insert(project.int());
            }
        }
        let left = manifest.parts.iter().filter(|part| part.table == "frames" && !sieve.keeps(part.project, part.day));
        sieve.left_events = left.flat_map(|part| &part.counts).map(|(.., events)| events).sum();
        sieve
    }

    /// Whether the frames of a project's day come back.
    fn keeps(&self, project: i64, day: i64) -> bool {
        !self.erased.contains(&project) && self.days.contains(&(project, day))
    }

    fn opens(&self, project: i64, sealed: &[u8]) -> bool {
        version_of(sealed)
            .is_some_and(|version| self.versions.get(&project).is_some_and(|versions| versions.contains(&version)))
    }

    /// Leaves out of a pack what does not come back, and puts the rest as it is to stand.
    pub(super) fn sift(&mut self, pack: &mut Pack) {
        let columns: HashMap<String, usize> =
            pack.columns.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        let at = |row: &[Cell], name: &str| {
            columns.get(name).and_then(|index| row.get(*index)).cloned().unwrap_or(Cell::Null)
        };
        let table = pack.table.clone();
        let mut rows = std::mem::take(&mut pack.rows);
        rows.retain_mut(|row| {
            let project = at(row, "project").int();
            let erased = self.erased.contains(&project);
            let keep = match table.as_str() {
                "frames" => self.keeps(project, at(row, "day").int()),
                "state" => {
                    let of_persons = OF_PERSONS.contains(&at(row, "kind").int());
                    let forgotten = erased || (of_persons && self.forgetting.contains(&project));
                    !forgotten && self.opens(project, at(row, "body").bytes())
                }
                "quarantine" => !erased && self.opens(project, at(row, "body").bytes()),
                "destinations" => {
                    let opens = self.opens(project, at(row, "body").bytes());
                    if !opens {
                        self.lost_destinations.push(at(row, "name").text().to_owned());
                    }
                    opens
                }
                "counts" | "rulings" | "damaged_state" | "dead_letters" | "replays" | "held" => !erased,
                // Of a backup of an earlier program: the copy of keys and erasures says which live.
                "tokens" => false,
                // The sequence of the ledger copy is written by whoever restores; what a start had accepted is none of what comes back.
                "control_version" => {
                    let id = at(row, "id").int();
                    id != 2 && id != OWED && !gap::ROWS.contains(&id)
                }
                _ => true,
            };
            if !keep && table != "control_version" {
                *self.left_out.entry((table.clone(), project)).or_default() += 1;
            }
            if keep {
                self.put(&table, &columns, row);
            }
            keep
        });
        pack.rows = rows;
    }

    fn put(&mut self, table: &str, columns: &HashMap<String, usize>, row: &mut [Cell]) {
        let index = |name: &str| columns.get(name).copied().unwrap_or(usize::MAX);
        let int = |row: &[Cell], name: &str| row.get(index(name)).map_or(0, Cell::int);
        match table {
            "progress" => drop(self.last.insert(int(row, "project"), int(row, "last_number"))),
            "worker" => {
                if let Some(journal) = row.get_mut(index("journal")) {
                    *journal = Cell::Text(RESTORING.to_owned());
                }
            }
            "control_version" => {
                let id = int(row, "id");
                if let Some(Cell::Int(version)) = row.get_mut(index("version")) {
                    // Other processes look again; a number of a project that was made since is not given again.
                    *version = if id == 1 { (*version).max(self.given) } else { *version + 1 };
                }
            }
            _ => {}
        }
    }

    /// The ledger as it is to stand: what the backup has not carried out is open again, up to the last number of its project.
    pub(super) fn reopen(&self, pack: &mut Pack) -> u64 {
        let mut reopened = 0;
        for row in &mut pack.rows {
            // In the order of the table's columns, which reading the copy has looked at.
            let [number, project, kind, _, _, through, _, state, ..] = row.as_mut_slice() else { continue };
            let (newest, carried_out) = self.known;
            if number.int() > carried_out {
                let last = self.last.get(&project.int()).copied().unwrap_or(0);
                // One that the backup knows goes no further than it says: what came later is of who came back, or under later keys.
                let known = kind.text() == "day" || number.int() <= newest;
                *through = Cell::Int(if known { last.min(through.int()) } else { last });
                *state = Cell::Text("open".to_owned());
                reopened += 1;
            }
        }
        reopened
    }
}
