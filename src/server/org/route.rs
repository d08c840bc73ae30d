//! Routes that describe themselves: the schemas of an operation in the OpenAPI document are those of
//! the arguments and the result of its handler.

use axum::extract::State;
use axum::handler::Handler;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::caller::Caller;
use super::gitops::{DeleteQuery, Force};
use super::list::{ListQuery, Range};
use super::resources::ById;
use crate::server::body::{JsonBody, Query};
use crate::server::response::json;
use crate::server::{ApiError, ApiState};

/// The response header of a PATCH: whether it has changed anything.
pub const CHANGED: HeaderName = HeaderName::from_static("x-anon-changed");

/// 200 with a body of this type.
pub struct Reply<T> {
    body: T,
    changed: Option<bool>,
}

/// 200 with this body.
pub const fn reply<T>(body: T) -> Reply<T> {
    Reply { body, changed: None }
}

/// 200 with this body, for a PATCH.
pub const fn changed<T>(changed: bool, body: T) -> Reply<T> {
    Reply { body, changed: Some(changed) }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut response = json(StatusCode::OK, &self.body);
        let value = |changed| HeaderValue::from_static(if changed { "true" } else { "false" });
        response.headers_mut().extend(self.changed.map(|changed| (CHANGED, value(changed))));
        response
    }
}

/// Adds the schema of a type to those of a document.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An operation as it is served and described.
pub struct Route {
    pub handler: MethodRouter<ApiState>,
    pub body: Option<SchemaOf>,
    pub query: Option<SchemaOf>,
    pub reply: SchemaOf,
}

/// The route of a handler.
pub fn route<H, M, A>(method: MethodFilter, handler: H) -> Route
where
    H: Handler<M, ApiState> + Described<A>,
    M: 'static,
{
    let (body, query, reply) = H::schemas();
    Route { handler: on(method, handler), body, query, reply }
}

/// An argument of a handler, and what of a request it reads.
pub trait Argument {
    /// The schema of the body.
    const BODY: Option<SchemaOf> = None;
    /// The schema of the query.
    const QUERY: Option<SchemaOf> = None;
}

impl Argument for State<ApiState> {}
impl Argument for Caller {}
impl Argument for Extensions {}
impl Argument for HeaderMap {}
impl<K> Argument for ById<K> {}
impl Argument for Force {
    const QUERY: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<DeleteQuery>);
}
impl Argument for Range {
    const QUERY: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<ListQuery>);
}
impl<T: JsonSchema> Argument for Query<T> {
    const QUERY: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<T>);
}
impl<T: JsonSchema> Argument for JsonBody<T> {
    const BODY: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<T>);
}

/// A handler with these arguments.
pub trait Described<A> {
    /// The schemas of the body, the query and the response.
    fn schemas() -> (Option<SchemaOf>, Option<SchemaOf>, SchemaOf);
}

macro_rules! described {
    ($($argument:ident),+) => {
        impl<F, Output, T, $($argument: Argument),+> Described<($($argument,)+)> for F
        where
            F: Fn($($argument),+) -> Output,
            Output: Future<Output = Result<Reply<T>, ApiError>>,
            T: JsonSchema,
        {
            fn schemas() -> (Option<SchemaOf>, Option<SchemaOf>, SchemaOf) {
                let body = None$(.or($argument::BODY))+;
                (body, None$(.or($argument::QUERY))+, SchemaGenerator::subschema_for::<T>)
            }
        }
    };
}
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
