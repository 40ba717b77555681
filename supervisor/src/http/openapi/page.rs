//! The page at `/swagger-ui/`: the operations in groups, without a script.

use std::fmt::Write as _;

use super::access;
use super::operations::{Answer, Body, Operation};

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>WAVS node: API</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
code{font-family:ui-monospace,monospace}.m{font-weight:700;text-transform:uppercase}small{color:#666}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}td,th{border-color:#444}small{color:#999}}</style>";

/// The whole page. Everything in it is constant, so nothing has to be escaped.
pub(super) fn render(operations: &[&Operation]) -> String {
    let mut page = String::from(HEAD);
    page.push_str("<h1>WAVS node: API</h1><p>For programs: <a href=/api-docs/openapi.json><code>/api-docs/openapi.json</code></a>.");
    page.push_str("<table><tr><th>Method<th>Path<th>What<th>Body<th>Answer<th>Access");
    for operation in operations {
        let query = match operation.query {
            [] => String::new(),
            names => format!("<br><small>?{}</small>", names.join(" &amp; ")),
        };
        // Writing to a String does not fail.
        let _ = write!(
            page,
            "<tr><td class=m>{}<td><code>{}</code>{query}<td>{}<td>{}<td>{}<td>{}",
            operation.method,
            operation.path,
            operation.summary,
            body(operation.body),
            answer(operation.answer),
            access(operation).0,
        );
    }
    page.push_str("</table>");
    page
}

fn body(body: Body) -> &'static str {
    match body {
        Body::None => "",
        Body::Json(name) => name,
        Body::Bytes => "bytes",
    }
}

fn answer(answer: Answer) -> String {
    match answer {
        Answer::Json(name) => name.to_owned(),
        Answer::Page(name) => format!("page of {name}"),
        Answer::Accepted(name) => format!("202, {name}"),
        Answer::Empty => "204".to_owned(),
        Answer::Nothing => "200".to_owned(),
        Answer::Text => "text".to_owned(),
        Answer::Bytes => "bytes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::OPERATIONS;
    use super::*;

    #[test]
    fn the_page_lists_every_operation_and_loads_nothing() {
        let page = render(&OPERATIONS.iter().collect::<Vec<_>>());
        for operation in OPERATIONS {
            assert!(
                page.contains(&format!("<code>{}</code>", operation.path)),
                "{}",
                operation.path
            );
        }
        for outside in ["<script", "http://", "https://", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
