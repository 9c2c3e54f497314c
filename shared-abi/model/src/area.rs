//! The event area: three stores of the host against three reads of a guest (`docs/abi.md`, V2). A model of its own, since
//! nothing else takes part.

use stateright::{Model, Property};

/// Events that the host announces.
const EVENTS: u8 = 3;

/// V2.
pub const WHOLE: &str = "who takes an event from the area has it whole";
/// V2: it may read again, and finds it at last.
pub const FOUND: &str = "who reads when nothing is written any more takes the latest event";

/// The area with its writer and a reader.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    /// The error that was seeded.
    pub flaw: Option<AreaFlaw>,
}

/// An error of the area's rules that must be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AreaFlaw {
    /// The host writes the epoch before the rest.
    EpochWrittenFirst,
    /// The host writes the sequence after reason and device.
    SequenceWrittenLate,
    /// The guest reads the sequence before reason and device.
    SequenceReadEarly,
    /// The guest does not look whether the sequence fits the epoch.
    SequenceIgnored,
}

impl AreaFlaw {
    /// All of them, and what each is.
    pub const ALL: [(Self, &str); 4] = [
        (Self::EpochWrittenFirst, "the host writes the epoch before the rest of the event area"),
        (Self::SequenceWrittenLate, "the host writes `sequence` after `reason` and `device`"),
        (Self::SequenceReadEarly, "the guest reads `sequence` before `reason` and `device`"),
        (Self::SequenceIgnored, "the guest does not compare `sequence` with the epoch"),
    ];
}

/// A field of the area; its value is the number of the event that it is from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Field {
    /// The epoch, less the one after ENABLE.
    Epoch,
    /// The sequence.
    Sequence,
    /// Reason and device, which are one store and one read.
    What,
}

/// Number of a field in the arrays.
const fn place(field: Field) -> usize {
    field as usize
}

/// What is written, what was read of it, and what was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Words {
    /// The area.
    pub area: [u8; 3],
    /// Stores that were made.
    pub stores: u8,
    /// What the reader has read, in this attempt.
    pub read: [u8; 3],
    /// Reads of this attempt.
    pub reads: u8,
    /// The event that was taken last: what the epoch says, and what reason and device say.
    pub taken: Option<(u8, u8)>,
}

/// A store of the host, or a read of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The host stores the next word.
    Store,
    /// The guest reads the next word, and judges after the third.
    Read,
}

impl Area {
    fn written(&self) -> [Field; 3] {
        match self.flaw {
            Some(AreaFlaw::EpochWrittenFirst) => [Field::Epoch, Field::Sequence, Field::What],
            Some(AreaFlaw::SequenceWrittenLate) => [Field::What, Field::Sequence, Field::Epoch],
            _ => [Field::Sequence, Field::What, Field::Epoch],
        }
    }

    fn read(&self) -> [Field; 3] {
        match self.flaw {
            Some(AreaFlaw::SequenceReadEarly) => [Field::Epoch, Field::Sequence, Field::What],
            _ => [Field::Epoch, Field::What, Field::Sequence],
        }
    }
}

impl Model for Area {
    type State = Words;
    type Action = Access;

    fn init_states(&self) -> Vec<Words> {
        vec![Words::default()]
    }

    fn actions(&self, words: &Words, actions: &mut Vec<Access>) {
        if words.stores < 3 * EVENTS {
            actions.push(Access::Store);
        }
        // Having the latest it does not read on.
        if words.taken != Some((EVENTS, EVENTS)) {
            actions.push(Access::Read);
        }
    }

    fn next_state(&self, words: &Words, access: Access) -> Option<Words> {
        let mut words = *words;
        match access {
            Access::Store => {
                let field = self.written()[usize::from(words.stores % 3)];
                words.area[place(field)] = words.stores / 3 + 1;
                words.stores += 1;
            }
            Access::Read => {
                let field = self.read()[usize::from(words.reads)];
                words.read[place(field)] = words.area[place(field)];
                words.reads += 1;
                if words.reads == 3 {
                    let [epoch, sequence, what] = words.read;
                    if epoch == sequence || self.flaw == Some(AreaFlaw::SequenceIgnored) {
                        words.taken = Some((epoch, what));
                    }
                    (words.read, words.reads) = ([0; 3], 0);
                }
            }
        }
        Some(words)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(WHOLE, |_: &Self, words: &Words| {
                words.taken.is_none_or(|(epoch, what)| epoch == what)
            }),
            Property::sometimes(FOUND, |_: &Self, words: &Words| words.taken == Some((EVENTS, EVENTS))),
        ]
    }
}
