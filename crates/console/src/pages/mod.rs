//! The console's pages, a file for each, and the list of their routes with who may ask for them.

mod account;
mod audit;
mod channels;
mod customizer;
mod decisions;
mod destination_form;
mod destinations;
mod erasures;
pub(crate) mod events;
mod exclusions;
mod files;
mod groups;
mod incidents;
mod members;
mod merge;
mod notices;
pub(crate) mod overview;
mod passkeys;
mod people;
mod projects;
mod resend;
mod samples;
mod settings;
mod shaping_form;
mod sign_in;
mod system;
mod welcome;

use convizit_model::Action::{
    CreateProject, DeleteDataset, EditAccounts, EditCapture, EditDestinations, EditMembers, EditSettings,
    PassOwnership, SeeAudit, SeeInstallation, SeeProject, SeeSamples, ServeIncidents, ServePersons,
};

pub(crate) use account::prove_first;
pub(crate) use welcome::role_name;

use crate::access::Access::{HalfSignedIn, Installation, Newcomer, Open, Person, Project};
use crate::access::{Routes, Row};

/// Every page of the console.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .add(Row::get("/", Open), projects::home)
        .add(Row::get("/static/console.css", Open), files::style)
        .add(Row::get("/static/console.js", Open), files::script)
        .add(Row::get("/static/icon.svg", Open), files::icon)
        .add(Row::get("/.well-known/security.txt", Open), files::security)
        .add(Row::get("/welcome/{secret}", Open), welcome::show)
        .add(Row::post("/welcome/{secret}", Open), welcome::accept)
        .add(Row::post("/welcome/{secret}/join", Person), welcome::join)
        .add(Row::get("/sign-in", Open), sign_in::show)
        .add(Row::post("/sign-in", Open), sign_in::password)
        .add(Row::get("/sign-in/code", HalfSignedIn), sign_in::show_code)
        .add(Row::post("/sign-in/code", HalfSignedIn), sign_in::code)
        .add(Row::get("/forgot", Open), sign_in::show_forgot)
        .add(Row::post("/forgot", Open), sign_in::forgot)
        .add(Row::get("/static/passkey.js", Open), files::passkey)
        .add(Row::post("/sign-in/passkey/begin", HalfSignedIn), passkeys::begin)
        .add(Row::post("/sign-in/passkey", HalfSignedIn), passkeys::sign_in)
        .add(Row::post("/sign-out", Newcomer), sign_in::out);
    let routes = routes
        .add(Row::get("/account", Person), account::show)
        .add(Row::post("/account/password", Person), account::password)
        .add(Row::get("/account/second-factor", Newcomer).proved(), account::show_factor)
        .add(Row::post("/account/second-factor", Newcomer).proved(), account::factor)
        .add(Row::post("/account/codes", Person).proved(), account::codes)
        .add(Row::post("/account/sessions/{number}/end", Person), account::end)
        .add(Row::post("/account/sessions/end-others", Person), account::end_others)
        .add(Row::post("/account/passkeys/begin", Person).proved(), passkeys::begin)
        .add(Row::post("/account/passkeys", Person).proved(), passkeys::add)
        .add(Row::post("/account/passkeys/{number}/remove", Person).proved(), passkeys::remove)
        .add(Row::post("/account/prove/passkey/begin", Newcomer), passkeys::begin)
        .add(Row::post("/account/prove/passkey", Newcomer), passkeys::prove)
        .add(Row::get("/account/prove", Newcomer), account::show_prove)
        .add(Row::post("/account/prove", Newcomer), account::prove)
        .add(Row::get("/projects", Person), projects::list)
        .add(Row::get("/projects/new", Installation(CreateProject)), projects::show_new)
        .add(Row::post("/projects", Installation(CreateProject)), projects::create)
        .add(Row::get("/system", Installation(SeeInstallation)), system::show)
        .add(Row::post("/system/masters/invite", Installation(EditAccounts)).proved(), system::invite_master)
        .add(Row::post("/system/masters/take-back", Installation(EditAccounts)), system::take_back_master)
        .add(Row::post("/system/masters/{account}/remove", Installation(EditAccounts)).proved(), system::remove_master)
        .add(Row::post("/system/accounts/{account}/reset", Installation(EditAccounts)).proved(), system::reset)
        .add(Row::get("/notices", Installation(SeeInstallation)), notices::list_all)
        .add(Row::post("/notices/{number}", Installation(SeeInstallation)), notices::set_any)
        .add(Row::get("/incidents", Installation(ServeIncidents)), incidents::list_all)
        .add(Row::get("/incidents/{number}", Installation(ServeIncidents)), incidents::show_any)
        .add(Row::post("/incidents/{number}", Installation(ServeIncidents)), incidents::change_any);
    let routes = routes
        .add(Row::get("/p/{project}/notices", Project(SeeProject)), notices::list)
        .add(Row::post("/p/{project}/notices/{number}", Project(EditCapture)), notices::set)
        .add(Row::get("/p/{project}/notices/channels", Project(EditSettings)), channels::show)
        .add(Row::post("/p/{project}/notices/channels", Project(EditSettings)), channels::save)
        .add(Row::post("/p/{project}/notices/channels/test", Project(EditSettings)), channels::test)
        .add(Row::get("/p/{project}/incidents", Project(ServeIncidents)), incidents::list)
        .add(Row::get("/p/{project}/incidents/{number}", Project(ServeIncidents)), incidents::show)
        .add(Row::post("/p/{project}/incidents/{number}", Project(ServeIncidents)), incidents::change);
    routes
        .add(Row::get("/p/{project}", Project(SeeProject)), overview::show)
        .add(Row::get("/p/{project}/pulse", Project(SeeProject)), overview::pulse)
        .add(Row::get("/p/{project}/start", Project(SeeProject)), overview::start)
        .add(Row::get("/p/{project}/start/pulse", Project(SeeProject)), overview::start_pulse)
        .add(Row::get("/p/{project}/events", Project(SeeProject)), events::list)
        .add(Row::get("/p/{project}/events/{name}", Project(SeeProject)), events::show)
        .add(Row::post("/p/{project}/events/{name}/rename", Project(EditCapture)), events::rename)
        .add(Row::post("/p/{project}/events/{name}/capture", Project(EditCapture)), events::capture)
        .add(Row::post("/p/{project}/events/capture", Project(EditCapture)), events::capture_several)
        .add(Row::get("/p/{project}/events/{name}/merge", Project(EditCapture)), merge::show)
        .add(Row::post("/p/{project}/events/{name}/merge", Project(EditCapture)), merge::merge)
        .add(Row::get("/p/{project}/events/{name}/split", Project(EditCapture)), merge::show_split)
        .add(Row::post("/p/{project}/events/{name}/split", Project(EditCapture)), merge::split)
        .add(Row::post("/p/{project}/decisions/{decision}/undo", Project(EditCapture)), decisions::undo)
        .add(Row::get("/p/{project}/groups", Project(SeeProject)), groups::list)
        .add(Row::get("/p/{project}/groups/{group}", Project(SeeProject)), groups::show)
        .add(Row::post("/p/{project}/groups/{group}/rename", Project(EditCapture)), groups::rename)
        .add(Row::post("/p/{project}/groups/{group}/capture", Project(EditCapture)), groups::capture)
        .add(Row::get("/p/{project}/exclusions", Project(SeeProject)), exclusions::show)
        .add(Row::post("/p/{project}/exclusions/add", Project(EditCapture)), exclusions::add)
        .add(Row::post("/p/{project}/exclusions/remove", Project(EditCapture)), exclusions::remove)
        .add(Row::get("/p/{project}/customizer", Project(EditCapture)), customizer::show)
        .add(Row::post("/p/{project}/customizer/open", Project(EditCapture)), customizer::open)
        .add(Row::get("/p/{project}/customizer/pulse", Project(EditCapture)), customizer::pulse)
        .add(Row::post("/p/{project}/customizer/publish", Project(EditCapture)), customizer::publish)
        .add(Row::post("/p/{project}/customizer/discard", Project(EditCapture)), customizer::discard)
        .add(Row::get("/p/{project}/samples", Project(SeeSamples)), samples::show)
        .add(Row::get("/p/{project}/samples/pulse", Project(SeeSamples)), samples::pulse)
        .add(Row::get("/p/{project}/destinations", Project(SeeProject)), destinations::list)
        .add(Row::get("/p/{project}/new-destination", Project(EditDestinations)), destination_form::show_new)
        .add(Row::post("/p/{project}/new-destination", Project(EditDestinations)), destination_form::add)
        .add(Row::get("/p/{project}/destinations/{name}", Project(SeeProject)), destinations::show)
        .add(
            Row::get("/p/{project}/destinations/{name}/change", Project(EditDestinations)),
            destination_form::show_change,
        )
        .add(Row::post("/p/{project}/destinations/{name}/change", Project(EditDestinations)), destination_form::change)
        .add(Row::post("/p/{project}/destinations/{name}/remove", Project(EditDestinations)), destinations::remove)
        .add(Row::post("/p/{project}/destinations/{name}/test", Project(EditDestinations)), destinations::test)
        .add(Row::post("/p/{project}/destinations/{name}/retry", Project(EditDestinations)), resend::retry)
        .add(Row::post("/p/{project}/destinations/{name}/drop", Project(EditDestinations)), resend::give_up)
        .add(Row::post("/p/{project}/destinations/{name}/replay", Project(EditDestinations)), resend::replay)
        .add(
            Row::post("/p/{project}/destinations/{name}/replay/{number}/stop", Project(EditDestinations)),
            resend::stop,
        )
        .add(Row::post("/p/{project}/destinations/{name}/pause", Project(EditDestinations)), destinations::pause)
        .add(Row::post("/p/{project}/destinations/{name}/resume", Project(EditDestinations)), destinations::resume)
        .add(Row::get("/p/{project}/privacy", Project(SeeProject)), people::show)
        .add(Row::post("/p/{project}/privacy/erase", Project(ServePersons)).proved(), people::erase)
        .add(Row::post("/p/{project}/privacy/export", Project(ServePersons)).proved(), people::export)
        .add(Row::get("/p/{project}/privacy/erasures", Project(ServePersons)), erasures::list)
        .add(Row::get("/p/{project}/privacy/erasures/{request}", Project(ServePersons)), erasures::show)
        .add(Row::get("/p/{project}/privacy/erasures/{request}/pulse", Project(ServePersons)), erasures::pulse)
        .add(Row::get("/p/{project}/privacy/delete", Project(DeleteDataset)).proved(), erasures::show_delete)
        .add(Row::post("/p/{project}/privacy/delete", Project(DeleteDataset)).proved(), erasures::delete)
        .add(Row::get("/p/{project}/members", Project(SeeProject)), members::list)
        .add(Row::post("/p/{project}/members/invite", Project(EditMembers)), members::invite)
        .add(Row::post("/p/{project}/members/take-back", Project(EditMembers)), members::take_back)
        .add(Row::post("/p/{project}/members/{account}/role", Project(EditMembers)), members::set_role)
        .add(Row::post("/p/{project}/members/{account}/remove", Project(EditMembers)), members::remove)
        .add(Row::get("/p/{project}/owner", Project(PassOwnership)).proved(), members::show_owner)
        .add(Row::post("/p/{project}/owner", Project(PassOwnership)).proved(), members::pass_ownership)
        .add(Row::get("/p/{project}/settings", Project(SeeProject)), settings::show)
        .add(Row::post("/p/{project}/settings", Project(EditSettings)), settings::save)
        .add(Row::get("/p/{project}/audit", Project(SeeAudit)), audit::show)
        .add(Row::post("/p/{project}/audit/export", Project(SeeAudit)), audit::export)
        .add(Row::post("/p/{project}/audit/verify", Project(SeeAudit)), audit::verify)
}
