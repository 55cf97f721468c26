//! What became of messages: `forms`, `{ _id: "<room>:<seq as 16 hex digits>", room, seq, at, edits: [seq], deleted? }`, and reading
//! messages so.
//!
//! `at` is the last event about the message that is in it: an update of an older one changes nothing, so each may be repeated, come
//! late, or come from several nodes at once. `deleted` is the ordinal of a deleted message. A form holds no text: that stays in the
//! events, and is erased there, before the head says that the deletion is projected; so a deletion that was cut off is finished by
//! whoever brings the projections up to the log.
//!
//! # A page at exactly one head, without transactions
//!
//! What is read in several queries may be of several moments. So the head is read first, then messages and forms; where something
//! is newer than that head, the log between the head and the newest that was seen is folded onto the rest. Each form says what it
//! has taken in, so nothing is folded twice.

use std::collections::{BTreeMap, HashMap, HashSet};

use mongodb::{
    bson::{Binary, Document, doc, spec::BinarySubtype},
    options::FindOptions,
};

use super::{
    base::Base,
    codec::{count, damaged, int, room_id, text},
    codec_log::{event, event_key, log_range},
    commands::{self, find_all, find_each},
    pages,
};
use crate::{
    event::{
        Event, erased,
        fold::Changed,
        folded::{Folded, FoldedPage, Form},
    },
    store::{Page, Result},
    types::{MessageId, Ordinal, RoomId, Seq},
};

/// Events read at once to fold what came while a page was read.
const FOLD_PAGE: usize = 500;
/// Messages looked at at once to find the last one that is not deleted.
const LOOK_BACK: usize = 100;

/// Brings the forms of these messages up to what a stretch of the log says of them.
pub(super) async fn project(base: &Base, room: RoomId, changed: &BTreeMap<Seq, Changed>) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let nothing = |seq: &Seq| doc! { "_id": event_key(room, *seq), "room": room.to_string(), "seq": int(*seq), "at": 0_i64, "edits": [] };
    let new: Vec<Document> = changed.keys().map(nothing).collect();
    for part in new.chunks(base.config.insert_events) {
        commands::insert_unless_there(base, "forms", part).await?;
    }
    let statements: Vec<Document> = changed.values().map(|changed| statement(room, changed)).collect();
    commands::update(base, "forms", &statements).await
}

/// Erases what the stretch erases, once the forms say so.
pub(super) async fn erase(base: &Base, room: RoomId, changed: &BTreeMap<Seq, Changed>) -> Result<()> {
    for (message, before) in changed.iter().filter_map(|(seq, changed)| Some((*seq, changed.erased_before?))) {
        erase_before(base, room, message, before).await?;
    }
    Ok(())
}

fn statement(room: RoomId, Changed { of, at, edits, deleted, erased_before: _ }: &Changed) -> Document {
    let mut set = doc! { "at": int(*at) };
    if *deleted {
        set.insert("deleted", int(of.ordinal));
    }
    let edits: Vec<i64> = edits.iter().map(|seq| int(*seq)).collect();
    doc! {
        "q": { "_id": event_key(room, of.seq), "at": { "$lt": int(*at) } },
        "u": { "$set": set, "$addToSet": { "edits": { "$each": edits } } },
    }
}

/// Erases what a message and its edits before this event said. May be repeated.
async fn erase_before(base: &Base, room: RoomId, message: Seq, before: Seq) -> Result<()> {
    let spoken = texts(base, room, message, 0, usize::MAX).await?;
    let spoken = spoken.iter().filter(|event| event.seq < before && !event.is_erased());
    let put = |event: &Event| {
        let bytes = erased::frame(event.body()).json_bytes().to_vec();
        let body = Binary { subtype: BinarySubtype::Generic, bytes };
        doc! { "q": { "_id": event_key(room, event.seq) }, "u": { "$set": { "body": body } } }
    };
    let statements: Vec<Document> = spoken.map(put).collect();
    if statements.is_empty() { Ok(()) } else { commands::update(base, "events", &statements).await }
}

/// What a message said: its own event and its edits, ascending, the first `limit` after `after`.
pub(super) async fn texts(base: &Base, room: RoomId, message: Seq, after: Seq, limit: usize) -> Result<Vec<Event>> {
    let form = base.find("forms", &event_key(room, message)).await?;
    let edits = form.as_ref().map_or(Ok(Vec::new()), edits)?;
    let seqs = std::iter::once(message).chain(edits).filter(|seq| *seq > after).take(limit);
    let keys = seqs.map(|seq| event_key(room, seq)).collect();
    let mut events = find_each(base, "events", keys, None).await?.iter().map(event).collect::<Result<Vec<_>>>()?;
    events.sort_unstable_by_key(|event| event.seq);
    Ok(events)
}

