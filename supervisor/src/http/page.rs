//! Paging of lists: `?limit=&cursor=` and `{"items":[…],"next_cursor":…}`.

use serde::Serialize;

use super::problem::Problem;

/// Items of a page when the client does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Most items of a page.
const MAX_LIMIT: u32 = 500;

/// One page.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// Checks a limit.
///
/// # Errors
/// 400 outside of 1 to 500.
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => Err(Problem::parameter(format!(
            "limit is {limit}; it must be 1 to {MAX_LIMIT}"
        ))),
    }
}

/// A cursor that is a position in a record.
///
/// # Errors
/// 400 when it is not one of ours.
pub fn position(cursor: Option<&str>) -> Result<Option<u64>, Problem> {
    optional("cursor", cursor)
}

/// A query parameter that names one of a closed set, if it is there.
///
/// # Errors
/// 400 with the names of the set.
pub fn one_of<T>(
    name: &str,
    text: Option<&str>,
    names: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let wrong = |text: &str| Problem::parameter(format!("{name} is {text}; it must be one of {}", names.join(", ")));
    text.map(|text| parse(text).ok_or_else(|| wrong(text))).transpose()
}

/// A query parameter as `T`, if it is there.
///
/// # Errors
/// 400 when it does not parse.
pub fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|cause| Problem::parameter(format!("{name} is {text}: {cause}")))
    };
    text.map(parse).transpose()
}

impl<T> Page<T> {
    /// The same page with its items as clients see them.
    #[must_use]
    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(view).collect(),
            next_cursor: self.next_cursor,
        }
    }

    /// The page for `limit` items out of `limit + 1` that were asked for: the surplus one only says that there are more.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }
}
