//! Pages of history: what they hold is a stretch of the log, and reaches as far as what was acknowledged before.

use crate::history_check::{
    check::Findings,
    history::{Ask, Call, Edge},
    index::{Event, Index, Page, RoomLog, parse_event},
};

/// A page that was answered, with the events of the log that it could have held.
struct Read<'a> {
    call: &'a Call,
    log: &'a RoomLog,
    page: Page,
    got: Vec<u64>,
    /// Events of the asked kind between the asked edges, by seq.
    wanted: Vec<u64>,
    latest_first: bool,
    limit: usize,
}

fn reads<'a>(index: &'a Index<'_>) -> impl Iterator<Item = Read<'a>> {
    index.calls.iter().filter_map(|call| {
        let Ask::Page { room, events, edge, limit } = &call.ask else { return None };
        let page = Page::of(call.answer.done()?)?;
        let log = index.rooms.get(room.as_str())?;
        let inside = |event: &&Event| match edge {
            Edge::Latest => true,
            Edge::Before(seq) => event.seq < *seq,
            Edge::After(seq) => event.seq > *seq,
        };
        let kind = |event: &&Event| *events || event.kind == "message";
        let wanted = log.events.iter().filter(inside).filter(kind).map(|event| event.seq).collect();
        let got = page.events.iter().map(|raw| parse_event(raw.get()).seq).collect();
        let latest_first = !matches!(edge, Edge::After(_));
        Some(Read { call, log, page, got, wanted, latest_first, limit: *limit as usize })
    })
}

impl Read<'_> {
    fn name(&self) -> String {
        let Call { who, node, from, ask, .. } = self.call;
        format!("{who} on node {node} at {from} µs: {ask:?} gave {:?}", self.got)
    }

    /// The first event of those wanted that a longer page would have held.
    fn next_newer(&self) -> Option<u64> {
        let last = self.got.last().copied().unwrap_or(0);
        self.wanted.iter().copied().find(|seq| *seq > last)
    }

    fn is_full(&self) -> bool {
        self.got.len() >= self.limit
    }
}

/// One stretch, in order, no longer than asked for, from the edge that was named, with the right places to go on.
pub fn whole(index: &Index<'_>, findings: &mut Findings) {
    for read in reads(index) {
        let start = read.got.first().and_then(|first| read.wanted.iter().position(|seq| seq == first));
        let stretch = match start {
            None => read.got.is_empty(),
            Some(start) => read.wanted[start..].starts_with(&read.got),
        };
        // Short of its limit, a page has everything up to the edge of the log.
        let from_the_edge = match start {
            Some(start) => start == 0 || (read.latest_first && read.is_full()),
            None => true,
        };
        if !stretch || !from_the_edge || read.got.len() > read.limit {
            findings.say(format!("{}, not a stretch of {:?}", read.name(), read.wanted));
        }
        let head = read.page.head_seq;
        if head > read.log.head() || read.got.last().is_some_and(|last| *last > head) {
            findings.say(format!("{} and head_seq {head}; the log has {} events", read.name(), read.log.head()));
        }
        let goes_on = |place: Option<u64>, edge: Option<&u64>| place.is_none_or(|place| Some(&place) == edge);
        if !goes_on(read.page.next_after, read.got.last()) || !goes_on(read.page.next_before, read.got.first()) {
            let Page { next_before, next_after, .. } = &read.page;
            findings.say(format!("{}, and goes on at {next_before:?} and {next_after:?}", read.name()));
        }
    }
}

/// What was proved to be there before the page was asked for is in it, or it says where to go on.
pub fn fresh(index: &Index<'_>, findings: &mut Findings) {
    for read in reads(index) {
        let proved = read.log.proved_before(read.call.from);
        let missing = read.next_newer().filter(|seq| *seq <= proved);
        let ends_here = read.latest_first || !read.is_full() || read.page.next_after.is_none();
        if let Some(missing) = missing.filter(|_| ends_here) {
            findings.say(format!("{}; {missing} was there since {} µs", read.name(), read.log.reached(missing)));
        }
    }
}
