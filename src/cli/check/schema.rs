//! Whether an installed definition is of this version: which fields one has and the other lacks.

use serde_json::Value;

/// The fields that differ, as paths such as `spec.hosted`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Fields of this version that the cluster lacks.
    pub missing: Vec<String>,
    /// Fields of the cluster that this version does not know.
    pub unknown: Vec<String>,
}

/// Compares the schemas of two definitions.
pub fn compare(ours: &Value, installed: &Value) -> Differences {
    let (ours, installed) = (fields(ours), fields(installed));
    Differences {
        missing: ours.iter().filter(|field| !installed.contains(field)).cloned().collect(),
        unknown: installed.iter().filter(|field| !ours.contains(field)).cloned().collect(),
    }
}

/// The paths of all fields of a definition's first version.
fn fields(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(schema) = definition.pointer("/spec/versions/0/schema/openAPIV3Schema") {
        collect(schema, "", &mut found);
    }
    found
}

fn collect(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        // Of the API server.
        if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(property, &path, found);
        found.push(path);
    }
    if let Some(items) = schema.get("items") {
        collect(items, &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(spec: &Value) -> Value {
        let properties = json!({"metadata": {}, "spec": {"properties": spec}});
        json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": properties}}}]}})
    }

    #[test]
    fn fields_that_only_one_has() {
        let ours = definition(&json!({"a": {"items": {"properties": {"b": {}}}}, "c": {}}));
        let installed = definition(&json!({"a": {"items": {"properties": {"d": {}}}}, "c": {}}));
        let expected =
            Differences { missing: vec!["spec.a[].b".into()], unknown: vec!["spec.a[].d".into()] };
        assert_eq!(compare(&ours, &installed), expected);
        assert_eq!(compare(&ours, &ours), Differences::default());
    }
}
