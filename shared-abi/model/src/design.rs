//! What is checked: the design, or the design with one seeded error, in a scope that bounds it.

use crate::properties as property;
use crate::world::{Left, TARGETS, Target, VMS};

/// The bounds of a model, and who takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How often each choice may be made.
    pub left: Left,
    /// IRTEs that each VM may hold. A VM with none does not take part.
    pub quotas: [u8; VMS],
    /// The first VM's guest is hostile: it writes whatever it likes into its table.
    pub hostile: bool,
    /// The devices are emulated, and the VMM is the remapping unit.
    pub emulated: bool,
    /// The guest has taken its device when the run begins.
    pub attached: bool,
    /// Places where interrupts can go, at most [`TARGETS`].
    pub targets: Target,
    /// Irqfds are taken off after UNMAP has returned, where nothing can come of them.
    pub retires: bool,
}

/// A scope, and the error that was seeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Design {
    /// Bounds.
    pub scope: Scope,
    /// The error.
    pub flaw: Option<Flaw>,
    /// As in the scope.
    pub retires: bool,
}

impl Design {
    /// The design as it is.
    #[must_use]
    pub fn right(scope: Scope) -> Self {
        Self { scope, flaw: None, retires: scope.retires }
    }

    /// The design with an error.
    #[must_use]
    pub fn with(flaw: Flaw, scope: Scope) -> Self {
        Self { flaw: Some(flaw), ..Self::right(scope) }
    }