fn edits(form: &Document) -> Result<Vec<Seq>> {
    let list = form.get_array("edits").map_err(|_| damaged(form, "edits", "a list"))?;
    let seq = |seq: &mongodb::bson::Bson| seq.as_i64().and_then(|seq| Seq::try_from(seq).ok());
    let mut edits: Vec<Seq> = list.iter().filter_map(seq).collect();
    edits.sort_unstable();
    Ok(edits)
}

fn form(document: &Document) -> Result<Form> {
    let edits = edits(document)?;
    let deleted = document.contains_key("deleted");
    Ok(Form { at: count(document, "at")?, edits: edits.len() as u64, edit: edits.last().copied(), deleted })
}

/// Forms by where their messages stand.
type Forms = HashMap<Seq, Form>;

fn by_seq(documents: &[Document]) -> Result<Forms> {
    documents.iter().map(|document| Ok((count(document, "seq")?, form(document)?))).collect()
}

/// Messages of any rooms by their keys, as they stand now.
pub(super) async fn by_keys(base: &Base, keys: Vec<String>) -> Result<HashMap<String, Folded>> {
    let (events, forms) =
        tokio::try_join!(find_each(base, "events", keys.clone(), None), find_each(base, "forms", keys, None))?;
    let mut known: HashMap<String, (RoomId, Form)> = HashMap::new();
    for document in &forms {
        known.insert(text(document, "_id")?.to_owned(), (room_id(document, "room")?, form(document)?));
    }
    let edits = known.values().filter(|(_, form)| !form.deleted);
    let edits = edits.filter_map(|(room, form)| form.edit.map(|seq| event_key(*room, seq))).collect();
    let mut spoken: HashMap<String, Event> = HashMap::new();
    for document in &find_each(base, "events", edits, None).await? {
        spoken.insert(text(document, "_id")?.to_owned(), event(document)?);
    }
    let mut found = HashMap::new();
    for document in &events {
        let key = text(document, "_id")?.to_owned();
        let folded = match known.remove(&key) {
            None => Folded::plain(event(document)?),
            Some((room, form)) => {
                let edit = form.edit.and_then(|seq| spoken.remove(&event_key(room, seq)));
                Folded { event: event(document)?, form, edit }
            }
        };
        found.insert(key, folded);
    }
    Ok(found)
}

/// Of these messages, the last event about each that was changed.
pub(super) async fn last_changes(base: &Base, keys: Vec<String>) -> Result<HashMap<String, Seq>> {
    let forms = find_each(base, "forms", keys, Some(doc! { "at": 1 })).await?;
    forms.iter().map(|form| Ok((text(form, "_id")?.to_owned(), count(form, "at")?))).collect()
}

/// Those of the messages between the two seqs, both included, that were changed.
pub(super) async fn changed_between(base: &Base, room: RoomId, from: Seq, to: Seq) -> Result<Vec<Seq>> {
    let range = log_range(room, Some(from.saturating_sub(1)), Some(to + 1));
    let forms = find_all(base, "forms", range, FindOptions::builder().projection(doc! { "seq": 1 }).build()).await?;
    forms.iter().map(|form| count(form, "seq")).collect()
}

/// The head of a room and how many messages there are, as projected: all that the log has up to there is in forms.
async fn head(base: &Base, room: RoomId) -> Result<(Seq, Ordinal)> {
    let head = base.find("heads", &room.to_string()).await?;
    head.map_or(Ok((0, 0)), |head| Ok((count(&head, "head_seq")?, count(&head, "messages")?)))
}

/// The events after `after` up to `to`.
async fn between(base: &Base, room: RoomId, mut after: Seq, to: Seq) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while after < to {
        let page = Page { after: Some(after), before: None, limit: FOLD_PAGE, messages_only: false };
        let mut next = pages::page(base, room, page).await?;
        next.truncate(next.partition_point(|event| event.seq <= to));
        let Some(last) = next.last() else { break };
        after = last.seq;
        events.append(&mut next);
    }
    Ok(events)
}

pub(super) async fn page(base: &Base, room: RoomId, page: Page, at_least: Seq) -> Result<FoldedPage> {
    let page = Page { messages_only: true, ..page };
    let (projected, mut messages) = head(base, room).await?;
    let mut events = pages::page(base, room, page).await?;
    let forms = match (events.first(), events.last()) {
        (Some(first), Some(last)) => {
            let range = log_range(room, Some(first.seq - 1), Some(last.seq + 1));
            find_all(base, "forms", range, FindOptions::builder().build()).await?
        }
        _ => Vec::new(),
    };
    let mut forms = by_seq(&forms)?;
    let seen = forms.values().map(|form| form.at).chain(events.last().map(|last| last.seq)).max().unwrap_or(0);
    let mut end = projected;
    for event in between(base, room, projected, at_least.max(seen)).await? {
        (end, messages) = (event.seq, event.ordinal);
        if let Some(of) = event.kind.target() {
            forms.entry(of.seq).or_default().take_in(&event);
        } else if event.is_message() && continues(&events, page, &event) {
            events.push(event);
        }
    }
    if page.after.is_none() {
        events.drain(..events.len().saturating_sub(page.limit));
    }
    Ok(FoldedPage { head: end, count: messages, messages: with_texts(base, room, events, forms).await? })
}

