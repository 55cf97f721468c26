//! Changes outside the log of a room: users, logins, new rooms, read marks. Each is stored, and then told to whom it concerns.
//!
//! A change runs in a task of its own. The client that asked for it may leave, and its request be dropped at any `.await`;
//! what is stored is told all the same. So the store's writing methods are called here and in `writer.rs`, whose tasks
//! belong to rooms, and nowhere else in the domain (a test holds that).
//!
//! Where the store does not know whether it wrote, the caller is told so at once, and the change looks for what is there
//! until the store answers: the outcome is told too.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Chat, ChatError, Result};
use crate::{
    bus::{Ended, Hint},
    event::{Kind, fold::ReadMark},
    store::{
        BlockSet, Device, NewRoom, RefreshKey, Renewal, RoomCreated, Rotation, SessionRecord, StoreError, UserChange,
        UserChanged, UserRecord,
    },
    types::{RoomId, Seq, SessionId, Timestamp, UserId},
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Ever longer pauses between tries, for so long in all.
pub(super) struct Patience {
    next: Duration,
    until: Instant,
}

impl Patience {
    pub fn of_secs(secs: u64) -> Self {
        Self { next: FIRST_WAIT, until: Instant::now() + Duration::from_secs(secs) }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() > self.until
    }

    /// `false`, at once: another try would come too late.
    pub async fn pause(&mut self) -> bool {
        if Instant::now() + self.next > self.until {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_WAIT);
        true
    }
}

impl Chat {
    /// Runs a change to its end, whoever stops waiting for it.
    pub(super) async fn to_its_end<T, F>(self: &Arc<Self>, change: impl FnOnce(Arc<Self>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.at_work.spawn(change(self.clone())).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ChatError::Store(StoreError::Unavailable("the server is stopping".into()))),
            },
        }
    }

    /// After a write of unknown outcome: `look` reads what is there and tells it. It is tried until the store answers, for
    /// `rooms.post_secs` at most.
    fn look_later<F>(self: &Arc<Self>, look: impl Fn(Arc<Self>) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send,
    {
        let (chat, mut patience) = (self.clone(), Patience::of_secs(self.config.rooms.post_secs));
        self.at_work.spawn(async move {
            while let Err(error) = look(chat.clone()).await {
                if !patience.pause().await {
                    tracing::warn!(%error, "whether a change was stored could not be found out; it may not have been told");
                    return;
                }
            }
        });
    }

    pub(super) async fn make_room(self: &Arc<Self>, room: NewRoom) -> Result<RoomCreated> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let (id, joined, invited) = (room.room_id, joined_by(&room), invited_by(&room));
            let made = chat.store.create_room(room).await;
            match &made {
                Ok(RoomCreated::Created) => {
                    chat.tell_joined(id, &joined);
                    for user in invited {
                        chat.bus.publish(Hint::Invited { room: id, user });
                    }
                }
                Err(StoreError::Unavailable(_)) => chat.look_later(move |chat| {
                    let joined = joined.clone();
                    async move {
                        if chat.store.room(id).await?.is_some() {
                            chat.tell_joined(id, &joined);
                        }
                        Ok(())
                    }
                }),
                Ok(RoomCreated::Exists(_)) | Err(_) => {}
            }
            Ok(made?)
        })
        .await
    }

    fn tell_joined(&self, room: RoomId, joined: &[(UserId, Seq)]) {
        for &(user, seq) in joined {
            self.bus.publish(Hint::MembershipChanged { room, user, seq, added: true });
        }
    }

    pub(super) async fn store_block(self: &Arc<Self>, user: UserId, other: UserId, blocked: bool) -> Result<BlockSet> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let set = chat.store.set_block(user, other, blocked, chat.config.limits.blocks_per_user).await;
            // Also where nobody knows whether it was written: everybody looks, this node before it answers.
            chat.look_at_block(user, other).await;
            chat.bus.publish(Hint::Blocked { user, other });
            Ok(set?)
        })
        .await
    }

    pub(super) async fn store_hidden(self: &Arc<Self>, room: RoomId, user: UserId, hidden: bool) -> Result<()> {
        let stored =
            self.to_its_end(async move |chat: Arc<Self>| Ok(chat.store.set_hidden(room, user, hidden).await?));
        if stored.await? { Ok(()) } else { Err(ChatError::NoSuchRoom) }
    }

    /// `None` for somebody who is not a member.
    pub(super) async fn move_mark(self: &Arc<Self>, room: RoomId, user: UserId, to: Seq) -> Result<Option<ReadMark>> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let moved = chat.store.set_read(room, user, to).await;
            match &moved {
                Ok(Some(mark)) => chat.bus.publish(Hint::ReadMoved { room, user, seq: mark.seq }),
                Err(StoreError::Unavailable(_)) => chat.look_later(move |chat| async move {
                    if let Some(member) = chat.store.member(room, user).await? {
                        chat.bus.publish(Hint::ReadMoved { room, user, seq: member.read.seq });
                    }
                    Ok(())
                }),
                Ok(None) | Err(_) => {}
            }
            Ok(moved?)
        })
        .await
    }

    /// `false`: the name is taken. Nobody knows a new user yet, so nobody is told.
    pub(super) async fn make_user(self: &Arc<Self>, user: UserRecord) -> Result<bool> {
        self.to_its_end(async move |chat: Arc<Self>| Ok(chat.store.create_user(user).await?)).await
    }

    /// Applies the changes in order, up to the first that is refused. Gives the user as they are then.
    pub async fn apply(self: &Arc<Self>, user: UserId, changes: Vec<UserChange>) -> Result<UserRecord> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let mut record = None;
            for change in changes {
                record = Some(chat.apply_one(user, change).await?);
            }
            match record {
                Some(record) => Ok(record),
                None => chat.store.user(user).await?.ok_or_else(|| ChatError::NoSuchUser(user.to_string())),
            }
        })
        .await
    }

    async fn apply_one(self: &Arc<Self>, user: UserId, change: UserChange) -> Result<UserRecord> {
        let ended = match &change {
            UserChange::Password { keep, .. } => Some(Ended::All { keep: *keep }),
            UserChange::EndOtherLogins { keep } => Some(Ended::All { keep: Some(*keep) }),
            UserChange::Disable | UserChange::EndLogins | UserChange::Delete(_) => Some(Ended::All { keep: None }),
            UserChange::DisplayName(_)
            | UserChange::Rehash { .. }
            | UserChange::AddRole(_)
            | UserChange::RemoveRole(_)
            | UserChange::Enable
            | UserChange::Deleted => None,
        };
        let changed = self.store.change_user(user, change).await;
        match &changed {
            Ok(UserChanged::Done(_)) => {
                self.bus.publish(Hint::UserChanged { user });
                if let Some(which) = ended {
                    self.bus.publish(Hint::LoginEnded { user, which });
                }
            }
            Err(StoreError::Unavailable(_)) => self.doubt_logins(user),
            Ok(UserChanged::NoSuchUser | UserChanged::LastAdmin) | Err(_) => {}
        }
        match changed? {
            UserChanged::Done(user) => Ok(user),
            UserChanged::NoSuchUser => Err(ChatError::NoSuchUser(user.to_string())),
            UserChanged::LastAdmin => {
                Err(ChatError::Conflict("This is the last admin: make somebody else an admin first."))
            }
        }
    }

    /// The user's record may have changed, or logins may have ended: whoever believes otherwise looks again.
    fn doubt_logins(self: &Arc<Self>, user: UserId) {
        self.bus.publish(Hint::UserChanged { user });
        self.look_later(move |chat| async move { chat.check_logins(user).await });
    }

    /// Begins a login of `user` as they were when their password was compared. Refuses with `InvalidToken` where the
    /// record has changed since in a way that ends logins: a new password must not be outrun by the old one. Gives the user
    /// as they are now.
    pub(super) async fn begin_login(
        self: &Arc<Self>,
        user: UserRecord,
        session: SessionRecord,
        first: RefreshKey,
    ) -> Result<UserRecord> {
        self.to_its_end(async move |chat: Arc<Self>| {
            let (id, keep) = (session.session_id, chat.config.auth.sessions_per_user);
            let begun = chat.store.create_session(session, first, keep).await;
            if matches!(begun, Err(StoreError::Unavailable(_))) {
                chat.doubt_logins(user.user_id);
            }
            let ended = begun?;
            for session in &ended {
                chat.bus.publish(Hint::LoginEnded { user: user.user_id, which: Ended::One(*session) });
            }
            if !ended.is_empty() {
                chat.metrics.bound_hit("auth.sessions_per_user");
            }
            match chat.store.user(user.user_id).await? {
                Some(now) if same_logins(&user, &now) => Ok(now),
                _ => {
                    chat.end_stored_login(user.user_id, id).await?;
                    Err(ChatError::InvalidToken)
                }
            }
        })
        .await
    }

    /// Replaces a refresh token. One that was replaced a while ago is a copy in two hands: its login ends.
    pub(super) async fn rotate(self: &Arc<Self>, renewal: Renewal) -> Result<SessionRecord> {
        self.to_its_end(async move |chat: Arc<Self>| match chat.store.rotate_refresh(renewal).await? {
            Rotation::Rotated(session) => Ok(session),
            Rotation::Reused(session) => {
                tracing::warn!(user_id = %session.user_id, session_id = %session.session_id,
                        "a refresh token was used twice: its login is ended");
                let which = Ended::One(session.session_id);
                chat.bus.publish(Hint::LoginEnded { user: session.user_id, which });
                Err(ChatError::InvalidToken)
            }
            Rotation::Unknown => Err(ChatError::InvalidToken),
        })
        .await
    }

    /// Notes by what a login was begun or renewed just now. A login of which that could not be noted is as good as any.
    pub(super) async fn see(self: &Arc<Self>, session: SessionId, at: Timestamp, device: Device) {
        let seen =
            self.to_its_end(async move |chat: Arc<Self>| Ok(chat.store.see_session(session, at, device).await?));
        if let Err(error) = seen.await {
            tracing::debug!(%error, session_id = %session, "it was not noted by what a login was renewed");
        }
    }

    pub async fn end_session(self: &Arc<Self>, user: UserId, session: SessionId) -> Result<()> {
        self.to_its_end(async move |chat: Arc<Self>| chat.end_stored_login(user, session).await).await
    }

    async fn end_stored_login(&self, user: UserId, session: SessionId) -> Result<()> {
        let ended = self.store.end_session(session).await;
        // Also where it had ended before, or may have: its owner wants it silent.
        self.bus.publish(Hint::LoginEnded { user, which: Ended::One(session) });
        ended?;
        Ok(())
    }
}

/// Who a new room's first events let in, and by which.
pub(super) fn joined_by(room: &NewRoom) -> Vec<(UserId, Seq)> {
    let joined = room.events.iter().filter_map(|event| Some((event.kind.moved()?, event.seq)));
    joined.filter(|((_, added), _)| *added).map(|((user, _), seq)| (user, seq)).collect()
}

/// Whom they ask to join.
fn invited_by(room: &NewRoom) -> Vec<UserId> {
    let invited = room.events.iter().filter_map(|event| match event.kind {
        Kind::Invited { user, .. } => Some(user),
        _ => None,
    });
    invited.collect()
}

/// Whether nothing has happened in between that ends logins.
fn same_logins(then: &UserRecord, now: &UserRecord) -> bool {
    !now.disabled && now.token_epoch == then.token_epoch && now.password_hash == then.password_hash
}
