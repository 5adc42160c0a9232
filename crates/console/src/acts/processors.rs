//! The list of processors: who gets a project's events, where they are kept and since which agreement.

use convizit_model::spreadsheet::harmless;
use convizit_model::{Processor, Project};
use convizit_store::{Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// Columns of the table.
const COLUMNS: [&str; 8] = ["project", "destination", "kind", "processor", "region", "agreement", "state", "concern"];

/// A destination in the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProcessorLine)]
pub struct Line {
    /// The project whose events it gets.
    project: String,
    /// The destination.
    destination: String,
    /// What it is: `webhook`, `amplitude`.
    kind: String,
    /// The organisation; `own` for a system of the own one, empty where none was entered.
    processor: String,
    /// Where it keeps the data.
    region: String,
    /// Date of the data processing agreement.
    agreement: String,
    /// `sending`, `paused` or `off`.
    state: &'static str,
    /// What is to be looked at; empty where nothing is.
    concern: String,
}

impl Line {
    /// What stands in its row of a table, in the order of the columns.
    #[must_use]
    pub fn cells(&self) -> Vec<String> {
        let Self { project, destination, kind, processor, region, agreement, state, concern } = self;
        let state = (*state).to_owned();
        [project, destination, kind, processor, region, agreement, &state, concern].map(Clone::clone).into()
    }
}

/// Who gets a project's events, by destination.
///
/// # Errors
/// Those of the store.
pub async fn lines(store: &Store, project: &Project) -> Result<Vec<Line>, StoreError> {
    let states = store.destinations(Some(&project.id)).await?;
    let line = |destination: convizit_model::Destination| {
        let concern = destination.concern(&project.settings).map(|concern| concern.what).unwrap_or_default();
        // Files and standard output are on this machine, though nobody has entered it.
        let here = destination.processor.is_none() && concern.is_empty();
        let entry = if here { Some(Processor::own()) } else { destination.processor };
        let Processor { name, region, agreement } = entry.unwrap_or_default();
        Line {
            project: project.id.to_string(),
            kind: destination.kind.as_str().to_owned(),
            destination: destination.name,
            processor: name,
            region,
            agreement,
            state: match (destination.enabled, destination.paused) {
                (false, _) => "off",
                (true, Some(_)) => "paused",
                (true, None) => "sending",
            },
            concern,
        }
    };
    Ok(states.into_iter().map(|state| line(state.destination)).collect())
}

/// The list as comma-separated values.
///
/// # Errors
/// What the writer says.
pub fn table(lines: &[Line]) -> Result<Vec<u8>, String> {
    let said = |error: csv::Error| error.to_string();
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS).map_err(said)?;
    for line in lines {
        csv.write_record(line.cells().into_iter().map(harmless)).map_err(said)?;
    }
    csv.into_inner().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let line = Line {
            project: "shop".to_owned(),
            destination: "amp".to_owned(),
            kind: "amplitude".to_owned(),
            processor: "=HYPERLINK(\"x\")".to_owned(),
            region: "eu".to_owned(),
            agreement: "2026-10-01".to_owned(),
            state: "sending",
            concern: String::new(),
        };
        let text = String::from_utf8(table(&[line]).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        assert_eq!(lines[1], "shop,amp,amplitude,\"'=HYPERLINK(\"\"x\"\")\",eu,2026-10-01,sending,");
    }
}