/// A message that came while the page was read is a part of it.
fn continues(events: &[Event], page: Page, event: &Event) -> bool {
    let follows = events.last().is_none_or(|last| last.seq < event.seq);
    let fits = match (page.after, page.before) {
        (Some(after), _) => event.seq > after && events.len() < page.limit,
        (None, before) => before.is_none_or(|before| event.seq < before),
    };
    follows && fits
}

/// Brings each message its form, and the edit that has its text.
async fn with_texts(base: &Base, room: RoomId, events: Vec<Event>, mut forms: Forms) -> Result<Vec<Folded>> {
    let shown: HashSet<Seq> = events.iter().map(|event| event.seq).collect();
    forms.retain(|message, _| shown.contains(message));
    let keys = forms.values().filter(|form| !form.deleted).filter_map(|form| form.edit);
    let found = find_each(base, "events", keys.map(|seq| event_key(room, seq)).collect(), None).await?;
    let edits = found.iter().map(|edit| event(edit).map(|edit| (edit.seq, edit)));
    let mut edits = edits.collect::<Result<HashMap<Seq, Event>>>()?;
    let folded = |event: Event| {
        let form = forms.remove(&event.seq).unwrap_or_default();
        let edit = form.edit.and_then(|seq| edits.remove(&seq));
        Folded { event, form, edit }
    };
    Ok(events.into_iter().map(folded).collect())
}

pub(super) async fn message(base: &Base, room: RoomId, id: MessageId, at_least: Seq) -> Result<Option<Folded>> {
    let (projected, _) = head(base, room).await?;
    let events = base.collection("events");
    let filter = doc! { "event_id": id.to_string(), "room": room.to_string() };
    let found = base.again(|| async { events.find_one(filter.clone()).await }).await?;
    let found = found.as_ref().map(event).transpose()?;
    let Some(event) = found.filter(Event::is_message) else { return Ok(None) };
    let known = base.find("forms", &event_key(room, event.seq)).await?;
    let mut form = known.as_ref().map(form).transpose()?.unwrap_or_default();
    for later in between(base, room, projected, at_least).await? {
        if later.kind.target().is_some_and(|of| of.seq == event.seq) {
            form.take_in(&later);
        }
    }
    let mut folded = with_texts(base, room, vec![event.clone()], Forms::from([(event.seq, form)])).await?;
    Ok(folded.pop())
}

/// How many of the messages with a greater ordinal are deleted.
pub(super) async fn deleted_after(base: &Base, room: RoomId, ordinal: Ordinal) -> Result<Ordinal> {
    let forms = base.collection("forms");
    let filter = doc! { "room": room.to_string(), "deleted": { "$gt": int(ordinal) } };
    base.again(|| async { forms.count_documents(filter.clone()).await }).await
}

/// Of these messages, each room's last, the latest that is not deleted.
pub(super) async fn last_of(base: &Base, lasts: &[(RoomId, Seq)]) -> Result<HashMap<RoomId, Folded>> {
    let keys: Vec<String> = lasts.iter().map(|(room, seq)| event_key(*room, *seq)).collect();
    let (events, forms) =
        tokio::try_join!(find_each(base, "events", keys.clone(), None), find_each(base, "forms", keys, None))?;
    let key = |document: &Document| document.get_str("_id").unwrap_or_default().to_owned();
    let mut forms: HashMap<String, &Document> = forms.iter().map(|form| (key(form), form)).collect();
    let mut events: HashMap<String, &Document> = events.iter().map(|event| (key(event), event)).collect();
    let mut found = HashMap::new();
    for (room, seq) in lasts {
        let Some(last) = events.remove(&event_key(*room, *seq)) else { continue };
        let Some(known) = forms.remove(&event_key(*room, *seq)) else {
            found.insert(*room, Folded::plain(event(last)?));
            continue;
        };
        let own = Forms::from([(*seq, form(known)?)]);
        let mut last = with_texts(base, *room, vec![event(last)?], own).await?.pop();
        while let Some(gone) = last.take_if(|last| last.is_deleted()) {
            let before = Some(gone.event.seq);
            let older = Page { after: None, before, limit: LOOK_BACK, messages_only: true };
            let older = page(base, *room, older, 0).await?.messages;
            let oldest = older.first().cloned();
            last = older.into_iter().rev().find(|message| !message.is_deleted()).or(oldest);
        }
        found.extend(last.map(|last| (*room, last)));
    }
    Ok(found)
}
