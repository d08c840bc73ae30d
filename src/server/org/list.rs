//! Lists, and the range of a list that a request asks for.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use data_encoding::BASE64URL_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::server::body::Query;
use crate::server::{ApiError, ApiState};

/// The maximum number of items that a request may ask for.
const MAX_LIMIT: usize = 500;

/// The objects of a kind: all of them, or those of a range.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// The kind of the items.
    resource: &'static str,
    items: Vec<T>,
    /// There are more items: send this as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// The list with its items in another form.
    pub fn map<U>(self, form: impl Fn(T) -> U) -> List<U> {
        let items = self.items.into_iter().map(form).collect();
        List { resource: self.resource, items, next_cursor: self.next_cursor }
    }
}

/// The query of a list.
#[derive(Deserialize, JsonSchema)]
pub struct ListQuery {
    /// The maximum number of items. By default, all.
    #[schemars(with = "Option<u32>", range(min = 1, max = MAX_LIMIT))]
    limit: Option<String>,
    /// `nextCursor` of the response before.
    cursor: Option<String>,
}

/// The range of a list.
#[derive(Debug, Default)]
pub struct Range {
    limit: Option<usize>,
    /// The key of the last item of the range before.
    after: Option<String>,
}

impl Range {
    fn parse(query: ListQuery) -> Result<Self, ApiError> {
        let limit = query.limit.map(|limit| {
            let limit = limit.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                let message = format!("`limit` must be an integer from 1 to {MAX_LIMIT}");
                ApiError::invalid_field("limit", message)
            })
        });
        let after = query.cursor.map(|cursor| {
            let key = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
            key.and_then(|key| String::from_utf8(key).ok()).ok_or_else(|| {
                let message = "`cursor` must be the `nextCursor` of another response";
                ApiError::invalid_field("cursor", message)
            })
        });
        Ok(Self { limit: limit.transpose()?, after: after.transpose()? })
    }

    /// The items of the range, in the order of `key`, which must be unique. Items that are created
    /// or deleted between two requests neither hide nor repeat others.
    pub fn cut<T>(
        self,
        resource: &'static str,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> List<T> {
        if self.limit.is_some() || self.after.is_some() {
            items.sort_by_cached_key(&key);
        }
        if let Some(after) = self.after {
            items.retain(|item| key(item) > after);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|item| BASE64URL_NOPAD.encode(key(item).as_bytes()));
        List { resource, items, next_cursor }
    }
}

impl FromRequestParts<ApiState> for Range {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Query(query) = Query::<ListQuery>::from_request_parts(parts, state).await?;
        Self::parse(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: Option<&str>, cursor: Option<String>) -> Result<Range, ApiError> {
        Range::parse(ListQuery { limit: limit.map(str::to_owned), cursor })
    }

    fn cut(range: Range, items: &[&str]) -> (Vec<String>, Option<String>) {
        let items = items.iter().map(|&item| item.to_owned()).collect();
        let list = range.cut("Text", items, String::clone);
        (list.items, list.next_cursor)
    }

    #[test]
    fn cursors_lead_through_a_list_that_changes() {
        let (items, next) = cut(range(Some("2"), None).unwrap(), &["c", "a", "b", "d"]);
        assert_eq!(items, ["a", "b"]);
        // `b` was deleted, and `a1` was created.
        let (items, next) = cut(range(Some("2"), next).unwrap(), &["a", "a1", "e", "c", "d"]);
        assert_eq!(items, ["c", "d"]);
        let (items, next) = cut(range(Some("2"), next).unwrap(), &["a", "a1", "e", "c", "d"]);
        assert_eq!((items, next), (vec!["e".to_owned()], None));
    }

    #[test]
    fn without_a_limit_the_list_is_complete_and_in_its_own_order() {
        let (items, next) = cut(range(None, None).unwrap(), &["c", "a"]);
        assert_eq!((items, next), (vec!["c".to_owned(), "a".to_owned()], None));
    }

    #[test]
    fn rejects_limits_out_of_range_and_invented_cursors() {
        for limit in ["0", "501", "-1", "1.5", "", "many"] {
            assert!(range(Some(limit), None).is_err(), "{limit}");
        }
        assert!(range(Some("500"), None).is_ok());
        for cursor in ["=", "_w", "no cursor"] {
            assert!(range(None, Some(cursor.to_owned())).is_err(), "{cursor}");
        }
    }
}
