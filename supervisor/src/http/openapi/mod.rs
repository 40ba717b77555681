//! The API described: `/api-docs/openapi.json`, an OpenAPI 3.1 document, and `/swagger-ui/`, the same for people.
//!
//! Both are written from [`operations`]; who may call what comes from the rules that are enforced ([`access`]), and every operation
//! names the one form of errors. The page needs no script and nothing from elsewhere.

pub mod operations;
mod page;
mod schemas;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value, json};

use super::access::{Class, class_of};
use super::api::Api;
use operations::{Answer, Body, DEVELOPMENT, OPERATIONS, Operation};

/// What the page may load: its own style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document.
pub async fn show(State(api): State<Api>) -> Json<Value> {
    Json(document(api.settings().dev_endpoints))
}

/// The page.
pub async fn page(State(api): State<Api>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, page::render(&served(api.settings().dev_endpoints))).into_response()
}

/// The way to the page.
pub async fn to_page() -> Redirect {
    Redirect::permanent("/swagger-ui/")
}

/// The operations that this node serves.
fn served(dev_endpoints: bool) -> Vec<&'static Operation> {
    let development = DEVELOPMENT.iter().filter(|_| dev_endpoints);
    OPERATIONS.iter().chain(development).collect()
}

/// The whole document.
#[must_use]
pub fn document(dev_endpoints: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in served(dev_endpoints) {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "WAVS node",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearerAuth": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of scope full may do everything that is not for the admin socket; one of scope read may read.",
                },
            },
            "schemas": schemas::all(),
            "responses": {
                "Problem": {
                    "description": "What happened, to what, and what to do.",
                    "content": {"application/problem+json": {"schema": schema("Problem")}},
                },
            },
        },
    })
}

/// Who may call an operation.
fn class(operation: &Operation) -> Class {
    let method = match operation.method {
        "get" => Method::GET,
        "delete" => Method::DELETE,
        _ => Method::POST,
    };
    class_of(&method, operation.path)
}

/// The name of a class, and the scopes of tokens that open it.
fn access(operation: &Operation) -> (&'static str, Option<&'static [&'static str]>) {
    match class(operation) {
        Class::Open => ("open", None),
        Class::Read => ("read", Some(&["read", "full"])),
        Class::Signer => ("write", Some(&["read", "full"])),
        Class::Write => ("write", Some(&["full"])),
        Class::Admin => ("admin socket only", None),
    }
}

fn describe(operation: &Operation) -> Value {
    let (class, scopes) = access(operation);
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(operation.query.iter().map(|name| {
        let kind = match *name {
            "limit" => json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
            "raw" | "purge" => json!({"type": "boolean", "default": false}),
            _ => json!({"type": "string"}),
        };
        json!({"name": name, "in": "query", "required": false, "schema": kind})
    }));
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "description": format!("Access: {class}."),
        "parameters": parameters,
        "responses": responses(operation.answer),
        // An empty requirement: peers on this machine need no token as long as none is configured, or for reading.
        "security": scopes.map_or_else(|| json!([]), |scopes| json!([{"bearerAuth": scopes}, {}])),
    });
    let content = match operation.body {
        Body::None => return described,
        Body::Json(name) => json!({"application/json": {"schema": schema(name)}}),
        Body::Bytes => json!({"application/wasm": {"schema": {"type": "string", "format": "binary"}}}),
    };
    described["requestBody"] = json!({"required": true, "content": content});
    described
}

fn responses(answer: Answer) -> Value {
    let json_of = |schema: Value| json!({"description": "Done.", "content": {"application/json": {"schema": schema}}});
    let (status, good) = match answer {
        Answer::Json(name) => ("200", json_of(schema(name))),
        Answer::Accepted(name) => ("202", json_of(schema(name))),
        Answer::Page(name) => ("200", json_of(page_of(name))),
        Answer::Empty => ("204", json!({"description": "Done."})),
        Answer::Nothing => ("200", json!({"description": "Done."})),
        Answer::Text => (
            "200",
            json!({"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}),
        ),
        Answer::Bytes => (
            "200",
            json!({"description": "Done.", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}),
        ),
    };
    json!({status: good, "default": {"$ref": "#/components/responses/Problem"}})
}

fn page_of(name: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": schema(name)},
            "next_cursor": {"type": ["string", "null"], "description": "Give it back as `cursor` for the next page."},
        },
    })
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// Unique, and a plain word.
fn operation_id(operation: &Operation) -> String {
    let mut id = operation.method.to_owned();
    for segment in operation.path.split('/') {
        id.push('_');
        id.extend(segment.chars().filter(char::is_ascii_alphanumeric));
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Method and path of every route, read from where they are declared.
    fn routed() -> BTreeSet<(String, String)> {
        let source = include_str!("../routes/mod.rs");
        let mut routes = BTreeSet::new();
        for route in source.split(".route(").skip(1) {
            let path = route.split('"').nth(1).unwrap();
            let handlers = route.split('"').nth(2).unwrap().split(";\n").next().unwrap();
            for method in ["get", "post", "delete"] {
                if handlers.contains(&format!("{method}(")) {
                    routes.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: BTreeSet<_> = served(true)
            .into_iter()
            .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
            .collect();
        assert_eq!(described, routed());
        assert_eq!(described.len(), OPERATIONS.len() + DEVELOPMENT.len(), "each once");
    }

    #[test]
    fn every_reference_leads_somewhere_and_ids_are_unique() {
        let document = document(true);
        let text = document.to_string();
        for reference in text.split("\"#/").skip(1) {
            let pointer = format!("/{}", reference.split('"').next().unwrap());
            assert!(document.pointer(&pointer).is_some(), "{pointer} is missing");
        }
        let ids: Vec<_> = served(true).into_iter().map(operation_id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        let development = |document: &Value| document["paths"].get("/dev/chains").is_some();
        assert!(development(&document) && !development(&super::document(false)));
    }

    #[test]
    fn access_is_what_is_enforced() {
        let document = document(true);
        let security = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
        assert_eq!(security("/info", "get"), json!([]));
        assert_eq!(security("/services", "post"), json!([{"bearerAuth": ["full"]}, {}]));
        assert_eq!(
            security("/services", "get"),
            json!([{"bearerAuth": ["read", "full"]}, {}])
        );
        assert_eq!(
            document["paths"]["/v1/logs"]["get"]["description"],
            "Access: admin socket only."
        );
    }
}
