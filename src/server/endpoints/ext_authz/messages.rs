//! The messages of `envoy.service.auth.v3.Authorization/Check`, in Protocol Buffers: the fields that
//! are used, with the numbers of Envoy's API (<https://github.com/envoyproxy/data-plane-api>), in the
//! packages
//!
//! - `envoy.service.auth.v3`: CheckRequest, CheckResponse, OkHttpResponse, DeniedHttpResponse
//!   (external_auth.proto); AttributeContext, AttributeContext.Request, AttributeContext.HttpRequest
//!   (attribute_context.proto)
//! - `envoy.config.core.v3`: HeaderMap, HeaderValue, HeaderValueOption (base.proto)
//! - `envoy.type.v3`: HttpStatus (http_status.proto)
//! - `google.rpc`: Status; `google.protobuf`: Struct, Value, ListValue
//!
//! A receiver skips the fields that it does not know. See docs/adr/0009-messages-of-ext-authz.md.

#![allow(missing_docs, reason = "the messages and fields are documented in Envoy's API")]

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

/// The call of Envoy. Without `Debug`, because it contains credentials.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct AttributeContext {
    #[prost(message, optional, tag = "4")]
    pub request: Option<RequestAttributes>,
    /// What the configuration of the route, virtual host or listener adds.
    #[prost(map = "string, string", tag = "10")]
    pub context_extensions: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct RequestAttributes {
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct HttpRequest {
    /// By name in lower case; the values of repeated headers are joined.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// With `encode_raw_headers`, instead of `headers`.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderList>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct HeaderList {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// The response.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct CheckResponse {
    /// Allows if its code is 0. Envoy treats a missing one like 0.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub dynamic_metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(skip_debug)]
pub enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
    #[prost(bool, tag = "4")]
    pub keep_empty_value: bool,
}

impl HeaderOption {
    /// `OVERWRITE_IF_EXISTS_OR_ADD`.
    pub const OVERWRITE: i32 = 2;

    /// Sets a header, also to an empty value, whatever the request has.
    pub fn overwrite(key: &str, value: impl Into<String>) -> Self {
        let header = Header { key: key.to_owned(), value: value.into(), raw_value: Vec::new() };
        Self { header: Some(header), append_action: Self::OVERWRITE, keep_empty_value: true }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// A JSON object.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[prost(skip_debug)]
pub enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Object(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct List {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

impl FromIterator<(String, Json)> for Struct {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(members: I) -> Self {
        let fields = members.into_iter().map(|(name, value)| (name, value.into()));
        Self { fields: fields.collect() }
    }
}

impl From<Json> for Value {
    fn from(value: Json) -> Self {
        let kind = match value {
            Json::Null => Kind::Null(0),
            Json::Bool(value) => Kind::Bool(value),
            // Struct has no integers.
            Json::Number(number) => Kind::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Kind::Text(text),
            Json::Array(items) => {
                Kind::List(List { values: items.into_iter().map(Self::from).collect() })
            }
            Json::Object(members) => Kind::Object(members.into_iter().collect()),
        };
        Self { kind: Some(kind) }
    }
}
