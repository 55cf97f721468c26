//! The checker: a pure function from a history to what is wrong with it. One rule a function, one invariant a rule or two.
//!
//! A rule may miss something; it may never accuse a server that kept its word. Where the history leaves open what
//! happened first, the rule takes what is best for the server.

use std::fmt;

use super::{
    history::Record,
    index::Index,
    rules::{access, cursors, ends, logs, marks, order, pages, seen},
};

/// A promise that was broken, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// What the rules have found so far.
pub struct Findings {
    rule: &'static str,
    all: Vec<Violation>,
}

impl Findings {
    pub fn say(&mut self, what: impl Into<String>) {
        self.all.push(Violation { rule: self.rule, what: what.into() });
    }
}

type Rule = fn(&Index<'_>, &mut Findings);

/// Every rule by its name.
pub const RULES: [(&str, Rule); 24] = [
    ("durable: what was acknowledged is in the log, as acknowledged", seen::acknowledged),
    ("durable: what was changed is in the log", seen::changed),
    ("durable: what anybody saw is in the log, to the byte", seen::visible),
    ("durable: every event was asked for", logs::asked_for),
    ("one order: every node has the same log", logs::same_everywhere),
    ("one order: seqs are dense", logs::dense),
    ("one order: one socket's posts keep their order", order::of_one_socket),
    ("one order: what was done before comes before", order::of_real_time),
    ("once: a client_id is one message", logs::once),
    ("once: a repeated post gets the first one's acknowledgement", seen::repeated),
    ("no gap: a subscription goes from n to n+1", cursors::dense),
    ("no gap: a cursor that was right is lossless", cursors::answers),
    ("no gap: a page leaves nothing out", pages::whole),
    ("fresh: a page shows what was acknowledged before it was asked for", pages::fresh),
    ("nobody is held up: what is whole answers", ends::answered),
    ("bounds: nothing is left behind", ends::left_behind),
    ("access: the log holds only what its members may do", logs::allowed),
    ("access: who is outside receives nothing", access::outsiders),
    ("access: an ended login receives nothing", access::ended_logins),
    ("access: nobody is refused without a reason", access::refusals),
    ("errors: only those that a client may expect", ends::expected),
    ("read marks: they never move back", marks::forward),
    ("read marks: they and the unread agree with the log", marks::at_the_end),
    ("the store is the truth: everybody has everything in the end", cursors::level_at_the_end),
];

/// Everything that is wrong with a history; nothing where every promise was kept.
pub fn check(records: &[Record]) -> Vec<Violation> {
    let index = Index::of(records);
    let mut findings = Findings { rule: "", all: Vec::new() };
    for (name, rule) in RULES {
        findings.rule = name;
        rule(&index, &mut findings);
    }
    findings.all
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut what: String = self.what.chars().take(600).collect();
        if what.len() < self.what.len() {
            what.push('…');
        }
        write!(f, "{}: {what}", self.rule)
    }
}
