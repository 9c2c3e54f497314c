//! Counts by store and number of the message, as the guest and `pvir` report them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::expect::{number, same, text};
use crate::vm::Ended;

/// Store, and the entry's index or, for several messages of MSI, the message's.
pub(super) type MessageSource = (String, u64);
pub(super) type Tally = BTreeMap<MessageSource, u64>;

/// What the guest says it handled in some stages, each of which must be exact.
pub(super) fn handled(vectors: &[Value], in_stage: impl Fn(&str) -> bool) -> Result<Tally> {
    let mut tally = Tally::new();
    for line in vectors.iter().filter(|line| in_stage(text(line, "stage"))) {
        let handled = number(line, "/handled");
        ensure!(number(line, "/elsewhere") == 0, "interrupts on a wrong CPU or vector: {line}");
        same("handled of what was raised", &handled, &number(line, "/raised"))?;
        let entry = (text(line, "store").to_owned(), number(line, "/index") + number(line, "/message"));
        *tally.entry(entry).or_default() += handled;
    }
    Ok(tally)
}

/// What `pvir` reports, however often each entry was mapped: each mapping has a count of its own.
fn reported(report: &Value) -> Tally {
    let mut tally = Tally::new();
    for interrupt in report["interrupts"].as_array().into_iter().flatten() {
        let entry = (text(interrupt, "store").to_owned(), number(interrupt, "/index"));
        *tally.entry(entry).or_default() += number(interrupt, "/count");
    }
    tally
}

/// Guest and host count the same for every entry. Answers the sum.
pub(super) fn agree(ended: &Ended, in_stage: impl Fn(&str) -> bool) -> Result<u64> {
    let handled = handled(&ended.of_kind("vector"), in_stage)?;
    ensure!(!handled.is_empty(), "the guest has counted nothing");
    same("pvir's report, entry by entry", &reported(&ended.report), &handled)?;
    Ok(handled.values().sum())
}
