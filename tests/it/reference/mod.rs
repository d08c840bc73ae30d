//! The pages of reference that list every field: of the custom resources, from their definitions, and
//! of the REST API, from its OpenAPI description.

mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::generated::{check, root};
use schema::{Schema, one_line, plain, wrapped};

/// Named like this so that `make generate` writes it.
#[test]
fn generated_reference_of_fields() {
    let mut page = String::from(
        "# Fields of the custom resources\n\n\
         Written by `make generate` from the definitions in [crds](../crds/userpools.yaml); `kubectl\n\
         explain` shows the same. `[]` stands for each item of a list, `.*` for each entry of a map.\n\
         What is indented below a field is a rule that the API server checks.\n",
    );
    for (_, yaml) in anon_operator::testing::crd::generate::files().unwrap() {
        let definition: Value = serde_saphyr::from_str(&yaml).unwrap();
        let version = &definition["spec"]["versions"][0];
        let schema = Schema::new(&version["schema"]["openAPIV3Schema"], &definition);
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let description = one_line(schema.schema["description"].as_str().unwrap());
        write!(page, "\n## {kind}\n\n{}", wrapped("", &description)).unwrap();
        for part in ["spec", "status"] {
            let field = schema.child(&schema.schema["properties"][part]);
            writeln!(page, "\n### {part} of {kind}\n").unwrap();
            for rule in schema.rules().into_iter().filter(|_| part == "spec").chain(field.rules()) {
                page.push_str(&wrapped("- ", &format!("Rule: {rule}")));
            }
            field.list(part, &mut page);
        }
    }
    check(&root().join("docs/fields.md"), &page);
}

/// The parameters of an operation, in its path, its query and its header.
fn parameters(operation: Schema<'_>) -> String {
    let mut text = String::new();
    for parameter in operation.schema["parameters"].as_array().into_iter().flatten() {
        let parameter = operation.child(parameter).schema;
        let facts = operation.child(&parameter["schema"]).facts();
        let (name, place) = (plain(&parameter["name"]), plain(&parameter["in"]));
        let required = if parameter["required"] == true { ", required" } else { "" };
        let description = parameter["description"].as_str().map(|it| format!(": {}", one_line(it)));
        let head = format!(
            "**`{name}`** (in the {place}, {facts}{required}){}",
            description.unwrap_or_default()
        );
        text.push_str(&wrapped("- ", &head));
    }
    text
}

/// The body of a request or a response: its media type, what it is, and its members; for each of
/// its alternatives.
fn body(content: Schema<'_>) -> String {
    let mut text = String::new();
    for (media_type, media) in content.schema["content"].as_object().into_iter().flatten() {
        let schema = content.child(&media["schema"]);
        let variants = schema.variants();
        let variants = if variants.is_empty() { vec![schema] } else { variants };
        for (number, variant) in variants.into_iter().enumerate() {
            let description = variant.schema["description"].as_str().unwrap_or_default();
            let begin = if number == 0 { "" } else { "\nOr " };
            let head = one_line(&format!("`{media_type}`. {description}"));
            write!(text, "{begin}{}", wrapped("", &head)).unwrap();
            let mut members = String::new();
            variant.list("", &mut members);
            if !members.is_empty() {
                text.push('\n');
                text.push_str(&members);
            }
        }
    }
    text
}

/// The responses of an operation. Errors are listed by their status alone; `statuses` collects what
/// they mean.
fn responses(operation: Schema<'_>, statuses: &mut BTreeMap<String, String>) -> String {
    let (mut text, mut errors) = (String::new(), Vec::new());
    for (status, declared) in operation.schema["responses"].as_object().unwrap() {
        let response = operation.child(declared);
        let description = one_line(&plain(&response.schema["description"]));
        let schema = &response.schema["content"]["application/json"]["schema"]["$ref"];
        if schema == "#/components/schemas/Error" {
            errors.push(status.as_str());
            // Some operations have a text of their own.
            if declared.get("$ref").is_some() {
                statuses.insert(status.clone(), description);
            }
            continue;
        }
        let body = body(response);
        let body = if body.is_empty() { wrapped("", &description) } else { body };
        write!(text, "\n**Response {status}**: {body}").unwrap();
    }
    if !errors.is_empty() {
        writeln!(text, "\n**Errors**: {}.", errors.join(", ")).unwrap();
    }
    text
}

#[test]
fn generated_reference_of_the_rest_api() {
    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
    let document = anon_operator::testing::server::openapi_document();
    let document = serde_json::to_value(document).unwrap();
    let mut page = String::from(
        "# Requests and responses\n\n\
         Written by `make generate` from [openapi.json](openapi.json), which the operator serves at\n\
         `/openapi.json`. [api.md](api.md) describes how the operations are used. Errors have one\n\
         shape, at the end of this page.\n",
    );
    let mut statuses = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| operations.get(method).is_some()) {
            let operation = Schema::new(&operations[method], &document);
            // For gateways: the same with every method.
            if path.starts_with("/v1/auth/") && *method != "get" {
                continue;
            }
            let summary = plain(&operation.schema["summary"]);
            writeln!(page, "\n## {} {path}\n", method.to_uppercase()).unwrap();
            let description = operation.schema["description"].as_str().unwrap_or_default();
            let text = one_line(&format!("{}. {description}", summary.trim_end_matches('.')));
            page.push_str(&wrapped("", &text));
            let parameters = parameters(operation);
            if !parameters.is_empty() {
                write!(page, "\n**Parameters**\n\n{parameters}").unwrap();
            }
            if let Some(request) = operation.schema.get("requestBody") {
                let request = body(operation.child(request));
                write!(page, "\n**Request**: {request}").unwrap();
            }
            page.push_str(&responses(operation, &mut statuses));
        }
    }
    page.push_str("\n## Errors\n\n");
    Schema::new(&document["components"]["schemas"]["Error"], &document).list("", &mut page);
    page.push('\n');
    for (status, description) in statuses {
        page.push_str(&wrapped("- ", &format!("**{status}**: {description}.")));
    }
    check(&root().join("docs/rest-reference.md"), &page);
}
