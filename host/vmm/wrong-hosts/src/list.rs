//! What can be wrong, and which statement of `docs/abi.md` that breaks.

/// Defines the enum, the names of its values, and the statement that each breaks.
macro_rules! wrong_hosts {
    ($( $(#[$doc:meta])* $value:ident = $name:literal breaks $statement:literal, )*) => {
        /// A way to break the contract.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Wrong {
            $( $(#[$doc])* $value, )*
        }

        impl Wrong {
            /// All of them: the name on the command line, and the statement or status whose test must fail.
            pub(crate) const ALL: &'static [(Self, &'static str, &'static str)] =
                &[ $( (Self::$value, $name, $statement), )* ];
        }
    };
}

wrong_hosts! {
    /// CPUID of the other vCPUs says another number of records.
    CpuidDiffers = "cpuid-differs" breaks "D1",
    /// An MSR is advertised that KVM does not know, so that it faults.
    MsrFaults = "msr-faults" breaks "D2",
    /// The instruction of the CPU's vendor is advertised, and nobody takes it: it never answers, or KVM answers.
    HypercallNotTaken = "hypercall-not-taken" breaks "D2",
    /// CPUID names an MSR of the processor as that of the conduit.
    MsrOfTheCpu = "msr-of-the-cpu" breaks "D5",
    /// A byte behind the block is written.
    BlockOverrun = "block-overrun" breaks "C2",
    /// The conduit answers OK whatever the header says.
    StatusDiffers = "status-differs" breaks "C3",
    /// MSR and port answer the status of the last call of any vCPU.
    StatusOfAnother = "status-of-another" breaks "C3",
    /// Where records are not in RAM the header is left as it was.
    HeaderUnwritten = "header-unwritten" breaks "C3",
    /// Code in ring 3 may call.
    Ring3Taken = "ring3-taken" breaks "PRIVILEGE",
    /// An access of one or two bytes to the port is taken for a call.
    NarrowPort = "narrow-port" breaks "C5",
    /// A block may lie anywhere in a page.
    UnalignedBlock = "unaligned-block" breaks "B1",
    /// The header is read again after it was judged.
    HeaderReadTwice = "header-read-twice" breaks "B2",
    /// The index of a record comes back as another.
    InFieldChanged = "in-field-changed" breaks "B3",
    /// A call that failed says that records were done.
    DoneOfFailed = "done-of-failed" breaks "B4",
    /// Reserved bytes of the header are not looked at.
    ReservedIgnored = "reserved-ignored" breaks "B5",
    /// The upper bits of the hint are not looked at.
    HintBitsIgnored = "hint-bits-ignored" breaks "RESERVED_NOT_ZERO",
    /// `done` counts records that failed.
    DoneCountsFailed = "wrong-done" breaks "O1",
    /// A call in which records failed is OK.
    PartialIsOk = "partial-is-ok" breaks "O2",
    /// ALL_OR_NOTHING says that it undid everything, and did not.
    NotUndone = "not-undone" breaks "O3",
    /// A record that failed carries a pair.
    FailedHasPair = "failed-has-pair" breaks "O5",
    /// Calls are counted, and a RETARGET of one record after many others is refused.
    OneRetargetRefused = "one-retarget-refused" breaks "O7",
    /// One device more than there is.
    DeviceTooMany = "device-too-many" breaks "F3",
    /// A device has IMS entries, and its stores say nothing of them.
    ImsUnsaid = "ims-unsaid" breaks "I3",
    /// A device that comes is handed over at once: the guest need not attach it.
    ComesAttached = "comes-attached" breaks "I5",
    /// A device that comes raises the epoch.
    ComingIsAnEvent = "coming-is-an-event" breaks "I6",
    /// Handles of a device that has gone are DEVICE_GONE when another one has come to its place.
    GoneOutlasts = "gone-outlasts" breaks "I7",
    /// Features that are not offered are granted.
    AnyFeature = "any-feature" breaks "E1",
    /// ENABLE without MSIX is refused, which is offered beside others.
    OfferedRefused = "offered-refused" breaks "E1",
    /// A second ENABLE is granted.
    EnabledTwice = "enabled-twice" breaks "E7",
    /// A pair that was given to another device reaches whom it was given for.
    ForeignPair = "foreign-pair" breaks "E5",
    /// A pair that was never given reaches somebody.
    AbsentPair = "absent-pair" breaks "E5",
    /// Every session has the same epoch.
    EpochNotRaised = "epoch-not-raised" breaks "E8",
    /// DISABLE leaves the IRTEs.
    DisableKeeps = "disable-keeps" breaks "X1",
    /// ENABLE with ATTACH hands every device over.
    AttachedUnasked = "attached-unasked" breaks "A1",
    /// What was pending when a device was attached is lost.
    AttachLoses = "attach-loses" breaks "A5",
    /// DETACH leaves the device as it is.
    DetachKeeps = "detach-keeps" breaks "A6",
    /// The vector is looked at before all else.
    VectorFirst = "vector-first" breaks "J1",
    /// PARKING is there whether the guest has taken it or not.
    ParkingUntaken = "parking-untaken" breaks "J2",
    /// Among several vCPUs it is always the one with the lowest id.
    LowestMember = "lowest-member" breaks "L3",
    /// A record that resolves alike is taken for the same.
    ResolvesAlike = "resolves-alike" breaks "L5",
    /// The pair is that of the next entry.
    PairOfAnotherEntry = "pair-of-another-entry" breaks "M1",
    /// RETARGET answers with another pair.
    RetargetNewPair = "retarget-new-pair" breaks "M2",
    /// The mask bit is clear when MAP returns.
    MaskLeftUnset = "mask-left-unset" breaks "M3",
    /// MAP of an IMS entry says that it is masked.
    ImsMasked = "ims-masked" breaks "M3",
    /// What was raised before an interrupt's eventfd is attached is lost: the effect of starting the device first.
    LostInMap = "lost-in-map" breaks "M4",
    /// The same MAP again does not say EXISTING.
    ExistingUnsaid = "existing-unsaid" breaks "M5",
    /// What was raised while parked is lost.
    ParkedLost = "parked-lost" breaks "M6",
    /// Every entry has the same pair.
    OnePairForAll = "one-pair-for-all" breaks "M9",
    /// RETARGET takes the irqfd off, drains it and attaches it again.
    LostInRetarget = "lost-in-retarget" breaks "R2",
    /// UNMAP leaves everything alive.
    PairLeftAlive = "pair-left-alive" breaks "U2",
    /// An entry has the same pair each time it is mapped: what was given back comes alive again.
    PairAgain = "pair-again" breaks "U2",
    /// QUERY gives the entry back.
    QueryChangesState = "query-changes-state" breaks "Q1",
    /// QUERY by name does not look at the number of messages.
    CountIgnored = "count-ignored" breaks "Q1",
    /// QUERY answers with another vector.
    QueryForgets = "query-forgets" breaks "Q2",
    /// A slot's handle is the same each time.
    HandleAgain = "handle-again" breaks "H1",
    /// A handle is the number of a slot, the next one each time, until the first comes again.
    HandlesInTurn = "handles-in-turn" breaks "H1",
    /// The generation of a handle is not looked at.
    GenerationIgnored = "generation-ignored" breaks "H2",
    /// While trapped, MSI-X Enable stays set once it was.
    EnableIgnored = "enable-ignored" breaks "T1",
    /// While trapped, Function Mask does nothing.
    FunctionMaskIgnored = "function-mask-ignored" breaks "T1",
    /// While trapped, entries cannot be masked.
    TrappedMaskIgnored = "trapped-mask-ignored" breaks "T1",
    /// MSI that the guest has enabled is enabled after DISABLE.
    MsiLeftEnabled = "msi-left-enabled" breaks "T4",
    /// After DISABLE entries are as the guest has left them.
    TableKept = "table-kept" breaks "T4",
    /// The event area is not written.
    AreaNotWritten = "area-not-written" breaks "V1",
    /// An event leaves the area as it was.
    AreaStuck = "area-stuck" breaks "V2",
    /// After an event QUERY still knows what it has answered before.
    StaleKnown = "stale-known" breaks "V3",
    /// The event area is written some time after the vector was raised.
    AreaLate = "area-late" breaks "V4",
    /// The vector of NOTIFY is never raised.
    NotifyLost = "notify-lost" breaks "V4",
    /// Answers to MAP carry no epoch.
    EpochMissing = "epoch-missing" breaks "V5",
    /// Of announcements that follow each other closely, only the first is raised.
    NotifyFirstOnly = "notify-first-only" breaks "V7",
    /// A device that has gone is NO_DEVICE.
    GoneIsUnknown = "gone-is-unknown" breaks "V9",
    /// MAP for a device that is cut off says that the host has no GSI.
    CutOffHasNoGsi = "cut-off-has-no-gsi" breaks "V10",
    /// After a reset an entry has another pair than before.
    PairOfReset = "pair-of-reset" breaks "Z2",
    /// A reset leaves mapped entries unmasked, as the kernel does.
    UnmaskedByReset = "unmasked-by-reset" breaks "Z3",
    /// Vectors of exceptions are taken, and moved out of the way.
    VectorFive = "vector-five" breaks "BAD_VECTOR",
    /// The first and the last of the device vectors are refused.
    EndsRefused = "ends-refused" breaks "BAD_VECTOR",
    /// The broadcast id is taken for the first vCPU.
    BroadcastTaken = "broadcast-taken" breaks "BROADCAST",
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/conformance.md");
    const CONTRACT: &str = include_str!("../../../../docs/abi.md");

    #[test]
    fn the_documentation_has_every_wrong_host() {
        let table = PAGE.split("<!-- wrong hosts -->").nth(1).unwrap().trim_start();
        let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).skip(2).collect();
        let code: Vec<String> =
            Wrong::ALL.iter().map(|(_, name, breaks)| format!("| `{name}` | {breaks} |")).collect();
        assert_eq!(rows, code);
    }

    #[test]
    fn each_breaks_a_statement_or_a_status_of_the_contract() {
        assert!(Wrong::ALL.len() >= 35);
        for (_, name, breaks) in Wrong::ALL {
            let stands = [format!("- **{breaks}** "), format!(" | {breaks} | ")];
            assert!(stands.iter().any(|text| CONTRACT.contains(text)), "{name}: {breaks}");
        }
        let mut names: Vec<&str> = Wrong::ALL.iter().map(|(_, name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Wrong::ALL.len());
    }
}
