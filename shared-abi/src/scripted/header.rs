//! Answers in the header, and of the conduit.

use super::{Answer, AnswerKind, Draft};
use crate::{CallFlags, Operation, Status};
use alloc::format;
use alloc::vec::Vec;

/// Statuses of the call with which nothing was done; the last two are of a later version.
fn failures() -> impl Iterator<Item = Status> {
    let known = Status::TABLE.iter().map(|row| row.0).filter(|status| (0x10..0x40).contains(&status.0));
    // With REFUSED a record comes back, see `records::enable`.
    known.filter(|status| *status != Status::REFUSED).chain([Status(0x03), Status(0x3f)])
}

/// Calls that failed as a whole, and an epoch that has risen.
pub(super) fn legal(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    let operation = sent.header.operation;
    let epoch = Draft::of(honest).header.epoch;
    for status in failures() {
        let mut draft = sent.clone();
        // Of a session that goes on; an ENABLE that failed began none.
        let goes_on = status != Status::NOT_ENABLED && operation != Operation::ENABLE;
        draft.header.epoch = if goes_on { epoch } else { 0 };
        draft.say(status);
        all.push(draft.into_answer(format!("the call is {status:?}"), AnswerKind::Legal));
    }
    for status in [Status::BAD_ADDRESS, Status::UNALIGNED, Status::PRIVILEGE] {
        let draft = Draft { conduit: status, ..sent.clone() };
        all.push(draft.into_answer(format!("{status:?}, the block untouched"), AnswerKind::Legal));
    }
    if epoch != 0 {
        Draft::add(honest, all, AnswerKind::Legal, "a later epoch", |draft| draft.header.epoch += 3);
    }
}

/// Headers that no host writes.
pub(super) fn hostile(sent: &Draft, honest: &Answer, all: &mut Vec<Answer>) {
    let mut add =
        |name, change: &dyn Fn(&mut Draft)| Draft::add(honest, all, AnswerKind::Hostile, name, change);
    for at in (0..16).chain(32..64) {
        add(format!("byte {at} of the header changed"), &|draft| {
            draft.header = flipped(draft, at);
        });
    }
    add("the status was not written".into(), &|draft| draft.say(Status::PENDING));
    add("nothing was done, and the conduit says OK".into(), &|draft| {
        *draft = Draft { conduit: Status::OK, ..sent.clone() };
    });
    add("another hypervisor answers".into(), &|draft| draft.conduit = Status(0xffff_fc18));
    add("the conduit says OK, the header not".into(), &|draft| draft.header.status = Status::RATE_LIMITED);
    add("the conduit fails, the header not".into(), &|draft| draft.conduit = Status::RATE_LIMITED);
    for status in Status::TABLE.iter().map(|row| row.0).filter(|status| status.0 >= 0x40) {
        add(format!("the call has a record's status {status:?}"), &|draft| draft.say(status));
    }
    add("done is one more".into(), &|draft| draft.header.done += 1);
    if sent.header.count > 0 {
        add("done is one less".into(), &|draft| draft.header.done -= 1);
        add("a call that failed has done records".into(), &|draft| draft.say(Status::RATE_LIMITED));
        add("PARTIAL, and every record is OK".into(), &|draft| draft.say(Status::PARTIAL));
    }
    if sent.header.flags & CallFlags::ALL_OR_NOTHING.bits() == 0 {
        add("ABORTED, and nobody asked for it".into(), &|draft| draft.say(Status::ABORTED));
    }
    if Draft::of(honest).header.epoch != 0 {
        add("the epoch is 0".into(), &|draft| draft.header.epoch = 0);
    }
}

fn flipped(draft: &Draft, at: usize) -> crate::Header {
    use zerocopy::IntoBytes;
    let mut header = draft.header;
    header.as_mut_bytes()[at] ^= 0x40;
    header
}
