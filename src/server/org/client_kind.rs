//! The field `kind` of a new client: `"service"`, `{"application": {…}}`, or, as some clients send
//! it, `"application"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::fields::OauthConfig;
use crate::server::body::Object;

/// The type of a client.
pub enum Kind {
    /// A backend.
    Service,
    /// A frontend.
    Application(Application),
}

/// A frontend.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// The pool of its users. Required if the organization has neither a default pool nor exactly
    /// one pool.
    pub user_pool_id: Option<String>,
    pub oauth_config: Option<Object<OauthConfig>>,
}

/// The kind of a frontend.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApplicationKind {
    application: Object<Application>,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Application(Application::default())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""service" or {"application": {…}}"#)
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<Kind, E> {
        match kind {
            "service" => Ok(Kind::Service),
            "application" => Ok(Kind::default()),
            _ => Err(E::invalid_value(de::Unexpected::Str(kind), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Kind, A::Error> {
        let kind = ApplicationKind::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Kind::Application(kind.application.0))
    }
}

impl JsonSchema for Kind {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let application = generator.subschema_for::<ApplicationKind>();
        json_schema!({
            "description": "A backend with an API key, or a frontend, which is the default.",
            "oneOf": [{ "enum": ["service", "application"] }, application],
        })
    }
}
