//! Destinations as programs read them: how each stands, what it gets, and what it was when it was read.

use convizit_model::{Destination, EventType, ProjectSettings, Shaping, Timestamp};
use convizit_store::DestinationState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::processors::ProcessorView;
use crate::acts::destinations::place;

/// What a destination gets of the events of its types: all of each where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = DestinationShaping)]
pub(super) struct ShapingView {
    /// Fields that are left out: `device.brand`, `location`, `properties.Note`.
    #[schema(max_items = 100)]
    pub(super) without: Vec<String>,
    /// Only events that meet this condition of the mapping language (docs/mapping.md); null for all.
    #[schema(value_type = Option<Object>)]
    pub(super) when: Option<Value>,
    /// Only events of so many visitors of a hundred, always the same ones; null for all.
    #[schema(minimum = 1, maximum = 99)]
    pub(super) percent: Option<u8>,
    /// Of a connector: fields of what it sends that are made by a mapping of one's own, over the one that it has.
    #[schema(value_type = Object)]
    pub(super) fields: Map<String, Value>,
    /// A program in VRL that makes another event of each before; refused where this build has none. Null for none.
    #[schema(max_length = 8192)]
    pub(super) transform: Option<String>,
}

impl From<Shaping> for ShapingView {
    fn from(shaping: Shaping) -> Self {
        let Shaping { without, when, percent, set, transform } = shaping;
        Self { without, when, percent, fields: set, transform }
    }
}

impl From<ShapingView> for Shaping {
    fn from(view: ShapingView) -> Self {
        let ShapingView { without, when, percent, fields, transform } = view;
        Self { without, when, percent, set: fields, transform }
    }
}

/// A destination, without its address and credentials.
#[derive(Serialize, ToSchema)]
#[schema(as = Destination)]
pub(super) struct DestinationView {
    /// Its name.
    pub(super) name: String,
    /// `webhook`, `postgres`, `file`, `stdout`, or a connector's id such as `mixpanel`.
    pub(super) kind: String,
    /// Whether events are sent.
    pub(super) enabled: bool,
    /// Why it is paused; null while it runs.
    pub(super) paused: Option<String>,
    /// The types of events that it gets; empty means all.
    #[schema(value_type = Vec<String>)]
    pub(super) types: Vec<EventType>,
    /// What it gets of them.
    pub(super) shaping: ShapingView,
    /// `up_to_date`, `sending`, `behind` (more than 1 000 events wait), `waiting` (tried again after a failure), `failing`, `paused` or `off`.
    pub(super) state: &'static str,
    /// That it takes nothing now; null while it does.
    pub(super) failing: Option<FailingView>,
    /// Number of the last event that it is done with.
    pub(super) cursor: i64,
    /// Events that wait for it.
    pub(super) behind: i64,
    /// Events that it refused.
    pub(super) refused: i64,
    /// Who processes what it gets; null where that was not entered yet.
    pub(super) processor: Option<ProcessorView>,
    /// What whoever answers for privacy has to look at: no entry, or a region outside of where data is to stay; null where nothing is.
    pub(super) concern: Option<String>,
}

impl DestinationView {
    pub(super) fn of(state: DestinationState, last: i64, settings: &ProjectSettings) -> Self {
        Self {
            concern: state.destination.concern(settings).map(|concern| concern.what),
            processor: state.destination.processor.clone().map(ProcessorView::from),
            state: state.standing(last).as_str(),
            failing: state.failing.map(|failing| FailingView {
                since: failing.since,
                times: failing.times,
                reason: failing.reason,
            }),
            kind: state.destination.kind.as_str().to_owned(),
            name: state.destination.name,
            shaping: state.destination.shaping.into(),
            enabled: state.destination.enabled,
            paused: state.destination.paused,
            types: state.destination.types,
            cursor: state.cursor,
            behind: (last - state.cursor).max(0),
            refused: state.dead,
        }
    }
}

/// That a destination takes nothing now.
#[derive(Serialize, ToSchema)]
#[schema(as = DestinationFailing)]
pub(super) struct FailingView {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(super) since: Timestamp,
    /// How often it was tried since.
    pub(super) times: i64,
    /// The newest failure.
    pub(super) reason: String,
}

/// A destination as it was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenDestination {
    /// Its address, schema or path, or the region and settings of a connector.
    pub(super) place: String,
    /// The types of events that it gets.
    #[schema(value_type = Vec<String>)]
    pub(super) types: Vec<EventType>,
    /// What it gets of them; not compared where it is not said.
    pub(super) shaping: Option<ShapingView>,
}

impl SeenDestination {
    /// Whether it stands so still.
    pub(super) fn holds(&self, now: &Destination) -> bool {
        let same = |shaping: &ShapingView| *shaping == ShapingView::from(now.shaping.clone());
        self.place == place(&now.kind) && self.types == now.types && self.shaping.as_ref().is_none_or(same)
    }
}