    /// Whether this error was seeded.
    #[must_use]
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

const NOTHING: Left = Left {
    raises: 0,
    moves: 0,
    parks: 0,
    masks: 0,
    unmaps: 0,
    stale_calls: 0,
    attaches: 0,
    resets: 0,
    storms: 0,
    events: 0,
    saves: 0,
    scribbles: 0,
};

const ONE_VM: Scope = Scope {
    name: "",
    about: "",
    left: NOTHING,
    quotas: [2, 0],
    hostile: false,
    emulated: false,
    attached: true,
    targets: TARGETS as Target,
    retires: false,
};

/// What the gate checks.
pub const SCOPES: [Scope; 8] = [
    Scope {
        name: "moving",
        about: "MAP, RETARGET and parking while interrupts fly",
        left: Left { raises: 2, moves: 1, parks: 1, ..NOTHING },
        ..ONE_VM
    },
    Scope {
        name: "giving-back",
        about: "UNMAP and MAP again while interrupts fly; irqfds that are taken off later; stale handles",
        left: Left { raises: 1, parks: 1, unmaps: 1, stale_calls: 1, ..NOTHING },
        retires: true,
        targets: 2,
        ..ONE_VM
    },
    Scope {
        name: "attaching",
        about: "a trapped table, ATTACH and DETACH while interrupts fly",
        left: Left { raises: 1, masks: 1, attaches: 2, ..NOTHING },
        attached: false,
        ..ONE_VM
    },
    Scope {
        name: "resets",
        about: "function level resets, with parked entries and mask bits of two writers",
        left: Left { raises: 1, parks: 1, masks: 1, resets: 1, ..NOTHING },
        ..ONE_VM
    },
    Scope {
        name: "events",
        about: "a device that is cut off, stale pairs, and taking entries again",
        left: Left { raises: 1, storms: 1, events: 1, ..NOTHING },
        targets: 2,
        ..ONE_VM
    },
    Scope {
        name: "saves",
        about: "save and restore under traffic, with the window until the guest has mapped again",
        left: Left { raises: 1, parks: 1, saves: 1, ..NOTHING },
        emulated: true,
        ..ONE_VM
    },
    Scope {
        name: "hostile",
        about: "a guest that writes pairs of its own into its table and unmasks at any time, while its entries are given back",
        left: Left { raises: 1, parks: 1, unmaps: 1, scribbles: 1, ..NOTHING },
        hostile: true,
        retires: true,
        targets: 2,
        ..ONE_VM
    },
    Scope {
        name: "neighbours",
        about: "two VMs with quotas, the first of them hostile",
        left: Left { raises: 1, scribbles: 1, ..NOTHING },
        quotas: [2, 1],
        hostile: true,
        targets: 2,
        ..ONE_VM
    },
];

/// The same with more choices: what a campaign checks.
#[must_use]
pub fn larger() -> [Scope; 8] {
    SCOPES.map(|scope| {
        let mut left = scope.left;
        match scope.name {
            "moving" => (left.moves, left.masks) = (2, 1),
            "giving-back" => (left.raises, left.masks) = (2, 1),
            "attaching" => (left.raises, left.moves) = (2, 1),
            "resets" => (left.raises, left.resets, left.moves) = (2, 2, 1),
            "events" => (left.raises, left.parks, left.resets) = (2, 1, 1),
            "saves" => (left.raises, left.saves, left.masks) = (2, 2, 1),
            "hostile" => (left.raises, left.scribbles, left.moves) = (2, 2, 1),
            _ => left.unmaps = 1,
        }
        // One VM alone has room for all targets.
        let targets = if scope.quotas[1] == 0 { TARGETS as Target } else { scope.targets };
        Scope { left, targets, ..scope }
    })
}

macro_rules! flaws {
    ($( $flaw:ident, $scope:literal, $property:expr, $about:literal; )*) => {
        /// An error of the design that the model must find.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Flaw {
            $( #[doc = $about] $flaw, )*
        }

        impl Flaw {
            /// Every error: itself, the scope in which it is looked for, the property that it breaks, and what it is.
            pub const ALL: &[(Self, &'static str, &'static str, &'static str)] =
                &[ $( (Self::$flaw, $scope, $property, $about), )* ];
        }
    };
}

flaws! {
    StartBeforeRoute, "giving-back", property::ROUTED, "MAP starts the device's interrupt before the GSI has a route (CVE-2017-1000252, CVE-2022-49154)";
    UnmapUnroutesFirst, "hostile", property::ROUTED, "UNMAP drops the route before it stops the device's interrupt";
    ParkDropsRoute, "moving", property::ROUTED, "parking drops the route, and leaves the irqfd on";
    MaskDropsRoute, "attaching", property::ROUTED, "masking a trapped entry drops its route";
    MapLeavesUnmasked, "moving", property::MASKED, "MAP answers without masking what the kernel has unmasked";
    UnparkDropsHeld, "moving", property::HELD, "the RETARGET that un-parks drops what was held";
    MoveMakesNewPair, "moving", property::HANDLED, "RETARGET makes a new IRTE, and the guest keeps the old pair";
    MoveLeavesQueued, "moving", property::ASKED, "RETARGET does not wait for what was held when the entry was un-parked";
    DrainsNothing, "moving", property::HANDLER, "the guest takes the old handler away when RETARGET has returned";
    StopLeavesIrte, "giving-back", property::PAIRS, "stopping an interrupt leaves its IRTE present";
    UnmapAnswersFirst, "hostile", property::RELEASED, "UNMAP answers before the interrupt is stopped";
    RetiresQueued, "hostile", property::RELEASED, "UNMAP leaves an irqfd on of which KVM has an injection queued";
    HandleAgain, "giving-back", property::HANDLES, "a slot is given again with the same generation";
    AttachHoldsNothing, "attaching", property::HANDLED, "ATTACH holds nothing of what the device raises meanwhile";
    DetachHoldsNothing, "attaching", property::HANDLED, "DETACH holds nothing of what the device raises meanwhile";
    ResetLeavesMaskBits, "resets", property::MASKED, "after a function level reset the mask bits are those that the kernel writes back";
    ResetKeepsWhatWasHeld, "resets", property::DOUBLED, "what was held for a parked entry outlasts a reset of the device";
    CutOffOnlyInTheTable, "events", property::CUT_OFF, "a device that is cut off is refused, but not stopped";
    EpochFirst, "events", property::HANDLED, "the epoch changes before the handles are stale, so that a QUERY says that they are alive";
    RaisesNothing, "events", property::HANDLED, "the guest does not raise its interrupts once in software after it has mapped again";
    ApicsReadFirst, "saves", property::SAVED, "a save reads the local APICs before the irqfds are off";
    SaveForgetsHeld, "saves", property::HELD, "a save leaves out what the eventfds have counted";
    PairsGivenAgain, "saves", property::HANDLER, "a restored VMM gives pairs of before to other entries";
    QuotaLeaks, "giving-back", property::QUOTAS, "UNMAP does not give back what was counted against the quota";
    QuotaUnchecked, "neighbours", property::QUOTAS, "MAP does not look at the quota";
    SourceUnverified, "neighbours", property::ISOLATED, "the remapping unit does not verify who sends";
}
