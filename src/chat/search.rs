//! Finding what was said, in the rooms that somebody is in.

use std::time::{Duration, Instant};

use super::{Caller, Chat, ChatError, Result};
use crate::{
    names,
    store::search::{Found, Search, SearchCursor},
    types::{RoomId, Timestamp},
    words::query::Query,
};

/// A page of a search, as somebody asks for it.
pub struct Wanted {
    pub room: Option<RoomId>,
    /// A username, in any spelling that folds to it.
    pub from: Option<String>,
    /// Both included.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub with_link: bool,
    pub after: Option<SearchCursor>,
    pub limit: usize,
}

impl Chat {
    /// What can be looked for, and what the text of a search says of it.
    pub fn check_search(&self, text: &str) -> Result<Query> {
        let limits = &self.config.limits;
        let invalid = |msg: String| ChatError::Invalid { field: "q", msg };
        if text.trim().is_empty() {
            return Err(invalid("Say what to look for.".into()));
        }
        if text.chars().count() > limits.search_chars {
            self.metrics.bound_hit("limits.search_chars");
            return Err(invalid(format!("Look for at most {} characters (limits.search_chars).", limits.search_chars)));
        }
        Query::parse(text, limits.search_words).map_err(|_| {
            self.metrics.bound_hit("limits.search_words");
            invalid(format!("Look for at most {} words (limits.search_words).", limits.search_words))
        })
    }

    pub async fn search(&self, caller: &Caller, query: Query, wanted: Wanted) -> Result<Found> {
        let began = Instant::now();
        let Wanted { room, from, since, until, with_link, after, limit } = wanted;
        let from = match from {
            None => None,
            // Nobody of another name has said anything.
            Some(name) => match self.store.user_by_name(&names::fold(&name)).await? {
                Some(user) => Some(user.user_id),
                None => return Ok(Found::default()),
            },
        };
        let limits = &self.config.limits;
        let search = Search {
            user: caller.user_id,
            query,
            room,
            from,
            since,
            until,
            with_link,
            after,
            limit,
            page_bytes: limits.page_bytes,
            deadline: began + Duration::from_millis(limits.search_ms),
        };
        let deadline = search.deadline;
        let found = self.store.search(search).await?;
        if found.next.is_some() && found.hits.len() < limit && Instant::now() >= deadline {
            self.metrics.bound_hit("limits.search_ms");
        }
        self.metrics.search_seconds.observe(began.elapsed().as_secs_f64());
        Ok(found)
    }
}
