//! Lists of the fields that a schema describes, in Markdown.

use std::collections::BTreeSet;

use serde_json::Value;

/// A schema, and the document that its references lead into.
#[derive(Clone, Copy)]
pub struct Schema<'d> {
    pub schema: &'d Value,
    document: &'d Value,
}

impl<'d> Schema<'d> {
    pub fn new(schema: &'d Value, document: &'d Value) -> Self {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        // An optional member of a body: this, or null.
        match non_null(schema).as_slice() {
            [only] => Self::new(only, document),
            _ => Self { schema, document },
        }
    }

    pub fn child(self, schema: &'d Value) -> Self {
        Self::new(schema, self.document)
    }

    fn of_items(self) -> Option<Self> {
        self.schema.get("items").map(|items| self.child(items))
    }

    pub fn variants(self) -> Vec<Self> {
        let variants = self.schema["oneOf"].as_array().into_iter().flatten();
        variants.chain(non_null(self.schema)).map(|variant| self.child(variant)).collect()
    }

    fn of_values(self) -> Option<Self> {
        let values = self.schema.get("additionalProperties").filter(|it| it.is_object());
        values.map(|values| self.child(values))
    }

    fn number(self, name: &str) -> Option<String> {
        self.schema[name].as_f64().map(|number| number.to_string())
    }

    /// The values that are allowed, if they are listed.
    fn values(self) -> Vec<String> {
        let listed = self.schema["enum"].as_array().into_iter().flatten();
        let constants = self.variants().into_iter().filter_map(|it| it.schema.get("const"));
        let constant = self.schema.get("const");
        listed.chain(constants).chain(constant).map(|value| format!("`{}`", plain(value))).collect()
    }

    fn type_(self) -> String {
        let named = match &self.schema["type"] {
            Value::Array(types) => types.iter().find(|it| *it != "null").unwrap_or(&Value::Null),
            other => other,
        };
        match (named.as_str(), self.schema["format"].as_str()) {
            (Some("array"), _) => {
                format!("list: {}", self.of_items().map_or_else(String::new, Self::facts))
            }
            (Some("object"), _) => match self.of_values() {
                Some(values) => format!("map: {}", values.facts()),
                None => "object".to_owned(),
            },
            (_, Some("date-time")) => "time (RFC 3339)".to_owned(),
            (_, Some("uuid")) => "UUID".to_owned(),
            (Some(type_), _) => type_.to_owned(),
            (None, _) if !self.variants().is_empty() => "object".to_owned(),
            (None, _) => "any value".to_owned(),
        }
    }

    /// The type and the constraints.
    pub fn facts(self) -> String {
        let values = self.values();
        let mut facts = vec![if values.is_empty() { self.type_() } else { values.join(" or ") }];
        let counts = [
            ("minLength", "maxLength", "characters"),
            ("minItems", "maxItems", "items"),
            ("minProperties", "maxProperties", "entries"),
            ("minimum", "maximum", ""),
        ];
        for (minimum, maximum, unit) in counts {
            facts.extend(range(self.number(minimum), self.number(maximum), unit));
        }
        if let Some(default) = self.schema.get("default").filter(|it| !it.is_null()) {
            facts.push(format!("default `{}`", plain(default)));
        }
        facts.join(", ")
    }

    /// What the server checks beyond that, in words.
    pub fn rules(self) -> BTreeSet<String> {
        let rules = self.schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        rules.filter_map(|rule| rule["message"].as_str()).map(one_line).collect()
    }

    /// An item for each member of an object, at whatever depth.
    pub fn list(self, path: &str, text: &mut String) {
        let required = self.schema["required"].as_array();
        for (name, schema) in self.schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let description = schema["description"].as_str();
            let field = self.child(schema);
            let description = description.or(field.schema["description"].as_str());
            let mut facts = field.facts();
            if required.is_some_and(|required| required.iter().any(|it| it == name)) {
                facts.push_str(", required");
            }
            let description = description.map(|it| format!(": {}", one_line(it)));
            let head = format!("**`{path}`** ({facts}){}", description.unwrap_or_default());
            text.push_str(&wrapped("- ", &head));
            for rule in field.rules() {
                text.push_str(&wrapped("  - ", &rule));
            }
            // Those are the same for every kind: conditions.md describes them.
            if path != "status.conditions" {
                field.list_below(&path, text);
            }
        }
        for variant in self.variants() {
            variant.list(path, text);
        }
    }

    fn list_below(self, path: &str, text: &mut String) {
        self.list(path, text);
        if let Some(items) = self.of_items() {
            items.list(&format!("{path}[]"), text);
        }
        if let Some(values) = self.of_values() {
            values.list(&format!("{path}.*"), text);
        }
    }
}

/// The alternatives of a schema but null.
fn non_null(schema: &Value) -> Vec<&Value> {
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    alternatives.filter(|it| it["type"] != "null").collect()
}

fn range(minimum: Option<String>, maximum: Option<String>, unit: &str) -> Option<String> {
    let minimum = minimum.filter(|minimum| minimum != "0");
    let text = match (minimum, maximum) {
        (None, Some(maximum)) => format!("at most {maximum} {unit}"),
        (Some(minimum), Some(maximum)) if minimum == maximum => format!("{minimum} {unit}"),
        (Some(minimum), Some(maximum)) => format!("{minimum} to {maximum} {unit}"),
        (Some(minimum), None) => format!("at least {minimum} {unit}"),
        (None, None) => return None,
    };
    Some(text.trim_end().to_owned())
}

/// A value as it is written in a manifest.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lines of at most 100 characters, of which the second and later ones are indented like the first.
pub fn wrapped(begin: &str, text: &str) -> String {
    let indent = " ".repeat(begin.len());
    let (mut lines, mut line) = (String::new(), begin.to_owned());
    for (number, word) in text.split(' ').enumerate() {
        if number > 0 && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push_str(&line);
            lines.push('\n');
            line = indent.clone() + word;
        } else {
            if number > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines + &line + "\n"
}
