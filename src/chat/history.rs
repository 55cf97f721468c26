//! Reading what was said: the log as it is, or its messages in their latest form.

use std::sync::Arc;

use bytes::Bytes;

use super::{Chat, Result, room::Room};
use crate::{
    event::{Event, folded::FoldedPage},
    store::Page,
    types::{Ordinal, Seq},
};

/// A stretch of a log as it goes on the wire.
pub struct History {
    /// JSON objects, ascending by seq.
    pub bodies: Vec<Bytes>,
    pub head: Seq,
    /// Where the next older and the next newer page begin; `None` at the end.
    pub next_before: Option<Seq>,
    pub next_after: Option<Seq>,
}

/// What becomes of deleted messages on a page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    LeftOut,
    /// In their erased form.
    Shown,
}

impl Chat {
    /// The log as it is.
    pub async fn events(self: &Arc<Self>, room: &Arc<Room>, page: Page) -> Result<History> {
        // Before the page: all of the log up to this head is stored, so the page lacks nothing of it. A head that is read
        // afterwards may lie beyond the page, and who goes on from there misses what lies between.
        let head = room.head();
        let mut end = head;
        let mut events = self.store.events(room.id, page).await?;
        let read = events.len();
        // Whether anything follows a page that goes forward and is full is told by the head, and this node's may be old.
        if page.after.is_some()
            && read >= page.limit
            && events.last().is_some_and(|last| last.seq >= end)
            && self.store.shared().is_some()
        {
            self.look_again(room).await;
            end = room.head();
        }
        cut(&mut events, page, self.config.limits.page_bytes, |event: &Event| event.body().len());
        let cut_short = page.after.is_some() && events.len() < read;
        let last = events.last().map(|last| (last.seq, cut_short || last.seq < end));
        let (last, goes_on) = last.unwrap_or_default();
        Ok(History {
            // Who is told to go on from the page's end misses nothing by a newer head.
            head: if goes_on { end } else { last.max(head) },
            next_before: events.first().filter(|first| first.seq > 1).map(|first| first.seq),
            next_after: goes_on.then_some(last),
            bodies: events.into_iter().map(|event| event.frame.body()).collect(),
        })
    }

    /// The page that has the event at `seq` in its middle.
    pub async fn page_around(&self, room: &Arc<Room>, seq: Seq, page: Page) -> Result<Page> {
        let older = Page { before: Some(seq.saturating_add(1)), limit: page.limit / 2 + 1, ..page };
        let older = self.store.messages(room.id, older, room.head()).await?;
        let first = older.messages.first().map_or(0, |first| first.event.seq - 1);
        Ok(Page { after: Some(first), ..page })
    }

    /// Its messages, each in its latest form at exactly the head that is told. Deleted ones that are left out make a page short.
    pub async fn messages(&self, room: &Arc<Room>, page: Page, deleted: Deleted) -> Result<History> {
        let FoldedPage { head, count, messages } = self.store.messages(room.id, page, room.head()).await?;
        let mut shown: Vec<(Seq, Ordinal, Option<Bytes>)> = Vec::with_capacity(messages.len());
        for message in messages {
            let is_shown = deleted == Deleted::Shown || !message.is_deleted();
            shown.push((message.event.seq, message.event.ordinal, is_shown.then(|| message.body())));
        }
        cut(&mut shown, page, self.config.limits.page_bytes, |(_, _, body)| body.as_ref().map_or(0, Bytes::len));
        Ok(History {
            head,
            next_before: shown.first().filter(|(_, ordinal, _)| *ordinal > 1).map(|(seq, ..)| *seq),
            next_after: shown.last().filter(|(_, ordinal, _)| *ordinal < count).map(|(seq, ..)| *seq),
            bodies: shown.into_iter().filter_map(|(_, _, body)| body).collect(),
        })
    }
}

/// Shortens a page at the end that is farther from where it was asked for, so that the rest is the next page.
fn cut<T>(items: &mut Vec<T>, page: Page, most: usize, len: impl Fn(&T) -> usize) {
    let fits = |item: &T, bytes: &mut usize| {
        let first = *bytes == 0;
        *bytes += len(item);
        first || *bytes <= most
    };
    let mut bytes = 0;
    if page.after.is_some() {
        let fitting = items.iter().take_while(|item| fits(item, &mut bytes)).count();
        items.truncate(fitting);
    } else {
        let fitting = items.iter().rev().take_while(|item| fits(item, &mut bytes)).count();
        items.drain(..items.len() - fitting);
    }
}
