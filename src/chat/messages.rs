//! Changing what was said: editing and deleting, and what a message said before.
//!
//! Whoever changes a message reads it first. The room's writer then takes the change only if nobody has changed the message since
//! ([`super::touched`]), on any node; else it is read again. So of two who change one message at the same moment the second decides
//! by what the first has done: an edit that meets a deletion is refused.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Chat, ChatError, Result,
    room::Room,
    work::{Actor, Posted, Work},
};
use crate::{
    config::EditHistory,
    event::{Event, Target, folded::Folded},
    types::{MessageId, RoomKind, Seq, Timestamp, UserId},
};

/// Who is overtaken so often is refused; each time somebody else has changed the message.
const TRIES: usize = 20;

/// A change that is durable; `None`: there was nothing to change.
pub struct Changed {
    pub seq: Option<Seq>,
    pub at: Timestamp,
    /// It was there already: this is its first acknowledgement again.
    pub duplicate: bool,
    /// And the message has been deleted since.
    pub deleted: bool,
}

/// One of the texts that a message has had.
pub struct Text {
    pub content: String,
    pub at: Timestamp,
    pub seq: Seq,
}

impl From<Posted> for Changed {
    fn from(posted: Posted) -> Self {
        let Posted { message_id: _, seq, sent_at, duplicate, deleted } = posted;
        Self { seq: Some(seq), at: sent_at, duplicate, deleted }
    }
}

impl Changed {
    fn nothing(at: Timestamp) -> Self {
        Self { seq: None, at, duplicate: false, deleted: false }
    }
}

fn target(message: &Folded) -> Target {
    let Event { event_id, seq, ordinal, .. } = message.event;
    Target { message: event_id, seq, ordinal }
}

impl Chat {
    /// A message as it stands, and the head at which it certainly stood so.
    async fn message_at(&self, room: &Room, id: MessageId) -> Result<(Folded, Seq)> {
        let head = room.head();
        let found = self.store.message(room.id, id, head).await?;
        Ok((found.ok_or(ChatError::NoSuchMessage)?, head))
    }

    async fn living(&self, room: &Room, id: MessageId) -> Result<(Folded, Seq)> {
        let (message, head) = self.message_at(room, id).await?;
        if message.is_deleted() { Err(ChatError::Deleted) } else { Ok((message, head)) }
    }

    /// The JSON of a message in its latest form; of a deleted one its erased form.
    pub async fn message(&self, room: &Room, id: MessageId) -> Result<Bytes> {
        Ok(self.message_at(room, id).await?.0.body())
    }

    /// What has passed [`Chat::check_post`].
    pub async fn edit(
        self: &Arc<Self>,
        room: &Arc<Room>,
        by: &Actor,
        id: MessageId,
        content: String,
        client_id: Option<Arc<str>>,
    ) -> Result<Changed> {
        for _ in 0..TRIES {
            if let Some(client_id) = &client_id
                && let Some(done) = self.done_before(room, by, client_id, id, &content).await?
            {
                return Ok(done);
            }
            let (message, judged_at) = self.living(room, id).await?;
            self.check_edit(&message, by)?;
            if message.spoken().content().is_some_and(|text| text == content) {
                return Ok(Changed::nothing(message.edited_at().unwrap_or(message.event.sent_at)));
            }
            if message.form.edits + 1 >= self.config.limits.edits as u64 {
                self.metrics.bound_hit("limits.edits");
                return Err(ChatError::TooManyEdits);
            }
            let (of, erases) = (target(&message), self.config.rooms.edit_history == EditHistory::Off);
            let work = Work::Edit { of, content: content.clone(), client_id: client_id.clone(), erases, judged_at };
            match self.ask_as(room, by.clone(), work).await {
                Err(ChatError::Overtaken) => {}
                result => return result.map(Changed::from),
            }
        }
        Err(ChatError::Overtaken)
    }

    /// The first acknowledgement of an edit that is sent again.
    async fn done_before(
        &self,
        room: &Room,
        by: &Actor,
        client_id: &Arc<str>,
        id: MessageId,
        content: &str,
    ) -> Result<Option<Changed>> {
        let found = self.store.find_posts(room.id, vec![(by.user, client_id.clone())]).await?;
        let Some(first) = found.into_iter().next() else { return Ok(None) };
        let deleted = first.is_erased();
        let is_it = first.kind.target().is_some_and(|of| of.message == id);
        if !is_it || !(deleted || first.content().is_some_and(|text| text == content)) {
            return Err(super::rules::REUSED);
        }
        self.metrics.duplicate_posts.inc();
        Ok(Some(Changed { seq: Some(first.seq), at: first.sent_at, duplicate: true, deleted }))
    }

    fn check_edit(&self, message: &Folded, by: &Actor) -> Result<()> {
        let most = self.config.rooms.edit_secs;
        if message.event.sender != by.user {
            return Err(ChatError::Forbidden("Only its sender edits a message."));
        }
        if most > 0 && message.event.sent_at.plus_secs(most) < Timestamp::now() {
            return Err(ChatError::Forbidden("This message is too old to be edited (rooms.edit_secs)."));
        }
        Ok(())
    }

    pub async fn delete(self: &Arc<Self>, room: &Arc<Room>, by: &Actor, id: MessageId) -> Result<Changed> {
        self.erase(room, by, id, false).await
    }

    /// The same; `for_good`: by an account that is being deleted.
    pub(super) async fn erase(
        self: &Arc<Self>,
        room: &Arc<Room>,
        by: &Actor,
        id: MessageId,
        for_good: bool,
    ) -> Result<Changed> {
        for _ in 0..TRIES {
            let (message, judged_at) = self.message_at(room, id).await?;
            let own = message.event.sender == by.user;
            if message.is_deleted() {
                return Ok(Changed::nothing(message.event.sent_at));
            }
            let work = Work::Delete { of: target(&message), own, for_good: for_good && own, judged_at };
            match self.ask_as(room, by.clone(), work).await {
                Err(ChatError::Overtaken) => {}
                result => return result.map(Changed::from),
            }
        }
        Err(ChatError::Overtaken)
    }

    /// What a message has said, oldest first, the first `limit` after the one at `after`.
    pub async fn texts(
        &self,
        room: &Room,
        reader: UserId,
        id: MessageId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Text>> {
        let moderates = || room.role_of(reader).is_some_and(|role| role.may_moderate());
        let hidden = self.config.rooms.edit_history == EditHistory::Moderators;
        if hidden && room.kind == RoomKind::Group && !moderates() {
            let why = "Only owners and moderators see what a message said before (rooms.edit_history).";
            return Err(ChatError::Forbidden(why));
        }
        let (message, _) = self.living(room, id).await?;
        let texts = self.store.texts(room.id, message.event.seq, after, limit).await?;
        let text = |event: Event| {
            let content = event.content().filter(|_| !event.is_erased())?;
            Some(Text { content, at: event.sent_at, seq: event.seq })
        };
        Ok(texts.into_iter().filter_map(text).collect())
    }
}
