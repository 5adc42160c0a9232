//! The list of calls: each is a route with its row of rights and its part of the OpenAPI document, so that neither lacks the other.

use std::borrow::Cow;

use axum::handler::Handler;
use axum::http::header;
use convizit_store::Scope;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ComponentsBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, InfoBuilder, OpenApiBuilder, Paths, Ref, RefOr, Required, Response, ResponseBuilder,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Page;
use super::idempotency::KEY_CHARS;
use super::problem::Details;
use crate::Console;
use crate::access::{Access, Routes, Row};

const DOCUMENT: &str = "/api/v1/openapi.json";
const ABOUT: &str = "What the console's pages do, for programs. A call carries `Authorization: Bearer …` with a token of the project, \
    made by `convizit token add NAME --project PROJECT --scope read,capture`; each call says which scope it needs. Lists come in \
    pages: `next`, where it is no null, is the next call's `after`. A changing call may carry an `Idempotency-Key`: the same call with the same \
    key within 24 hours is carried out once and answered alike. Problems are RFC 9457's.";

/// What each status of a refusal means, for every call alike.
const REFUSALS: &[(u16, &str)] = &[
    (400, "A parameter, a header or the body is not of the form that is asked for."),
    (401, "No living token, or an unknown one."),
    (403, "The token has not the scope."),
    (404, "There is no such thing in the token's project."),
    (429, "Too many tokens that nobody has, or too many idempotency keys."),
    (503, "The store cannot answer now."),
];
/// And for those that change something.
const OF_WRITES: &[(u16, &str)] = &[
    (409, "Somebody else was quicker, the same call is being carried out, or something is to be done first."),
    (413, "The body is too large."),
    (415, "The body is no JSON."),
    (422, "What is asked for is not possible, or the key came with another call."),
];
/// And for those that change nothing and look at what somebody has in mind.
const OF_LOOKS: &[(u16, &str)] = &[(422, "What is asked for is not possible.")];

/// Routes and the document that describes them.
pub(super) struct Api {
    routes: Routes,
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// A call of the interface.
pub(super) struct Call {
    row: Row,
    scope: Scope,
    name: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    body: Option<RefOr<Schema>>,
    answer: (u16, Response),
    schemas: Vec<(String, RefOr<Schema>)>,
    /// Whether it looks at something that may not be possible.
    looks: bool,
}

fn refer<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

impl Call {
    fn new(row: Row, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        let answer = (204, ResponseBuilder::new().description("Done.").build());
        Self {
            row,
            scope,
            name,
            summary,
            parameters: Vec::new(),
            body: None,
            answer,
            schemas: Vec::new(),
            looks: false,
        }
    }

    pub(super) fn get(path: &'static str, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        Self::new(Row::get(path, Access::Scope(scope)), scope, name, summary)
    }

    pub(super) fn post(path: &'static str, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        Self::new(Row::post(path, Access::Scope(scope)), scope, name, summary)
    }

    pub(super) fn put(path: &'static str, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        Self::new(Row::put(path, Access::Scope(scope)), scope, name, summary)
    }

    pub(super) fn patch(path: &'static str, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        Self::new(Row::patch(path, Access::Scope(scope)), scope, name, summary)
    }

    pub(super) fn delete(path: &'static str, scope: Scope, name: &'static str, summary: &'static str) -> Self {
        Self::new(Row::delete(path, Access::Scope(scope)), scope, name, summary)
    }

    /// With parameters in the address.
    pub(super) fn asks<T: IntoParams>(mut self) -> Self {
        self.parameters.extend(T::into_params(|| Some(ParameterIn::Query)));
        self
    }

    /// With a body.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(refer::<T>(&mut self.schemas));
        self
    }

