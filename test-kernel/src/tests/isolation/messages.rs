//! Messages that a guest was not given. In Intel's remappable format the handle is in the address (VT-d, Rev. 5.10, section
//! 5.1.2.2); in AMD's form it is the low eleven bits of the data, and each device has a table of its own (AMD 48882, "Interrupt
//! Remapping Tables").

use pvir_guest::abi::Pair;

const REMAPPABLE: u64 = 1 << 4;
const SUBHANDLE_VALID: u64 = 1 << 3;
const AREA: u64 = 0xfee0_0000;
/// Handles of Intel below this may be in use, and of AMD below the other.
const FIRST_ABSENT: u64 = 0x4000;
const FIRST_ABSENT_OF_DEVICE: u32 = 0x20;
const INDEX_OF_DEVICE: u32 = 0x7ff;

/// An endless row of them.
pub(super) struct Messages {
    own: Pair,
    kind: Kind,
    state: u64,
}

enum Kind {
    One(Pair),
    Absent,
    Random,
}

/// Whether pairs of several devices stand in one table: Intel's form.
pub(super) const fn are_shared(own: Pair) -> bool {
    own.address & REMAPPABLE != 0
}

impl Messages {
    /// This one again and again.
    pub(super) const fn one(pair: Pair) -> Self {
        Self { own: pair, kind: Kind::One(pair), state: 0 }
    }

    /// In the form of `own`, with handles that nobody has.
    pub(super) const fn absent(own: Pair) -> Self {
        Self { own, kind: Kind::Absent, state: 1 }
    }

    /// Any address where messages go in the format of `own`, and any data, but for those that name `own`.
    ///
    /// Not Intel's compatibility format: the kernel has the remapping unit block it (VT-d, section 5.1.4), but QEMU's delivers it to
    /// the host as it is, an INIT among them.
    pub(super) const fn random(own: Pair) -> Self {
        Self { own, kind: Kind::Random, state: 2 }
    }

    /// Knuth's MMIX ("The Art of Computer Programming", volume 2, section 3.3.4): its high half is random enough.
    fn number(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 32
    }

    fn absent_one(&mut self) -> Pair {
        let number = self.number();
        if are_shared(self.own) {
            let handle = FIRST_ABSENT + number % (0xffff - FIRST_ABSENT);
            let address = AREA | (handle & 0x7fff) << 5 | REMAPPABLE | (handle >> 15) << 2;
            return Pair { address, data: 0 };
        }
        let index = FIRST_ABSENT_OF_DEVICE + low(number) % (INDEX_OF_DEVICE - FIRST_ABSENT_OF_DEVICE);
        Pair { data: index, ..self.own }
    }

    fn any(&mut self) -> Pair {
        let format = self.own.address & REMAPPABLE;
        let address = AREA | self.number() & 0xf_fffc & !REMAPPABLE | format;
        Pair { address, data: low(self.number()) }
    }

    /// Whether a message would be answered as the own one is, which is no attack.
    fn is_own(&self, pair: Pair) -> bool {
        if !are_shared(self.own) {
            return pair.data & INDEX_OF_DEVICE == self.own.data & INDEX_OF_DEVICE;
        }
        are_shared(pair) && handle(pair) == handle(self.own)
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}

fn handle(pair: Pair) -> u64 {
    let base = pair.address >> 5 & 0x7fff | (pair.address >> 2 & 1) << 15;
    let subhandle = if pair.address & SUBHANDLE_VALID == 0 { 0 } else { pair.data & 0xffff };
    base + u64::from(subhandle)
}

impl Iterator for Messages {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        Some(match self.kind {
            Kind::One(pair) => pair,
            Kind::Absent => self.absent_one(),
            Kind::Random => loop {
                let pair = self.any();
                if !self.is_own(pair) {
                    break pair;
                }
            },
        })
    }
}