    /// Answered with JSON.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, says: &'static str) -> Self {
        let schema = refer::<T>(&mut self.schemas);
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.answer = (status, ResponseBuilder::new().description(says).content("application/json", content).build());
        self
    }

    /// Whose answer has a version, for whoever changes what it shows.
    pub(super) fn versioned(mut self) -> Self {
        let etag = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
        self.answer.1.headers.insert("ETag".to_owned(), RefOr::T(etag));
        self
    }

    /// Which looks at what somebody has in mind, and says where that is not possible.
    pub(super) fn looks(mut self) -> Self {
        self.looks = true;
        self
    }

    /// Answered with text of this kind.
    pub(super) fn answers_text(mut self, kind: &'static str, says: &'static str) -> Self {
        let schema: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::String).build().into();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.answer = (200, ResponseBuilder::new().description(says).content(kind, content).build());
        self
    }

    fn changes(&self) -> bool {
        self.row.method != "GET"
    }

    /// Every status that it may be refused with.
    fn refusals(&self) -> impl Iterator<Item = (u16, &'static str)> {
        let more = match (self.changes(), self.looks) {
            (true, _) => OF_WRITES,
            (false, true) => OF_LOOKS,
            (false, false) => &[],
        };
        REFUSALS.iter().chain(more).copied()
    }

    fn operation(&self) -> Operation {
        let mut operation = OperationBuilder::new()
            .tag(self.row.path.split('/').nth(5).unwrap_or("project"))
            .operation_id(Some(self.name))
            .summary(Some(self.summary))
            .security(SecurityRequirement::new("token", [self.scope.as_str()]));
        for name in self.row.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            operation = operation.parameter(path_parameter(name));
        }
        for parameter in &self.parameters {
            operation = operation.parameter(parameter.clone());
        }
        if self.changes() && self.scope != Scope::Export {
            operation = operation.parameter(key_parameter());
        }
        if let Some(body) = &self.body {
            let content = ContentBuilder::new().schema(Some(body.clone())).build();
            let body = RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        operation = operation.response(self.answer.0.to_string(), self.answer.1.clone());
        for (status, says) in self.refusals() {
            let schema: RefOr<Schema> = Ref::from_schema_name(Details::name()).into();
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let problem = ResponseBuilder::new().description(says).content("application/problem+json", content);
            operation = operation.response(status.to_string(), problem.build());
        }
        operation.build()
    }
}

/// What stands in a path.
fn path_parameter(name: &str) -> Parameter {
    let (says, pattern) = match name {
        "project" => ("The project's id: `shop`.", "^[a-z0-9-]{1,64}$"),
        "event" => ("A name's id: `na_0123456789abcdef`.", "^na_[0-9a-f]{16}$"),
        "decision" => ("A decision's number: `7`, or `auto-7`.", "^(auto-)?[0-9]{1,12}$"),
        "destination" => ("A destination's name: `crm`.", "^[a-z0-9-]{1,64}$"),
        "group" => ("A group's id: `gr_0123456789abcdef`.", "^gr_[0-9a-f]{16}$"),
        "account" => ("A member's number: `7`.", "^[0-9]{1,12}$"),
        "notice" => ("A notice's number: `7`.", "^[0-9]{1,12}$"),
        "incident" => ("An incident's number: `7`.", "^[0-9]{1,12}$"),
        "replay" => ("A replay's number of its destination: `1`.", "^[0-9]{1,12}$"),
        _ => ("An erasure's id.", "^er_[0-9A-Za-z_-]{1,64}$"),
    };
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(says))
        .schema(Some(schema))
        .build()
}

fn key_parameter() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(KEY_CHARS))
        .pattern(Some("^[ -~]+$"))
        .build();
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Of the caller's choice, one for each call; held for 24 hours."))
        .schema(Some(schema))
        .build()
}

fn method(row: &Row) -> HttpMethod {
    match row.method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

impl Api {
    pub(super) fn new(routes: Routes) -> Self {
        let mut schemas = Vec::new();
        refer::<Details>(&mut schemas);
        Self { routes, paths: Paths::new(), schemas }
    }

    /// The only way to add a call.
    pub(super) fn add<H, T>(mut self, call: Call, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        self.paths.add_path_operation(call.row.path, vec![method(&call.row)], call.operation());
        self.schemas.extend(call.schemas);
        self.routes = self.routes.add(call.row, handler);
        self
    }

    /// The routes, with the one that gives the document.
    pub(super) fn routes(self) -> Routes {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of the project, with scopes."))
            .build();
        let components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas)
            .security_scheme("token", SecurityScheme::Http(token))
            .build();
        let document = OpenApiBuilder::new()
            .info(InfoBuilder::new().title("Convizit").version("1").description(Some(ABOUT)).build())
            .paths(self.paths)
            .components(Some(components))
            .build();
        // Of texts and numbers alone, which always become JSON; a test reads it.
        let mut text = document.to_pretty_json().unwrap_or_default();
        text.push('\n');
        let text: std::sync::Arc<str> = text.into();
        self.routes.add(Row::get(DOCUMENT, Access::Public), async move || {
            ([(header::CONTENT_TYPE, "application/json")], text.to_string())
        })
    }
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
            .description(Some("What the next call gives as `after`; null at the end."));
        ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(Ref::from_schema_name(T::name())))
            .required("items")
            .property("next", next)
            .required("next")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        refer::<T>(schemas);
    }
}
